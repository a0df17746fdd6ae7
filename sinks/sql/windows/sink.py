"""``WindowSink``: windows of event time, each written once, when it closes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, Unpack

from sqlalchemy import delete

from kafka_stream.batch import Batch
from kafka_stream.errors import ConfigurationError
from kafka_stream.protocols import StateDescription
from kafka_stream.sinks.sql.into_database import IntoDatabase
from kafka_stream.sinks.sql.stateful.functions import checked_function
from kafka_stream.sinks.sql.stateful.records import records_of
from kafka_stream.sinks.sql.stateful.transaction import StatefulTransaction
from kafka_stream.sinks.sql.windows.event_time.aggregates import Aggregate
from kafka_stream.sinks.sql.windows.event_time.definitions import Definition, Session, Sliding, Tumbling
from kafka_stream.sinks.sql.windows.event_time.events import EventReader
from kafka_stream.sinks.sql.windows.event_time.lateness import Placed, placed
from kafka_stream.sinks.sql.windows.event_time.panes import Panes
from kafka_stream.sinks.sql.windows.ledger import Ledger
from kafka_stream.sinks.sql.windows.open_panes import Added, Chosen, OpenPanes
from kafka_stream.sinks.sql.windows.open_sessions import OpenSessions
from kafka_stream.sinks.sql.windows.options import Options, WindowOptions
from kafka_stream.sinks.sql.windows.standing import Standing
from kafka_stream.sinks.sql.windows.tables import WindowTables, tables_of
from kafka_stream.sinks.sql.windows.turn import Turns
from kafka_stream.types import TopicPartition

_TICK_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch's records, placed, and combined as if nothing of them had passed before; ``batch`` if there is one."""

    placed: Sequence[Placed]
    added: Added
    batch: Batch | None

    def __len__(self) -> int:
        return sum(len(one.starts) for one in self.placed)


class Combining(Protocol):
    """Brings together what is added at once."""

    def prepare(self, of: Chosen) -> Added:
        """The records of partitions, without those at these places; pure."""


@dataclass(frozen=True)
class Placing:
    """Places and combines the records of a batch; pure, and it can be pickled if the user's functions can."""

    where: str
    reader: EventReader
    place: Panes | Session
    lateness_us: int
    combining: Combining

    def prepare(self, prepared: Any) -> Prepared:
        """See ``WindowSink.prepare``; of a batch there is only what was made of it."""
        found = [
            placed(events, self.place, self.lateness_us)
            for events in self.reader.read(records_of(prepared, self.where))
        ]
        return Prepared(found, self.combining.prepare([(one, one.late) for one in found]), None)


class WindowSink(IntoDatabase):
    """Aggregates of the records of each key and window of event time, written when the window closes.

    ``table`` gets a row for each closed window of a key that has a record: its primary key is the key columns and
    ``window_start``, it has ``window_end``, and a column for each of ``aggregates`` (``Count()``, ``Sum(of)``,
    ``Min(of)``, ``Max(of)``, ``Mean(of)``). ``window`` is ``Tumbling("5 minutes")``,
    ``Sliding("1 hour", every="5 minutes")`` or ``Session("30 minutes")``. Functions get a record's value: what
    ``batch.decoded(…)`` has made of it, or the message itself. ``key`` gives the values of the key columns, a tuple if
    there are several; ``None`` if there are none. ``time`` gives an aware ``datetime``; ``None`` is the record's
    timestamp. What is open is kept in ``<table>_open``, which is declared beside ``table``: create both.

    A partition's watermark is the largest time seen in it, minus ``allowed_lateness``; the stream's is the least of
    all its partitions, other members' too, without those that have been read to their end for ``idle_after``. Once it
    passes a window's end, the window closes, once, in the transaction of the batch or tick that gets there, and
    ``on_close(rows, transaction)`` is called with all rows that close there, sorted by end and key.

    A record is late if its pane (of tumbling windows the window, of sliding ones a step) ended not behind its own
    partition's watermark, or is closed; of a session, if its time is before these. Every late record is counted, and

    - ``late="table"``: kept in ``<table>_late``;
    - ``late="dead-letter"``: becomes a dead letter; the stream needs ``on_error="dead-letter"``, else it stops here;
    - ``late="update"``: goes into its windows for as long as ``retention``, whose rows are replaced, and given to
      ``on_close`` again; what is older is kept in ``<table>_late``. A session that becomes a part of another one goes.

    With ``retention``, rows of windows that ended so long before the last that closed are removed, some thousand at a
    time. ``name`` (the table's, by default) is what the store keeps watermarks under.

    Raises:
        ConfigurationError: the table, a column, a length of time or a function cannot be what is meant.
    """

    tick_interval_s: Final = _TICK_S

    def __init__(
        self,
        table: Any,
        window: Definition,
        key: Callable[[Any], Any] | None,
        time: Callable[[Any], Any] | None = None,
        aggregates: Mapping[str, Aggregate] | None = None,
        **options: Unpack[WindowOptions],
    ) -> None:
        if not isinstance(window, Tumbling | Sliding | Session):
            raise ConfigurationError(
                f"a WindowSink takes Tumbling(…), Sliding(…, every=…) or Session(…) for its windows, not {window!r}"
            )
        self._tables = tables = tables_of(table, aggregates or {}, key, sessions=isinstance(window, Session))
        where = f"the WindowSink for table {tables.name}"
        self._options = kept = Options.of(options, where)
        reader = EventReader(
            where,
            len(tables.key),
            None if key is None else checked_function(key, f"key of {where}", "value"),
            None if time is None else checked_function(time, f"time of {where}", "value"),
            tables.plan.arguments,
        )
        standing = Standing(tables, where, whole_seconds=window.whole_seconds)
        self._open = _opened(tables, window, kept, standing)
        self._placing = Placing(where, reader, self._open.place, kept.lateness_us, self._open)
        self._described = StateDescription(
            name=kept.name or tables.name,
            kind="windows",
            table=tables.name,
            key=tables.key,
            details={
                "window": str(window),
                "aggregates": {name: repr(it) for name, it in (aggregates or {}).items()},
                "open": tables.open.fullname,
                "late_records": tables.late.fullname,
            },
        )
        self._ledger = Ledger(self._described)
        self._turns = Turns(tables, self._open, self._ledger, kept, standing)

    def describe(self) -> str:
        """The table's name, and its windows."""
        return f"table {self._tables.name} ({self._described.details['window']})"

    def prepare(self, prepared: Any) -> Prepared:
        """Place and combine a batch's records; pure, may run again.

        Raises:
            RecordError: ``key``, ``time`` or an aggregate's function failed on a record, or it has no time.
        """
        found = self._placing.prepare(prepared)
        return replace(found, batch=prepared) if isinstance(prepared, Batch) else found

    @property
    def work_changed(self) -> int:
        """See ``ConvertingSink``: what is found out of the table of open windows."""
        return self._open.work_changed

    def for_workers(self) -> Placing:
        """See ``ConvertingSink``: records are placed and combined there; which are late is seen in the transaction."""
        return replace(self._placing, combining=self._open.for_workers())

    def write(self, prepared: Prepared, transaction: StatefulTransaction) -> None:
        """Add the records to their windows, and close those whose end has passed.

        Raises:
            ConfigurationError: a table or a column is missing in the database, or keys cannot be told apart.
            RecordError: a record is late, and cannot become a dead letter.
            StatementRefused: the table does not take a closed window, or ``on_close`` failed.
        """
        if len(prepared):
            self._turns.write(prepared.placed, prepared.added, prepared.batch, transaction)

    def tick(self, caught_up_s: Mapping[TopicPartition, float], transaction: StatefulTransaction) -> None:
        """Leave out the partitions that are idle, and close what can be; see ``TickingSink``."""
        self._turns.tick(caught_up_s, transaction)

    def states(self) -> Sequence[StateDescription]:
        """What this sink keeps."""
        return [self._described]

    def clear(self, transaction: StatefulTransaction, partitions: Sequence[TopicPartition]) -> Mapping[str, int]:
        """Delete all windows, open and closed, late records and watermarks: no row is of one partition alone."""
        found = {}
        for table in (self._tables.target.table, self._tables.open, self._tables.late):
            found[table.fullname] = transaction.connection.execute(delete(table)).rowcount
        self._ledger.clear(transaction)
        return found


def _opened(tables: WindowTables, window: Definition, options: Options, standing: Standing) -> OpenPanes | OpenSessions:
    kept_us = (options.retention_us or 0) if options.late == "update" else 0
    if isinstance(window, Session):
        return OpenSessions(tables, window, standing, kept_us)
    return OpenPanes(tables, window, standing, kept_us)
