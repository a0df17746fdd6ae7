"""The commands that take offsets elsewhere: what they say, and what takes them back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from kafka_stream.cli.app import app as typer_app
from kafka_stream.cli.offsets.target import _streams_in_store
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.testing.store_backend import claim_of
from kafka_stream.types import Owner, StoredPosition, TopicPartition
from tests.command_line import Invoke, one_sentence

STORE = "sqlite:///orders.db"
HERE = ("--store", STORE, "--stream", "orders")


@pytest.fixture
def orders(invoke: Invoke) -> SqlOffsetStore:
    """A stream at offset 50 in each of four partitions, which nobody owns."""
    store = SqlOffsetStore(STORE)
    store.open()
    store.initialise("orders", "orders", dict.fromkeys(range(4), 50), None)
    return store


def test_export_says_of_which_topics_there_is_something(invoke: Invoke, orders: SqlOffsetStore, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "from kafka_stream.stream import DirectStream\n"
        "stream = DirectStream(name='orders', topics=['orders', 'refunds'], kafka={'bootstrap.servers': 'b:1'},\n"
        f"    store={STORE!r}, sink=lambda prepared, transaction: None)\n"
    )
    assert invoke("offsets", "export", *HERE).err == "topics of stream 'orders': orders\n"
    given = ("--app", "shop:stream", "--kafka", "bootstrap.servers=b:1")
    assert (
        "warning: the application reads refunds as well, of which there are no offsets"
        in invoke("offsets", "export", *given).err
    )


def test_names_of_streams_are_completed_from_a_file_and_never_from_a_server(
    orders: SqlOffsetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def completed(store: str | None, app: str | None = None) -> list[str]:
        context = typer.Context(get_command(typer_app))
        context.params = {"store": store, "app": app}
        return _streams_in_store(context, "or")

    assert completed(STORE) == ["orders"]
    assert completed("sqlite:///none.db") == []
    monkeypatch.setattr("kafka_stream.cli.offsets.target.connected", lambda _: pytest.fail("it was asked"))
    for store in ("postgresql://db/orders", "kafka://broker:9092", "zookeeper://zk/orders", None):
        assert completed(store, "shop:stream") == []


def test_a_migration_is_taken_back_by_one_command(invoke: Invoke, orders: SqlOffsetStore) -> None:
    there = ("--to", "sqlite:///other.db", "--yes")
    early = invoke("offsets", "undo", *HERE, *there)
    assert (early.status, "so there is nothing to take back" in one_sentence(early)) == (3, True)
    assert invoke("offsets", "migrate", *HERE, *there, "--fence").status == 0
    hint = invoke("offsets", "undo", *HERE, "--yes")
    assert (hint.status, "name the store that it was to go to, with --to" in one_sentence(hint)) == (3, True)
    other = SqlOffsetStore("sqlite:///other.db")
    taken = other.take_over("orders", Owner("1", "here"), [TopicPartition("orders", 0)], {})
    commit_to(other, taken, 60)
    found = json.loads(invoke("offsets", "undo", *HERE, *there, "--output", "json").out)
    assert [(row["from_offset"], row["to_offset"]) for row in found] == [(50, 60), (50, 50), (50, 50), (50, 50)]
    assert [p.next_offset for p in orders.positions("orders").values()] == [60, 50, 50, 50]
    assert invoke("offsets", "undo", *HERE, *there).status == 3


def commit_to(store: SqlOffsetStore, taken: Mapping[TopicPartition, StoredPosition], until: int) -> None:
    """One batch of the first partition."""
    claim = claim_of(Owner("1", "here"), {TopicPartition("orders", 0): (50, until)}, taken)
    with store.begin(claim) as transaction:
        transaction.advance()
        transaction.commit()
