"""What a ``WindowSink`` refuses when it is built, or when it first sees the database or a record: in one sentence."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.pool import StaticPool

from kafka_stream.errors import ConfigurationError, ProcessingError, RecordError
from kafka_stream.protocols import StatefulSink, TickingSink
from kafka_stream.sinks.sql import Count, Max, Mean, Min, Sliding, Sum, Tumbling, WindowSink
from kafka_stream.testing import batch_of, message
from kafka_stream.types import Claim, OffsetRange, Owner, TopicPartition
from tests.window_world import STORED, Transaction

MOMENT = sa.DateTime(timezone=True)


def table(*columns: sa.Column[Any], **changes: Any) -> sa.Table:
    """``visits``, with these columns instead of or besides its own; ``None`` takes one away."""
    found: dict[str, Any] = {
        "page": sa.Column("page", sa.String(20), primary_key=True),
        "window_start": sa.Column("window_start", MOMENT, primary_key=True),
        "window_end": sa.Column("window_end", MOMENT, nullable=False),
        "records": sa.Column("records", sa.Integer, nullable=False),
        "total": sa.Column("total", sa.Numeric(12, 2)),
    }
    found |= changes | {column.name: column for column in columns}
    return sa.Table("visits", sa.MetaData(), *(column for column in found.values() if column is not None))


def sink(of: Any = None, window: Any = None, **options: Any) -> WindowSink:
    """One that could be, but for what is given."""
    given = {"key": len, "aggregates": {"records": Count(), "total": Sum("total")}, **options}
    return WindowSink(table() if of is None else of, Tumbling("1 minute") if window is None else window, **given)


def _of(given: Any) -> Any:
    return given


async def later(value: Any) -> Any:
    return value


def many(value: Any) -> Iterator[Any]:
    yield value


async def many_later(value: Any) -> AsyncIterator[Any]:
    yield value


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: sink("visits"), "Table or an ORM class"),
        (lambda: sink(table(window_start=None)), "whose primary key is the key columns and 'window_start'"),
        (lambda: sink(table(sa.Column("window_start", MOMENT))), "whose primary key is the key columns"),
        (lambda: sink(table(sa.Column("window_end", MOMENT, primary_key=True))), "is of the primary key"),
        (lambda: sink(table(window_end=None)), "'window_end', which the table lacks"),
        (lambda: sink(table(sa.Column("window_end", sa.DateTime()))), r"takes DateTime\(timezone=True\)"),
        (lambda: sink(table(sa.Column("window_end", sa.Date()))), r"takes DateTime\(timezone=True\)"),
        (lambda: sink(key=None), "has no key=…, but the table's key has 'page'"),
        (lambda: sink(table(page=None)), r"'window_start' alone: add a key column"),
        (lambda: sink(aggregates={}), "needs aggregates="),
        (lambda: sink(aggregates=None), "needs aggregates="),
        (lambda: sink(aggregates={"hits": Count()}), "'hits' is no column that can be written; add it"),
        (lambda: sink(aggregates={"page": Count()}), "'page' is of a window's key"),
        (lambda: sink(aggregates={"records": Count}), "aggregates are Count"),
        (lambda: sink(aggregates={"total": Count()}), r"Count\(\) goes into 'total', .*one of integers"),
        (lambda: sink(aggregates={"records": Mean(len)}), "which a mean is not"),
        (lambda: sink(aggregates={"total": Sum("total")}), "writes nothing to 'records', which may not be NULL"),
        (lambda: sink(table(sa.Column("total", sa.String(9)))), r"Sum\(total\) goes into 'total'.*one of numbers"),
        (lambda: sink(table(sa.Column("total", sa.Boolean()))), "one of numbers"),
        (lambda: sink(table(sa.Column("total", MOMENT))), "one of numbers"),
        (lambda: _minimum(sa.String(9)), "one of numbers, dates or times with a zone"),
        (lambda: _minimum(sa.DateTime()), "one of numbers, dates or times with a zone"),
        (lambda: _clashing(), "two aggregates need the column 'total_sum'"),
        (lambda: sink(table(sa.Column("pane_start_us", sa.Integer, primary_key=True)), key=len), "would have two"),
        (lambda: sink(window="1 minute"), r"takes Tumbling\(…\)"),
        (lambda: sink(key=5), "key of the WindowSink .* is a int, not a function"),
        (lambda: sink(key=later), "key .* is an async function"),
        (lambda: sink(key=lambda: 1), "key .* cannot be called"),
        (lambda: sink(time=many), "time .* is a generator function"),
        (lambda: sink(time=functools.partial(many_later)), "time .* is an async generator function"),
        (lambda: Sum(later), "is an async function"),
        (lambda: Max(_of(5)), "takes a function of a record's value, or the name of an item"),
        (lambda: sink(on_close=later), "on_close .* is an async function"),
        (lambda: sink(on_close=lambda rows: None), "on_close .* cannot be called"),
        (lambda: sink(late="never"), "late='never' .* choose"),
        (lambda: sink(late="update"), "needs retention=…"),
        (lambda: sink(allowed_lateness="-5s"), "allowed_lateness .* negative"),
        (lambda: sink(idle_after="0s"), "idle_after .* longer than nothing"),
        (lambda: sink(retention="soon"), "retention .* no length of time"),
        (lambda: sink(name=""), "name='' .* is no name"),
        (lambda: sink(alowed_lateness="5s"), "has no option 'alowed_lateness'; it has allowed_lateness"),
    ],
)
def test_what_cannot_be_is_refused_when_the_sink_is_built(make: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as raised:
        make()
    assert "\n" not in str(raised.value)


def _minimum(type_: Any) -> WindowSink:
    return sink(table(sa.Column("total", type_)), aggregates={"records": Count(), "total": Min(len)})


def _clashing() -> WindowSink:
    found = table(sa.Column("total_sum", sa.Integer))
    return sink(found, aggregates={"records": Count(), "total": Mean("total"), "total_sum": Sum("total")})


def test_a_second_sink_of_a_table_must_not_need_other_columns() -> None:
    found = table()
    sink(found)
    assert sink(found).describe() == "table visits (tumbling, 0:01:00)"
    with pytest.raises(ConfigurationError, match="declare each table for one WindowSink only"):
        sink(found, aggregates={"records": Count(), "total": Mean("total")})


def test_what_is_open_and_late_is_declared_beside_the_table_after_its_columns() -> None:
    found = table(sa.Column("offset", sa.BigInteger, primary_key=True))
    sink(found, Sliding("1 hour", every="5 minutes"), aggregates={"records": Count(), "total": Mean("total")})
    opened, late = (found.metadata.tables[f"visits_{it}"] for it in ("open", "late"))
    assert [it.name for it in opened.primary_key] == ["pane_start_us", "page", "offset"]
    assert [it.name for it in opened.columns][3:] == ["records", "total_sum", "total_count"]
    assert isinstance(opened.c.page.type, sa.String)
    assert [it.name for it in late.columns][:5] == ["topic", "partition", "offset", "page", "key_offset"]


def test_times_of_one_database_alone_may_be_what_it_has() -> None:
    moment = mysql.DATETIME(fsp=6)
    start = sa.Column("window_start", moment, primary_key=True)
    assert sink(table(start, sa.Column("window_end", moment))).needs == "sql"


def test_it_ticks_and_says_what_it_keeps() -> None:
    found = sink(name="visits per minute")
    assert isinstance(found, TickingSink) and 1 <= found.tick_interval_s <= 5
    assert isinstance(found, StatefulSink)
    (described,) = found.states()
    assert (described.name, described.kind, described.table, described.key) == (
        "visits per minute",
        "windows",
        "visits",
        ("page",),
    )
    assert described.details["window"] == "tumbling, 0:01:00"


BAD_RECORDS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no timestamp": ({"time": None}, {}, "has no timestamp"),
    "a failing key": ({"key": lambda _: _of({})["page"]}, {}, r"key failed \(KeyError\)"),
    "a failing time": ({"time": lambda _: 1 / 0}, {}, r"time failed \(ZeroDivisionError\)"),
    "a time that is none": ({"time": lambda _: "noon"}, {}, "time gave a str"),
    "a time without a zone": ({"time": lambda _: _at().replace(tzinfo=None)}, {}, "without a zone"),
    "a time beyond all": ({}, {"timestamp_ms": 2**62}, "beyond what a datetime can tell"),
    "no key": ({"key": lambda _: None}, {}, "key gave None"),
    "two keys": ({"key": lambda _: ("a", "b")}, {}, "key gave a tuple, not one value"),
    "a list": ({"key": lambda _: ["a"]}, {}, "key gave a list, not one value"),
    "an item that is missing": ({"aggregates": {"records": Count(), "total": Sum("x")}}, {}, r"'total' failed \(Type"),
    "a text": ({"aggregates": {"records": Count(), "total": Sum(lambda _: "1")}}, {}, "'total' gave a str"),
    "no number": ({"aggregates": {"records": Count(), "total": Sum(lambda _: float("nan"))}}, {}, "gave a float"),
}


def _at() -> Any:
    import datetime as dt

    return dt.datetime(2026, 7, 1, tzinfo=dt.UTC)


@pytest.mark.parametrize(("options", "of_message", "words"), BAD_RECORDS.values(), ids=list(BAD_RECORDS))
def test_a_record_that_cannot_be_placed_is_named(options: Any, of_message: Any, words: str) -> None:
    given = {"aggregates": {"records": Count()}, "key": lambda _: "a", "time": lambda _: _at(), **options}
    if of_message:
        given["time"] = None
    found = sink(**given)
    bad = message("x", offset=7, partition=1, **of_message)
    with pytest.raises(RecordError, match=words) as raised:
        found.prepare([bad] if of_message else batch_of([bad]))
    assert (raised.value.partition, raised.value.offset) == (1, 7)


class Database:
    """SQLite in memory, with what a store has."""

    def __init__(self) -> None:
        self.engine = sa.create_engine("sqlite://", poolclass=StaticPool)
        for one in STORED:
            one.create(self.engine)

    def write(self, to: WindowSink, *values: str) -> None:
        """Records of these values, a minute apart."""
        messages = [message(it, offset=n, timestamp_ms=60_000 * n) for n, it in enumerate(values)]
        partition = TopicPartition("topic", 0)
        claim = Claim("s", Owner("a", "h"), (OffsetRange(partition, 0, 9),), {partition: 1}, {}, {})
        with self.engine.begin() as connection:
            to.write(to.prepare(batch_of(messages)), Transaction(connection, claim, [partition]))


@pytest.fixture
def database() -> Iterator[Database]:
    found = Database()
    yield found
    found.engine.dispose()


def by_value(of: sa.Table, **options: Any) -> WindowSink:
    return sink(of, **{"key": lambda m: m.value().decode(), "aggregates": {"records": Count()}, **options})


@pytest.mark.parametrize("missing", ["visits", "visits_open", "visits_late"])
def test_a_table_that_is_missing_in_the_database_is_named(database: Database, missing: str) -> None:
    found = by_value(of := table())
    of.metadata.create_all(database.engine)
    of.metadata.tables[missing].drop(database.engine)
    with pytest.raises(ConfigurationError, match=f"needs the table {missing}, .* run metadata.create_all"):
        database.write(found, "a")


def test_a_column_that_is_missing_in_the_database_is_named(database: Database) -> None:
    old = by_value(of := table())
    of.metadata.create_all(database.engine)
    database.write(old, "a")
    new = by_value(table(), aggregates={"records": Count(), "total": Sum(lambda _: 1)})
    with pytest.raises(ConfigurationError, match="column 'total' of the table visits_open, which is not in the data"):
        database.write(new, "a")


def test_what_is_open_does_not_become_other_windows(database: Database) -> None:
    of = table()
    first = by_value(of)
    of.metadata.create_all(database.engine)
    database.write(first, "a")
    with pytest.raises(ConfigurationError, match="is of tumbling, 0:02:00, but the stream keeps tumbling, 0:01:00"):
        database.write(by_value(of, window=Tumbling("2 minutes")), "a")


def test_two_tables_are_not_kept_under_one_name(database: Database) -> None:
    of = table()
    first = by_value(of, name="mine")
    of.metadata.create_all(database.engine)
    database.write(first, "a")
    other = of.to_metadata(sa.MetaData(), name="others")
    second = by_value(other, name="mine")
    other.metadata.create_all(database.engine)
    with pytest.raises(ConfigurationError, match="writes to others, but the stream keeps visits under that name"):
        database.write(second, "a")


@pytest.mark.parametrize("type_", [sa.Float(), sa.String(20, collation="NOCASE"), MOMENT])
def test_keys_that_cannot_be_told_apart_are_refused(database: Database, type_: Any) -> None:
    found = by_value(of := table(sa.Column("page", type_, primary_key=True)))
    of.metadata.create_all(database.engine)
    with pytest.raises(ConfigurationError, match=r"the key column 'page' .* otherwise than Python does"):
        database.write(found, "a")


def test_keys_of_several_classes_are_refused(database: Database) -> None:
    found = by_value(of := table(), key=lambda m: 1 if m.offset() else "1")
    of.metadata.create_all(database.engine)
    with pytest.raises(ProcessingError, match="key gave a value for 'page' that its column does not keep as it is"):
        database.write(found, "a", "b")


def test_a_window_that_the_table_does_not_take_is_no_records_fault(database: Database) -> None:
    found = by_value(of := table(), on_close=lambda rows, transaction: _of({})["mail"])
    of.metadata.create_all(database.engine)
    with pytest.raises(ProcessingError, match=r"on_close failed \(KeyError\)") as raised:
        database.write(found, "a", "b")
    assert type(raised.value).__name__ == "StatementRefused"
