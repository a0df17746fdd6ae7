"""A package of somebody else's brings a store and a sink: found by its metadata, told from ours, as good as ours."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest

from kafka_stream import DirectStream, Guarantee
from kafka_stream.cli.output import Output
from kafka_stream.cli.version import show_version
from kafka_stream.errors import MissingExtra, UnknownSink, UnknownStore, UnsupportedGuarantee
from kafka_stream.plugins import known_schemes, known_sinks, sink_class, store_from_url
from kafka_stream.testing import MemoryKafka, MemoryOffsetStore
from kafka_stream.types import TopicPartition

Install = Callable[..., None]

ACME = """
from kafka_stream.testing import MemoryOffsetStore
from kafka_stream.types import Writes

SHELVES = {}


def shelf(url):
    return SHELVES.setdefault(url, MemoryOffsetStore())


class ShelfSink:
    writes = Writes.THROUGH_TRANSACTION
    needs = "memory"

    def describe(self):
        return "the shelf"

    def prepare(self, batch):
        return [message.value() for message in batch]

    def write(self, prepared, transaction):
        transaction.rows.extend(prepared)
"""
ENTRY_POINTS = """
[kafka_stream.offset_stores]
acme = acme_shelves:shelf

[kafka_stream.sinks]
shelf = acme_shelves:ShelfSink
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a package on the import path, with its metadata, as pip would."""
    monkeypatch.syspath_prepend(tmp_path)

    def installed(name: str, code: str, entry_points: str, metadata: str = "") -> None:
        (tmp_path / f"{name}.py").write_text(code)
        info = tmp_path / f"{name}-1.2.3.dist-info"
        info.mkdir()
        dashed = name.replace("_", "-")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dashed}\nVersion: 1.2.3\n{metadata}")
        (info / "entry_points.txt").write_text(entry_points)
        importlib.invalidate_caches()

    yield installed
    for name in [name for name in sys.modules if name.startswith("acme_")]:
        del sys.modules[name]


def test_a_third_partys_store_works_by_its_url(install: Install) -> None:
    install("acme_shelves", ACME, ENTRY_POINTS)
    kafka = MemoryKafka({"orders": 2})
    stream = DirectStream(
        name="orders", topics=["orders"], kafka=kafka, store="acme://top-shelf", sink=sink_class("shelf")()
    )
    assert stream.guarantee is Guarantee.EXACTLY_ONCE
    for number in range(3):
        kafka.produce("orders", str(number), partition=number % 2)
        assert stream.run(until="latest").records == 1
    store = store_from_url("acme://top-shelf")
    assert isinstance(store, MemoryOffsetStore)
    assert store.rows == [b"0", b"1", b"2"]
    positions = store.positions("orders")
    assert {tp: p.next_offset for tp, p in positions.items()} == {
        TopicPartition("orders", 0): 2,
        TopicPartition("orders", 1): 1,
    }


def test_a_third_partys_transaction_is_no_other(install: Install) -> None:
    install("acme_shelves", ACME, ENTRY_POINTS)
    with pytest.raises(
        UnsupportedGuarantee,
        match=r"^the shelf writes through a 'memory' transaction, but the offset store's is an SQL one; use a sink or "
        r"function for a 'memory' transaction with a store that has one or SqlSink with SqlOffsetStore",
    ):
        DirectStream(
            name="s", topics=["t"], kafka=MemoryKafka(), store="sqlite:///orders.db", sink=sink_class("shelf")()
        )


def test_what_is_known_lists_a_third_partys_by_name(install: Install) -> None:
    assert "acme" not in known_schemes()
    install("acme_shelves", ACME, ENTRY_POINTS)
    assert "acme" in known_schemes()
    assert "shelf" in known_sinks()
    with pytest.raises(UnknownStore, match=r"no offset store serves redis:// URLs; known: acme, .*sqlite"):
        store_from_url("redis://host")
    with pytest.raises(UnknownSink, match=r"there is no sink 'redis'; known: .*shelf, .*sql"):
        sink_class("redis")


NEEDY_METADATA = """
Requires-Dist: kafka-stream>=0.1
Requires-Dist: acme-client[fast]<3,>=2; extra == 'client'
Requires-Dist: SQLAlchemy>=2; (python_version >= '3.11') and extra == "client"
Requires-Dist: acme-cache; extra == 'cache'
Provides-Extra: client
Provides-Extra: cache
""".lstrip()


def test_what_an_extra_would_bring_is_told_with_the_command(install: Install) -> None:
    install("acme_needy", ACME, "[kafka_stream.offset_stores]\nneedy = acme_needy:shelf [client]\n", NEEDY_METADATA)
    with pytest.raises(
        MissingExtra, match=r"^needy:// needs acme-client, which is not installed: pip install 'acme-needy\[client\]'$"
    ):
        store_from_url("needy://user:hush@host")
    with pytest.raises(UnknownStore, match=r"known: .*needy \(pip install 'acme-needy\[client\]'\), "):
        store_from_url("redis://host")
    install("acme_client", "", "")
    assert isinstance(store_from_url("needy://host"), MemoryOffsetStore)


def test_a_driver_that_no_metadata_mentions_is_named_by_its_module(install: Install) -> None:
    install("acme_quiet", "import acme_driver", "[kafka_stream.sinks]\nquiet = acme_quiet:Sink\n")
    with pytest.raises(
        MissingExtra,
        match=r"^sink 'quiet' is served by acme_quiet:Sink, which needs the module 'acme_driver', which is not inst",
    ):
        sink_class("quiet")


def test_version_lists_stores_and_sinks_and_what_they_still_need(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("acme_shelves", ACME, ENTRY_POINTS)
    install(
        "acme_needy", ACME, "[kafka_stream.offset_stores]\nneedy = acme_needy:shelf [client,cache]\n", NEEDY_METADATA
    )
    show_version(Output.JSON)
    rows = {row.pop("component"): row for row in json.loads(capsys.readouterr().out)}
    ours = distribution("kafka-stream").version
    assert rows["offset store sqlite://"] == {
        "version": ours,
        "provided_by": "kafka-stream (kafka_stream.offset_stores.sql:SqlOffsetStore)",
        "missing": None,
    }
    assert rows["sink sql"]["provided_by"] == "kafka-stream (kafka_stream.sinks.sql:SqlSink)"
    assert rows["offset store acme://"] == {
        "version": "1.2.3",
        "provided_by": "acme-shelves (acme_shelves:shelf)",
        "missing": None,
    }
    assert rows["sink shelf"]["provided_by"] == "acme-shelves (acme_shelves:ShelfSink)"
    assert rows["offset store needy://"]["missing"] == (
        "acme-client, acme-cache: pip install 'acme-needy[client,cache]'"
    )
    assert "acme_shelves" not in sys.modules, "nothing is imported to tell this"
