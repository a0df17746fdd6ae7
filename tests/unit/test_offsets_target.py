"""Which store, stream and brokers a command on offsets works on, by what was given."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kafka_stream.cli.offsets.target import Connection, NamedStream, StoreOptions, connected
from kafka_stream.errors import ConfigurationError
from kafka_stream.offset_stores.kafka import KafkaOffsetStore

PASSWORD = "hush-hush"
APP = """
from kafka_stream.stream import DirectStream
from kafka_stream.offset_stores.kafka import KafkaOffsetStore
from kafka_stream.sinks.files import FileSink
from kafka_stream.sinks.kafka import KafkaSink

kafka = {"bootstrap.servers": "app:9092", "sasl.password": "of the app", "max.poll.interval.ms": 300000}
common = dict(topics=["orders"], kafka=kafka)
sql = DirectStream(name="orders", group_id="ours", store="sqlite:///app.db", sink=lambda b, t: None, **common)
in_kafka = DirectStream(name="orders", store=KafkaOffsetStore(), sink=KafkaSink("out", lambda b: []), **common)
files = DirectStream(
    name="orders", store="sqlite:///app.db", sink=FileSink("out", lambda b: []), guarantee="effectively-once", **common
)
"""


@pytest.fixture(autouse=True)
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An application in the current directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "shop.py").write_text(APP)
    yield
    sys.modules.pop("shop", None)


def own_settings(store: Any) -> dict[str, Any]:
    assert isinstance(store, KafkaOffsetStore)
    return store._config


def test_everything_comes_from_the_application() -> None:
    with connected(NamedStream(app="shop:sql")) as target:
        assert (target.stream, target.group_id) == ("orders", "ours")
        assert target.kafka["bootstrap.servers"] == "app:9092"
        assert target.kafka["sasl.password"] == "of the app"
        assert "app.db" in target.store.describe()
        assert target.range_sinks() == []
    with connected(NamedStream(app="shop:files")) as target:
        assert len(target.range_sinks()) == 1


def test_what_is_given_goes_before_the_application() -> None:
    given = NamedStream("shop:sql", "sqlite:///mine.db", ["bootstrap.servers=mine:9092"], stream="another")
    with connected(given) as target:
        assert (target.stream, target.group_id) == ("another", "another")
        assert (target.kafka["bootstrap.servers"], target.kafka["sasl.password"]) == ("mine:9092", "of the app")
        assert "mine.db" in target.store.describe()


def test_a_kafka_stores_url_names_the_brokers_and_the_settings_how_to_log_in() -> None:
    settings = [f"sasl.password={PASSWORD}", "security.protocol=SASL_SSL", "bootstrap.servers=elsewhere:9092"]
    with connected(NamedStream(None, "kafka://h1:9092,h2:9092?client.id=x", settings, stream="orders")) as target:
        assert target.kafka["bootstrap.servers"] == "h1:9092,h2:9092"
        own = own_settings(target.store)
        assert (own["bootstrap.servers"], own["sasl.password"], own["client.id"]) == ("h1:9092,h2:9092", PASSWORD, "x")
        assert own["security.protocol"] == "SASL_SSL"
        assert PASSWORD not in f"{target} {target.store.describe()} {target.store!r}"


def test_a_kafka_store_of_an_application_follows_what_is_given() -> None:
    with connected(NamedStream("shop:in_kafka")) as target:
        assert "'orders' at app:9092" in target.store.describe()
    with connected(NamedStream("shop:in_kafka", kafka=["bootstrap.servers=mine:9092"], stream="another")) as target:
        assert own_settings(target.store)["bootstrap.servers"] == "mine:9092"
        assert "'another' at mine:9092" in target.store.describe()


def test_a_whole_store_needs_no_stream() -> None:
    with connected(StoreOptions(store="kafka://h1:9092")) as target:
        assert target.kafka == {"bootstrap.servers": "h1:9092"}
        with pytest.raises(ConfigurationError, match="say which stream"):
            _ = target.stream


def test_a_store_of_somebody_elses_may_not_know_these_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain:
        def describe(self) -> str:
            return "a plain store"

        def close(self) -> None:
            pass

    monkeypatch.setattr("kafka_stream.plugins.store_from_url", lambda url: Plain())
    with (
        connected(Connection(store="plain://x")) as target,
        pytest.raises(ConfigurationError, match="a plain store is a store that this command does not work on"),
    ):
        target.administered()


def test_the_store_is_closed_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    monkeypatch.setattr("kafka_stream.offset_stores.sql.SqlOffsetStore.close", lambda self: closed.append("closed"))
    with pytest.raises(LookupError), connected(Connection(store="sqlite:///x.db")):
        raise LookupError
    assert closed == ["closed"]
