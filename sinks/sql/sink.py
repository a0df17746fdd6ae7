"""``SqlSink``: a table as the place where results go."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import Connection, Table, delete

from kafka_stream.errors import ConfigurationError
from kafka_stream.protocols import StateDescription
from kafka_stream.sinks.sql.changes import Changes
from kafka_stream.sinks.sql.into_database import IntoDatabase
from kafka_stream.sinks.sql.merging.merge import Merge, Merging
from kafka_stream.sinks.sql.narrowing import RowRefused
from kafka_stream.sinks.sql.on_workers.declared import names_of
from kafka_stream.sinks.sql.on_workers.part import OnWorkers
from kafka_stream.sinks.sql.on_workers.shipped import RowsLeftBehind, Shipped
from kafka_stream.sinks.sql.refusals import refusal
from kafka_stream.sinks.sql.rows import ASYNC_BELONGS, OnConflict, Resolution, RowReader, made_rows
from kafka_stream.sinks.sql.rules import Rules, schemas_of
from kafka_stream.sinks.sql.stateful.registration import Registration
from kafka_stream.sinks.sql.target import Target
from kafka_stream.sinks.sql.writers import Writer, writer_for
from kafka_stream.types import TopicPartition


class SqlTransaction(Protocol):
    """What this sink needs of a transaction: the connection in which the offsets advance."""

    @property
    def connection(self) -> Connection:
        """The connection, inside its transaction."""


class SqlSink(IntoDatabase):
    """Writes rows into one table of the database that keeps the offsets, in the same transaction.

    ``to_rows`` takes what the stream's ``prepare`` gave (or the ``Batch``) and gives, in order, mappings from column
    name to value, tuples of all columns in table order, or ``Delete`` of a key. It runs in the prepare phase, must be
    pure, and may run again. Mappings may have different columns: a missing one takes its default in a new row, and
    ``"update"`` leaves it alone in an old one. Columns that the database computes are left out of tuples.
    Where a row is not made of one record alone, ``to_rows`` may say which record it stands for, by pairs: all of
    ``(message, row)``, or none. An error about the row then names that record, and a dead letter is made of it.

    ``on_conflict`` says what happens to a row whose key is in the table:

    - ``"error"``: the database refuses it and the stream stops. Rows are written as given, in that order.
    - ``"ignore"``: the first one stays. Without ``key=`` that is so for everything that is unique in the table.
    - ``"update"``: the last one stays; the columns it has replace the stored ones.

    - ``Merge(…)``: the columns that it names are made of both, such as sums; the others keep what they are.

    ``"update"``, ``Merge`` and ``Delete`` need a key: the primary key, or the columns of a unique constraint named by
    ``key``.
    A batch comes to what its changes come to one by one, each as a statement of its own, in the order given; a row is
    refused only by its own statement, and the error names its record. Where nothing but the key ties rows together,
    and Python can tell keys apart as the database does, they are written in few statements and in key order, so that
    copies which write the same keys do not deadlock; else as given, and a deadlock is repeated. A change that comes to
    nothing beside another one of its key is left out if the database could not have refused it.
    A ``Column``'s ``onupdate`` is not applied, as in SQLAlchemy's own ``on_conflict_do_update``.

    Raises:
        ConfigurationError: ``table`` is no table, there is no key where one is needed, or ``to_rows`` is async.
    """

    def __init__(
        self,
        table: Any,
        to_rows: Callable[[Any], Iterable[Any]],
        on_conflict: OnConflict | Merge = "error",
        *,
        key: Sequence[str] | None = None,
    ) -> None:
        self._target = target = Target.of(table, key)
        resolution = _resolution(on_conflict, target)
        _check_to_rows(to_rows, target)
        if resolution in ("update", "merge"):
            _check_key(resolution, target)
        self._merging = Merging.of(on_conflict, target) if isinstance(on_conflict, Merge) else None
        self._states = _states(on_conflict, target)
        self._registration = [Registration(state) for state in self._states]
        self._to_rows = to_rows
        self._on_conflict = resolution
        self._conflict_key = target.key if resolution in ("update", "merge") or key is not None else ()
        self._beside = self._merging.reads_new if self._merging else None
        self._reader = RowReader(target, resolution, self._beside)
        self._writer: tuple[object, Writer] | None = None
        self._learned_before = 0

    @property
    def table(self) -> Table:
        """The table that it writes to."""
        return self._target.table

    def describe(self) -> str:
        """The table's name."""
        return f"table {self._target.name}"

    def prepare(self, prepared: Any) -> Changes:
        """Run ``to_rows`` and fold its rows; pure, may run again.

        Raises:
            ProcessingError: ``to_rows`` gave something that is no row of this table.
        """
        rows, records = self._reader.unpaired(self._rows_of(prepared))
        changes = Changes(self._reader.read(rows), source=prepared, records=records)
        writer = self._writer  # what the batches before have found out of the table
        return changes if writer is None else writer[1].encode(changes)

    def _rows_of(self, prepared: Any) -> Iterable[Any]:
        return made_rows(self._target.name, self._to_rows, prepared)

    @property
    def work_changed(self) -> int:
        """See ``ConvertingSink``: it grows with what is found out of the table."""
        return self._learned_before + (0 if self._writer is None else 1 + self._writer[1].learned)

    def for_workers(self) -> OnWorkers:
        """See ``ConvertingSink``: ``to_rows``, and what is known of the table so far."""
        knowledge = None if self._writer is None else self._writer[1].knowledge()
        return OnWorkers(names_of(self._target), self._to_rows, self._on_conflict, self._beside, knowledge)

    def write(self, prepared: Changes | Shipped, transaction: SqlTransaction) -> None:
        """Write one batch's changes through ``transaction.connection``; see ``write_overlapping``."""
        self.write_overlapping(prepared, transaction, lambda: None)

    def write_overlapping(
        self, prepared: Changes | Shipped, transaction: SqlTransaction, go_on: Callable[[], None]
    ) -> None:
        """Write one batch's changes through ``transaction.connection``; see ``OverlappingSink``.

        Raises:
            ConfigurationError: the database's dialect has no way to handle conflicts, or the table lacks the key.
            RecordError: the database refused a row; it names the record, and its cause is SQLAlchemy's error.
            RowsLeftBehind: what a worker has made of the batch cannot be written; prepare it in this process.
            sqlalchemy.exc.DBAPIError: it refused a row that cannot be traced to one record, or did not answer. Nothing
                of the batch is kept.
        """
        connection = transaction.connection
        if not len(prepared):
            return
        for registration in self._registration:
            registration.through(transaction)
        if self._writer is None:  # the table is looked at first
            go_on()
            go_on = _nothing
        writer = self._writer_of(connection)
        if isinstance(prepared, Shipped):
            self._write_shipped(writer, connection, prepared, go_on)
            return
        try:
            writer.write(connection, prepared, go_on)
        except RowRefused as refused:
            raise refusal(self._target.name, prepared, refused, self._rows_of) from refused.__cause__

    def _write_shipped(
        self, writer: Writer, connection: Connection, shipped: Shipped, go_on: Callable[[], None]
    ) -> None:
        if not shipped.given:
            writer.write_shipped(connection, shipped, go_on)
            return
        try:
            writer.write(connection, shipped.changes(self._reader.layout), go_on)
        except RowRefused as refused:
            raise RowsLeftBehind(f"the database refused a row for table {self._target.name}") from refused.__cause__

    def states(self) -> Sequence[StateDescription]:
        """The table, where rows are merged: what is in it depends on what was."""
        return self._states

    def clear(self, transaction: SqlTransaction, partitions: Sequence[TopicPartition]) -> Mapping[str, int]:
        """Delete all rows of the table, where rows are merged; of whose records they are nobody can tell."""
        if not self._states:
            return {}
        return {self._target.name: transaction.connection.execute(delete(self._target.table)).rowcount}

    def _writer_of(self, connection: Connection) -> Writer:
        """What writes through such connections; it looks at the table once."""
        schemas = schemas_of(connection)
        known = (connection.dialect, schemas)
        if self._writer is None or self._writer[0] != known:
            rules = Rules(self._on_conflict, self._conflict_key, schemas, self._merging)
            self._learned_before = self.work_changed
            self._writer = (known, writer_for(self._target, rules, connection))
        return self._writer[1]


def _nothing() -> None:
    """In place of a ``go_on`` that was called."""


def _resolution(on_conflict: Any, target: Target) -> Resolution:
    if isinstance(on_conflict, Merge):
        return "merge"
    known: Sequence[Resolution] = ("error", "ignore", "update")
    if on_conflict not in known:
        raise ConfigurationError(
            f"on_conflict={on_conflict!r} of the SqlSink for table {target.name} is unknown; "
            "choose 'error', 'ignore', 'update' or Merge(…)"
        )
    return next(it for it in known if it == on_conflict)


def _states(on_conflict: Any, target: Target) -> Sequence[StateDescription]:
    if not isinstance(on_conflict, Merge):
        return ()
    details = {name: how.told for name, how in on_conflict.columns.items()}
    return (StateDescription(target.name, "merge", target.name, target.key, {"columns": details}),)


def _check_key(resolution: Resolution, target: Target) -> None:
    what = "on_conflict=Merge(…)" if resolution == "merge" else f'on_conflict="{resolution}"'
    if not target.key:
        raise ConfigurationError(
            f"{what} needs a key, but table {target.name} has no primary key; give it one, "
            "or name a unique constraint's columns with key=(…)"
        )
    if generated := [name for name in target.key if name not in target.columns]:
        raise ConfigurationError(
            f"{what} needs a key that rows can hold, but {generated[0]!r} of table {target.name} is "
            "computed by the database; name a unique constraint's columns with key=(…)"
        )


def _check_to_rows(to_rows: Any, target: Target) -> None:
    if not callable(to_rows):
        raise ConfigurationError(
            f"to_rows of the SqlSink for table {target.name} is a {type(to_rows).__name__}, not a function from "
            "a batch to rows"
        )
    for function in (to_rows, getattr(to_rows, "func", None), type(to_rows).__call__):
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise ConfigurationError(f"to_rows of the SqlSink for table {target.name} is async; {ASYNC_BELONGS}")
