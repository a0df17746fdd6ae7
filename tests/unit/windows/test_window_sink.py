"""What ``WindowSink`` does beside the windows themselves: late records, ticks, retention, clearing, repeated turns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from kafka_stream.batch import Batch
from kafka_stream.errors import RecordError
from kafka_stream.sinks.sql import Count, Max, Min, Session, Sliding, Sum, Tumbling, WindowSink
from kafka_stream.sinks.sql.windows import closing, reading, retention
from kafka_stream.sinks.sql.windows.rows import Closed, Row, rows_of
from kafka_stream.sinks.sql.windows.tables import WindowTables
from kafka_stream.testing import batch_of, message
from kafka_stream.types import Claim, OffsetRange, Owner, TopicPartition
from tests.window_model import Sent, Setup
from tests.window_world import STORED, Transaction, World

P0, P1 = TopicPartition("topic", 0), TopicPartition("topic", 1)
MOMENT = sa.DateTime(timezone=True)


class Database:
    """SQLite in memory with a table of windows of ten seconds, without keys but for the record's own."""

    def __init__(self, *columns: sa.Column[Any]) -> None:
        self.metadata = sa.MetaData()
        self.table = sa.Table(
            "visits",
            self.metadata,
            sa.Column("page", sa.String(20), primary_key=True),
            sa.Column("window_start", MOMENT, primary_key=True),
            sa.Column("window_end", MOMENT, nullable=False),
            sa.Column("records", sa.Integer, nullable=False),
            *columns,
        )
        self.engine = sa.create_engine("sqlite://", poolclass=StaticPool)
        for one in STORED:
            one.create(self.engine)

    def sink(self, window: Any = None, **options: Any) -> WindowSink:
        given: dict[str, Any] = {"aggregates": {"records": Count()}, "key": lambda m: m.value().decode(), **options}
        found = WindowSink(self.table, Tumbling("10s") if window is None else window, **given)
        self.metadata.create_all(self.engine)
        return found

    @contextmanager
    def transaction(self, *partitions: TopicPartition) -> Iterator[Transaction]:
        ranges = tuple(OffsetRange(it, 0, 100) for it in partitions or (P0,))
        claim = Claim("s", Owner("a", "h"), ranges, {it.topic_partition: 1 for it in ranges}, {}, {})
        with self.engine.begin() as connection:
            yield (made := Transaction(connection, claim, [it.topic_partition for it in ranges]))
        made.is_committed = True

    def write(self, sink: WindowSink, batch: Any) -> None:
        with self.transaction() as transaction:
            sink.write(sink.prepare(batch), transaction)

    def rows(self, table: str = "visits") -> list[tuple[Any, ...]]:
        with self.engine.connect() as connection:
            return sorted(map(tuple, connection.execute(sa.select(self.metadata.tables[table]))))

    def late(self) -> int:
        with self.engine.connect() as connection:
            return sum(connection.execute(sa.select(STORED.late.c.late)).scalars())


@pytest.fixture
def database() -> Iterator[Database]:
    found = Database()
    yield found
    found.engine.dispose()


def at(*seconds: int, value: str = "a") -> Batch:
    """A batch of records of these times."""
    return batch_of([message(value, offset=n, timestamp_ms=it * 1_000) for n, it in enumerate(seconds)])


def test_late_records_become_dead_letters_and_the_others_are_written(database: Database) -> None:
    sink = database.sink(late="dead-letter")
    batch = at(1, 25, 3, 26).for_attempt()
    database.write(sink, batch)
    (rejected,) = batch.rejected
    assert rejected.offset == 2
    assert rejected.reason == (
        "late for the WindowSink for table visits: of 1970-01-01T00:00:03+00:00, when the watermark was "
        "1970-01-01T00:00:25+00:00"
    )
    assert [row[3] for row in database.rows()] == [1]
    assert (database.late(), database.rows("visits_late")) == (1, [])


def test_a_late_record_stops_a_stream_that_keeps_no_dead_letters(database: Database) -> None:
    sink = database.sink(late="dead-letter")
    batch = at(1, 25, 3)
    for given in (batch, list(batch)):
        with pytest.raises(RecordError, match=r"topic.0.@2: late for the WindowSink for table visits") as raised:
            database.write(sink, given)
        assert raised.value.offset == 2
    assert database.rows() == database.rows("visits_open") == []


def test_what_is_kept_of_a_late_record_says_where_it_came_from_and_why(database: Database) -> None:
    database.write(database.sink(), at(1, 25, 3))
    times = (datetime(1970, 1, 1, 0, 0, s) for s in (3, 25))  # SQLite keeps no zone
    assert database.rows("visits_late") == [("topic", 0, 2, "a", *times, b"a")]


def test_two_values_of_one_late_record_are_counted_twice_and_kept_once(database: Database) -> None:
    first, late = (message("a", offset=n, timestamp_ms=s * 1000) for n, s in ((0, 25), (1, 3)))
    database.write(database.sink(key=str), [(first, "x"), (late, "x"), (late, "y")])
    assert (database.late(), len(database.rows("visits_late"))) == (2, 1)


def test_a_late_record_that_is_read_again_after_a_reset_stays_as_it_was(database: Database) -> None:
    sink = database.sink()
    for _ in range(2):
        database.write(sink, at(25, 3))
    assert len(database.rows("visits_late")) == 1


def test_a_tick_of_a_stream_that_never_had_a_record_says_that_it_is_idle(database: Database) -> None:
    sink = database.sink(idle_after="5s")
    for since_s in (4.0, 5.0, 6.0):
        with database.transaction(P0, P1) as transaction:
            sink.tick({P0: since_s}, transaction)
    with database.engine.connect() as connection:
        marks = STORED.watermarks.c
        found = connection.execute(sa.select(marks.partition, marks.watermark_us, marks.is_idle)).all()
    assert [tuple(row) for row in found] == [(0, None, True)]


def test_a_partition_of_which_something_is_unread_is_idle_no_more(database: Database) -> None:
    sink = database.sink(idle_after="5s")
    found = []
    for caught_up_s in ({P0: 5.0, P1: 5.0}, {P0: 1.0}, {P1: 9.0}):
        with database.transaction(P0, P1) as transaction:
            sink.tick(caught_up_s, transaction)
            marks = STORED.watermarks.c
            read = sa.select(marks.is_idle).order_by(marks.partition)
            found.append(list(transaction.connection.execute(read).scalars()))
    assert found == [[True, True], [True, False], [False, True]]


def test_retention_takes_a_few_rows_at_a_time(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_ROWS_AT_ONCE", 3)
    sink = database.sink(retention="30s")
    database.write(sink, at(*range(0, 100, 10)))  # nine windows close, of which those behind 90 - 30 may stay
    left = [len(database.rows())]
    for _ in range(3):
        with database.transaction() as transaction:
            sink.tick({}, transaction)
        left.append(len(database.rows()))
    assert left == [6, 3, 3, 3]


@pytest.mark.parametrize("window", [Tumbling("10s"), Sliding("20s", every="10s"), Session("5s")], ids=str)
def test_of_windows_that_close_at_once_a_few_are_in_memory(
    database: Database, window: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "ROWS_AT_ONCE", 2)
    written: list[int] = []

    def counted(some: Sequence[Closed], tables: WindowTables) -> Sequence[Row]:
        written.append(len(some))
        return rows_of(some, tables)

    monkeypatch.setattr(closing, "rows_of", counted)
    sink = database.sink(window)
    pages = [message(page, offset=n, timestamp_ms=1_000) for n, page in enumerate("abcde")]
    database.write(sink, batch_of([*pages, message("a", offset=5, timestamp_ms=1_000_000)]))
    assert max(written) == 2
    per_page = 2 if isinstance(window, Sliding) else 1
    assert [page for page, *_ in database.rows()] == sorted("abcde" * per_page)


def test_cleared_it_is_as_if_no_record_had_been_read(database: Database) -> None:
    sink = database.sink()
    database.write(sink, at(1, 25, 3))
    with database.transaction() as transaction:
        cleared = sink.clear(transaction, [P0])
    assert cleared == {"visits": 1, "visits_open": 1, "visits_late": 1}
    assert (database.rows(), database.rows("visits_open"), database.late()) == ([], [], 0)
    database.write(sink, at(1, 25))
    assert [row[3] for row in database.rows()] == [1]


def test_a_sink_begins_again_where_its_first_transaction_was_taken_back(database: Database) -> None:
    sink = database.sink()
    with pytest.raises(KeyError), database.transaction() as transaction:
        sink.write(sink.prepare(at(1)), transaction)
        raise KeyError("the commit")
    database.write(sink, at(1, 25))
    assert [row[3] for row in database.rows()] == [1]


def test_a_sink_begins_again_where_its_first_attempt_was_undone(database: Database) -> None:
    sink = database.sink()
    with database.transaction() as transaction:
        attempt = replace(transaction, in_attempt=True)
        with pytest.raises(KeyError), transaction.connection.begin_nested():
            sink.write(sink.prepare(at(1)), attempt)
            raise KeyError("a record")
        sink.write(sink.prepare(at(1, 25)), transaction)
    assert [row[3] for row in database.rows()] == [1]


def test_a_column_that_is_new_holds_what_came_since() -> None:
    old = Database()
    old.write(old.sink(), at(1, 9, 12))
    new = Database(*(sa.Column(name, sa.Integer) for name in ("total", "clicks")))
    new.engine.dispose()
    new.engine = old.engine
    with old.engine.begin() as connection:
        for table in ("visits", "visits_open"):
            for column in ("total", "clicks"):
                connection.execute(sa.text(f"ALTER TABLE {table} ADD COLUMN {column} INTEGER"))
    given = {"records": Count(), "total": Sum(lambda m: m.offset()), "clicks": Count()}
    new.write(new.sink(aggregates=given), at(25, 26, 31))
    assert [row[3:] for row in new.rows()] == [(2, None, None), (1, None, 0), (2, 1, 2)]
    old.engine.dispose()


def test_least_and_greatest_may_be_times_which_are_in_utc() -> None:
    database = Database(sa.Column("first", MOMENT), sa.Column("last", MOMENT))
    told: list[Any] = []

    def at_offset(m: Any) -> datetime:
        return datetime.fromtimestamp(m.offset(), UTC).astimezone()

    given = {"records": Count(), "first": Min(at_offset), "last": Max(at_offset)}
    sink = database.sink(aggregates=given, on_close=lambda rows, _: told.extend(rows))
    database.write(sink, at(1, 2, 3, 25))
    assert [(it["first"].timestamp(), it["last"].timestamp()) for it in told] == [(0, 2)]
    assert [row[4:] for row in database.rows()] == [(datetime(1970, 1, 1), datetime(1970, 1, 1, 0, 0, 2))]
    database.engine.dispose()


def test_an_early_record_of_nonsense_does_not_walk_through_all_windows_in_between(database: Database) -> None:
    sink = database.sink(Sliding("10s", every="1s"))
    database.write(sink, at(5, 4_000_000_000))
    assert len(database.rows()) == 10


def test_a_worlds_sink_counts_a_late_record_for_each_window_that_misses_it() -> None:
    world = World(Setup(30, 10), 1, [0])
    world.batch([Sent(0, 0, ("a",), 55, 1), Sent(0, 1, ("a",), 41, 1), Sent(0, 2, ("a",), 50, 1)])
    assert world.late_counts() == {(20, 50): 1, (30, 60): 1, (40, 70): 1}
