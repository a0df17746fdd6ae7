"""``StateSink``: what it is given and gives, and what it refuses, in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic
import pytest
import sqlalchemy as sa

from kafka_stream.errors import ConfigurationError, HandlerUnavailable, ProcessingError, RecordError
from kafka_stream.offset_stores.sql import SqlOffsetStore, SqlTransaction
from kafka_stream.protocols import OverlappingSink, StatefulSink
from kafka_stream.sinks.files import FileSink
from kafka_stream.sinks.sql import UNCHANGED, Delete, SqlSink, StateSink
from kafka_stream.testing import batch_of, message
from kafka_stream.testing.store_backend import OLDER, P0, P1, STREAM, TOPIC, claim_of

METADATA = sa.MetaData()
TOTALS = sa.Table(
    "totals",
    METADATA,
    sa.Column("name", sa.String(20), primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("note", sa.String(20), server_default="none"),
    sa.Column("twice", sa.Integer, sa.Computed("number * 2")),
)
PAIRS = sa.Table(
    "pairs",
    METADATA,
    sa.Column("shop", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.String(20), primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
)
OF_PARTITIONS = sa.Table(
    "of_partitions",
    METADATA,
    sa.Column("place", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.String(20), primary_key=True),
    sa.Column("source", sa.String(249), primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
)
WITHOUT_KEY = sa.Table("without_key", METADATA, sa.Column("name", sa.String(20)))
PRICES = sa.Table(
    "prices", METADATA, sa.Column("price", sa.Numeric(10, 2), primary_key=True), sa.Column("n", sa.Integer)
)
LOG = sa.Table("log", METADATA, sa.Column("id", sa.Integer, primary_key=True), sa.Column("line", sa.Text))
NOWHERE = sa.Table("nowhere", sa.MetaData(), sa.Column("name", sa.String(20), primary_key=True))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlOffsetStore]:
    url = f"sqlite:///{tmp_path}/state.db"
    engine = sa.create_engine(url)
    METADATA.create_all(engine)
    engine.dispose()
    found = SqlOffsetStore(url)
    found.open()
    found.initialise(STREAM, TOPIC, {0: 0, 1: 0}, None)
    yield found
    found.close()


@pytest.fixture
def transaction(store: SqlOffsetStore) -> Iterator[SqlTransaction]:
    with store.begin(claim_of(OLDER, {P0: (0, 9), P1: (0, 9)}, store.take_over(STREAM, OLDER, [P0, P1], {}))) as opened:
        yield opened


def pairs(*values: Any, partition: int = 0) -> list[Any]:
    """A record for each, with it as the value."""
    return [(message(b"", topic=TOPIC, partition=partition, offset=i), value) for i, value in enumerate(values)]


def counted(key: Any, records: list[Any], row: Any) -> Any:
    """How many records there were."""
    return {"number": (row["number"] if row else 0) + len(records)}


def written(sink: StateSink, transaction: SqlTransaction, prepared: Any) -> None:
    sink.write(sink.prepare(prepared), transaction)


def rows(transaction: SqlTransaction, table: sa.Table) -> list[tuple[Any, ...]]:
    return sorted(tuple(row) for row in transaction.connection.execute(sa.select(table)))


def test_each_key_is_updated_once_in_key_order_with_its_records_in_order(transaction: SqlTransaction) -> None:
    calls: list[Any] = []

    def update(key: str, records: list[Any], row: Any) -> Any:
        calls.append((key, records, row))
        return counted(key, records, row)

    sink = StateSink(TOTALS, lambda value: value[0], update)
    written(sink, transaction, pairs(("b", 1), ("a", 2), ("b", 3)))
    written(sink, transaction, pairs(("b", 4)))
    assert calls == [
        ("a", [("a", 2)], None),
        ("b", [("b", 1), ("b", 3)], None),
        ("b", [("b", 4)], {"name": "b", "number": 2, "note": "none"}),
    ]
    assert rows(transaction, TOTALS) == [("a", 1, "none", 2), ("b", 3, "none", 6)]


def test_without_a_prepare_messages_are_the_values(transaction: SqlTransaction) -> None:
    sink = StateSink(TOTALS, lambda it: it.value().decode(), counted)
    written(sink, transaction, batch_of([message(b"x", topic=TOPIC, offset=0), message(b"x", topic=TOPIC, offset=1)]))
    assert rows(transaction, TOTALS) == [("x", 2, "none", 4)]


def test_a_row_may_go_and_may_stay_as_it_is(transaction: SqlTransaction) -> None:
    answers: dict[str, Any] = {"goes": None, "stays": UNCHANGED, "was never there": None, "will never be": UNCHANGED}
    transaction.connection.execute(sa.insert(TOTALS), [{"name": name, "number": 1} for name in ("goes", "stays")])
    sink = StateSink(TOTALS, lambda value: value, lambda key, records, row: answers[key])
    written(sink, transaction, pairs(*answers))
    assert rows(transaction, TOTALS) == [("stays", 1, "none", 2)]


def test_what_a_row_leaves_out_stays(transaction: SqlTransaction) -> None:
    transaction.connection.execute(sa.insert(TOTALS), [{"name": "a", "number": 1, "note": "kept"}])
    sink = StateSink(TOTALS, lambda value: value, counted)
    written(sink, transaction, pairs("a", "b"))
    assert rows(transaction, TOTALS) == [("a", 2, "kept", 4), ("b", 1, "none", 2)]


def test_a_key_of_two_columns_is_a_tuple(transaction: SqlTransaction) -> None:
    sink = StateSink(PAIRS, lambda value: value, counted)
    written(sink, transaction, pairs((1, "a"), (2, "a"), (1, "a")))
    written(sink, transaction, pairs((2, "a")))
    assert rows(transaction, PAIRS) == [(1, "a", 2), (2, "a", 2)]


def test_partitions_have_rows_of_their_own(transaction: SqlTransaction) -> None:
    seen: list[Any] = []

    def update(key: str, records: list[Any], row: Any) -> Any:
        seen.append(key)
        return counted(key, records, row)

    sink = StateSink(
        OF_PARTITIONS, lambda value: value, update, scope="partition", partition_columns=("source", "place")
    )
    written(sink, transaction, pairs("a", "b", "a") + pairs("a", partition=1))
    assert rows(transaction, OF_PARTITIONS) == [(0, "a", TOPIC, 2), (0, "b", TOPIC, 1), (1, "a", TOPIC, 1)]
    assert seen == ["a", "b", "a"]
    assert sink.clear(transaction, [P1]) == {"of_partitions": 1}
    assert rows(transaction, OF_PARTITIONS) == [(0, "a", TOPIC, 2), (0, "b", TOPIC, 1)]


@dataclass
class Total:
    name: str
    number: int


class Checked(pydantic.BaseModel):
    name: str
    number: int


@pytest.mark.parametrize("kind", [Total, Checked])
def test_rows_may_have_a_type(kind: Any, transaction: SqlTransaction) -> None:
    def update(key: str, records: list[Any], row: Any) -> Any:
        assert row is None or type(row) is kind
        return kind(name=key, number=(row.number if row else 0) + len(records))

    sink = StateSink(TOTALS, lambda value: value, update, row=kind)
    written(sink, transaction, pairs("a"))
    written(sink, transaction, pairs("a", "a"))
    assert rows(transaction, TOTALS) == [("a", 3, "none", 6)]


def test_what_is_emitted_goes_to_other_sinks_of_the_batch(transaction: SqlTransaction) -> None:
    got: list[Any] = []

    def update(key: str, records: list[Any], row: Any, emit: Any) -> Any:
        emit({"line": f"{key}: {len(records)}"})
        return UNCHANGED

    then = [SqlSink(LOG, lambda given: given), lambda given, transaction: got.append(given)]
    written(StateSink(TOTALS, lambda value: value, update, then=then), transaction, pairs("b", "a", "b"))
    assert got == [[{"line": "a: 1"}, {"line": "b: 2"}]]
    assert [line for _, line in rows(transaction, LOG)] == ["a: 1", "b: 2"]


def test_it_is_known_as_state(transaction: SqlTransaction) -> None:
    inner = StateSink(PAIRS, lambda value: value, counted, name="inner")

    def update(key: str, records: list[Any], row: Any, emit: Any) -> Any:
        return counted(key, records, row)

    sink = StateSink(TOTALS, lambda value: value, update, then=[inner])
    assert isinstance(sink, StatefulSink)
    assert isinstance(sink, OverlappingSink)
    assert [(it.name, it.kind, it.table, it.key) for it in sink.states()] == [
        ("totals", "state", "totals", ("name",)),
        ("inner", "state", "pairs", ("shop", "name")),
    ]
    written(sink, transaction, pairs("a"))
    written(inner, transaction, pairs((1, "a")))
    registered = transaction.connection.execute(sa.select(transaction.tables.states.c.state)).scalars().all()
    assert sorted(registered) == ["inner", "totals"]
    assert sink.clear(transaction, [P0]) == {"totals": 1, "pairs": 1}
    assert rows(transaction, TOTALS) == rows(transaction, PAIRS) == []


def _raise(error: Exception) -> Any:
    raise error


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (lambda value: _raise(KeyError("x")), "its key could not be told"),
        (lambda value: [value], "its key could not be told"),
        (lambda value: None, "its key is None"),
    ],
)
def test_a_key_that_is_none_is_an_error_of_its_record(key: Any, words: str, transaction: SqlTransaction) -> None:
    sink = StateSink(TOTALS, lambda value: value if value == "good" else key(value), counted)
    with pytest.raises(RecordError, match=words) as raised:
        sink.prepare(pairs("good", "bad", "good"))
    assert raised.value.offset == 1


@pytest.mark.parametrize("bad", ["text", (1,), (1, "a", 2), (1, None)])
def test_so_is_one_of_other_columns(bad: Any) -> None:
    with pytest.raises(RecordError, match=r"@1: its key is"):
        StateSink(PAIRS, lambda value: value, counted).prepare(pairs((1, "a"), bad))


@pytest.mark.parametrize("bad", [7, b"a", 1.5, ("a", "b")])
def test_so_is_one_of_another_type(bad: Any, transaction: SqlTransaction) -> None:
    with pytest.raises(RecordError, match=r"@1: its key .*is of another type than the key \(name\)"):
        written(StateSink(TOTALS, lambda value: value, counted), transaction, pairs("a", bad))


def test_an_error_of_update_is_of_its_record_if_that_is_one(transaction: SqlTransaction) -> None:
    def update(key: str, records: list[Any], row: Any) -> Any:
        return {"a": 1}[key]

    with pytest.raises(RecordError, match=r"@1: update failed on it \(KeyError\)") as raised:
        written(StateSink(TOTALS, lambda value: value, update), transaction, pairs("b", "c", "b", "b")[1:2])
    assert isinstance(raised.value.__cause__, KeyError)
    with pytest.raises(KeyError):
        written(StateSink(TOTALS, lambda value: value, update), transaction, pairs("b", "b"))


def test_a_server_that_update_calls_is_no_fault_of_a_record(transaction: SqlTransaction) -> None:
    sink = StateSink(TOTALS, lambda value: value, lambda key, records, row: _raise(HandlerUnavailable("away")))
    with pytest.raises(HandlerUnavailable):
        written(sink, transaction, pairs("a"))


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (5, "update gave a int; it gives a mapping, None or UNCHANGED"),
        ({"number": 1, "colour": 2}, "'colour', which is no column of table totals"),
        ({"number": 1, "twice": 2}, "'twice', which is no column of table totals that can be written"),
        ({"name": "another", "number": 1}, "with another key"),
        ({"note": "x"}, "the database refused its row for table totals: IntegrityError"),
    ],
)
def test_what_is_no_row_of_the_key_is_an_error_of_its_record(
    outcome: Any, words: str, transaction: SqlTransaction
) -> None:
    sink = StateSink(TOTALS, lambda value: value, lambda key, records, row: outcome)
    with pytest.raises(RecordError, match=words):
        written(sink, transaction, pairs("a"))
    with pytest.raises((ProcessingError, sa.exc.IntegrityError)) as raised:
        written(sink, transaction, pairs("a", "a"))
    assert not isinstance(raised.value, RecordError)


def test_a_type_of_rows_has_to_be_given_back(transaction: SqlTransaction) -> None:
    sink = StateSink(TOTALS, lambda value: value, lambda key, records, row: {"number": 1}, row=Total)
    with pytest.raises(RecordError, match="update gave a dict; it gives a Total"):
        written(sink, transaction, pairs("a"))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (PRICES, r"'price', of the key of table prices, is of a type whose values Python cannot tell apart"),
        (NOWHERE, r"table nowhere is not in the database"),
    ],
)
def test_a_table_that_does_not_suit_is_refused_when_it_is_seen(
    table: sa.Table, words: str, transaction: SqlTransaction
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        written(StateSink(table, lambda value: value, counted), transaction, pairs("a"))


@dataclass
class Coloured:
    name: str
    colour: str


async def _async(*_: Any) -> Any: ...


def _generator(*_: Any) -> Any:
    yield 1


def _takes(key: Any, records: Any) -> Any: ...


def _emits(key: Any, records: Any, row: Any, emit: Any) -> Any: ...


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"table": "totals"}, "StateSink writes to a sqlalchemy Table or an ORM class"),
        ({"table": WITHOUT_KEY}, "needs a key, but the table has no primary key"),
        ({"key": 5}, "key of the StateSink for table totals is a int, not a function"),
        ({"key": _async}, "is an async function, of which a call runs nothing"),
        ({"key": lambda: 1}, r"is called with \(value\)"),
        ({"update": _async}, "is an async function"),
        ({"update": _generator}, "is a generator function"),
        ({"update": _takes}, r"is called with \(key, records, row\)"),
        ({"update": _emits}, r"it gets emit as well where then"),
        ({"update": counted, "then": [SqlSink(LOG, list)]}, r"is called with \(key, records, row, emit\)"),
        ({"row": Coloured}, "row=Coloured has 'colour', which is no column of table totals"),
        ({"row": dict}, "row=dict cannot be a row of table totals"),
        ({"scope": "topic"}, "scope='topic' .* is unknown"),
        ({"scope": "partition"}, r"'topic' is not of its key \(name\)"),
        ({"scope": "partition", "partition_columns": "ab"}, "are not the names of two columns"),
        ({"cached_rows": -1}, "cached_rows=-1 .* is no number of rows"),
        ({"name": ""}, "is no text of 1 to 255 characters"),
        ({"then": [5], "update": _emits}, "has 5, which is neither a sink nor a function"),
        ({"then": 5, "update": _emits}, "then of the StateSink for table totals is a int"),
        ({"then": [_async], "update": _emits}, r"a plain function write\(rows, transaction\): it is an async function"),
        ({"then": [Delete], "update": _emits}, "neither a sink nor a function"),
        ({"then": [FileSink("x", list)], "update": _emits}, "does not write through the SQL transaction"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_built(given: dict[str, Any], words: str, tmp_path: Path) -> None:
    options = {"table": TOTALS, "key": lambda value: value, "update": counted, **given}
    with pytest.raises(ConfigurationError, match=words):
        StateSink(options.pop("table"), options.pop("key"), options.pop("update"), **options)
