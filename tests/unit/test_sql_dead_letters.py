"""A whole stream on SQLite with records that fail in each place where they can."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Engine, Integer, MetaData, Table, create_engine, event, text

from kafka_stream import DeadLetters, DirectStream
from kafka_stream.errors import NotAuthorized, StatementRefused
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.protocols import LetterStatus
from kafka_stream.sinks.sql import SqlSink
from kafka_stream.testing import MemoryKafka
from kafka_stream.types import TopicPartition

RECORDS = 200
POISON = {7: "decode", 50: "to_rows", 51: "insert", 120: "deferred", 199: "deferred"}
ORDERS = Table(
    "orders",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("total", Integer, nullable=False),
    Column("customer", Integer, nullable=False),
)
LIMITS = DeadLetters(max_ratio=1.0, window=RECORDS, max_in_a_row=10)
TABLES = (
    "CREATE TABLE customers (id INTEGER PRIMARY KEY)",
    "INSERT INTO customers VALUES (1)",
    (
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, total INTEGER NOT NULL CHECK (total >= 0), "
        "customer INTEGER NOT NULL REFERENCES customers (id) DEFERRABLE INITIALLY DEFERRED)"
    ),
)


def _record(number: int, poison: str | None) -> bytes:
    if poison == "decode":
        return b"{"
    order: dict[str, int] = {"id": number, "total": -1 if poison == "insert" else 5}
    order["customer"] = 99 if poison == "deferred" else 1
    if poison == "to_rows":
        del order["total"]
    return json.dumps(order).encode()


def _rows(batch: Any) -> list[dict[str, Any]]:
    orders = [json.loads(message.value()) for message in batch]
    return [{"id": order["id"], "total": order["total"], "customer": order["customer"]} for order in orders]


@pytest.fixture
def kafka() -> MemoryKafka:
    kafka = MemoryKafka({"orders": 1})
    for number in range(RECORDS):
        kafka.produce("orders", _record(number, POISON.get(number)), partition=0)
    return kafka


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    found = create_engine(f"sqlite:///{tmp_path}/orders.db")
    event.listen(found, "connect", lambda driver, record: driver.execute("PRAGMA foreign_keys = ON"))
    with found.begin() as connection:
        for statement in TABLES:
            connection.execute(text(statement))
    yield found
    found.dispose()


def _stream(kafka: MemoryKafka, store: SqlOffsetStore, **settings: Any) -> DirectStream:
    return DirectStream(
        name="s",
        topics=["orders"],
        kafka=kafka,
        store=store,
        **{
            "sink": SqlSink(ORDERS, to_rows=_rows, on_conflict="error"),
            "assignment": "static",
            "on_error": "dead-letter",
            "dead_letters": LIMITS,
            **settings,
        },
    )


def _stored(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT id FROM orders ORDER BY id")).scalars())


@pytest.mark.parametrize("max_records_per_batch", [RECORDS, 30])
def test_every_good_record_is_written_once_and_every_bad_one_set_aside_once(
    kafka: MemoryKafka, engine: Engine, max_records_per_batch: int
) -> None:
    store = SqlOffsetStore(engine)
    _stream(kafka, store, max_records_per_batch=max_records_per_batch).run(until="latest")
    assert _stored(engine) == [number for number in range(RECORDS) if number not in POISON]
    letters = {letter.id.offset: letter for letter in store.letters("s")}
    assert letters.keys() == POISON.keys()
    assert {letter.status for letter in letters.values()} == {LetterStatus.WAITING}
    assert {offset: letter.payload.value for offset, letter in letters.items()} == {
        offset: _record(offset, kind) for offset, kind in POISON.items()
    }
    kinds = {offset: letter.error.type.rpartition(".")[2] for offset, letter in letters.items()}
    assert kinds == {
        7: "JSONDecodeError",
        50: "KeyError",
        51: "IntegrityError",
        120: "IntegrityError",
        199: "IntegrityError",
    }
    assert store.positions("s")[TopicPartition("orders", 0)].next_offset == RECORDS
    assert sum(entry.dead_letters or 0 for entry in store.history("s", 100)) == len(POISON)


def test_what_is_missing_makes_no_letter(kafka: MemoryKafka, engine: Engine) -> None:
    def write(batch: Any, transaction: Any) -> None:
        transaction.connection.execute(text("INSERT INTO nowhere VALUES (1)"))

    store = SqlOffsetStore(engine)
    with pytest.raises(StatementRefused, match="nowhere"):
        _stream(kafka, store, sink=write).run(until="latest")
    assert list(store.letters("s")) == []
    assert store.positions("s")[TopicPartition("orders", 0)].next_offset == 0


def test_a_full_disk_makes_no_letter_and_the_batch_is_retried(kafka: MemoryKafka, tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/full.db")
    full: list[int] = []
    tries: list[int] = []

    def connect(driver: Any, record: object) -> None:
        if full:
            driver.execute(f"PRAGMA max_page_count = {full[0]}")

    event.listen(engine, "connect", connect)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE documents (id INTEGER PRIMARY KEY, body BLOB)"))

    def write(batch: Any, transaction: Any) -> None:
        tries.append(len(batch))
        if len(tries) == 3:
            full.clear()  # somebody made room
            transaction.connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
        rows = [{"id": message.offset(), "body": b"x" * 5_000} for message in batch]
        transaction.connection.execute(text("INSERT INTO documents VALUES (:id, :body)"), rows)

    store = SqlOffsetStore(engine)
    store.open()
    with engine.connect() as connection:
        full.append(connection.exec_driver_sql("PRAGMA page_count").scalar_one() + 20)
    engine.dispose()
    _stream(kafka, store, sink=write).run(until="latest")
    assert len(tries) == 3
    assert list(store.letters("s")) == []
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM documents")).scalar_one() == RECORDS
    engine.dispose()


def test_a_file_that_may_only_be_read_makes_no_letter(kafka: MemoryKafka, engine: Engine, tmp_path: Path) -> None:
    store = SqlOffsetStore(engine)
    store.open()
    read_only = SqlOffsetStore(f"sqlite:///file:{tmp_path}/orders.db?mode=ro&uri=true")
    with pytest.raises(NotAuthorized):
        _stream(kafka, read_only).run(until="latest")
    assert list(store.letters("s")) == []
