"""``StateSink``: state that is rows of a table, updated key by key in the batch's own transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, exc

from kafka_stream.errors import KafkaStreamError, ProcessingError, RecordError
from kafka_stream.protocols import StateDescription, StatefulSink
from kafka_stream.sinks.sql.into_database import IntoDatabase
from kafka_stream.sinks.sql.refusals import reason
from kafka_stream.sinks.sql.rules import schemas_of
from kafka_stream.sinks.sql.state.cache import PartitionRows
from kafka_stream.sinks.sql.state.declared import KeyColumns, Scope, check_functions, checked_name, checked_rows
from kafka_stream.sinks.sql.state.following import Following
from kafka_stream.sinks.sql.state.grouping import Grouped, Grouper, OfKey
from kafka_stream.sinks.sql.state.table import StateTable
from kafka_stream.sinks.sql.state.typed_rows import RowForm
from kafka_stream.sinks.sql.state.updating import Decision, Updating
from kafka_stream.sinks.sql.state.writing import DecisionRefused
from kafka_stream.sinks.sql.stateful.registration import Registration
from kafka_stream.sinks.sql.stateful.transaction import StatefulTransaction
from kafka_stream.sinks.sql.target import Target
from kafka_stream.types import TopicPartition


class StateSink(IntoDatabase):
    """Keeps state as rows of a table, one per key, and updates them with each batch, in its transaction.

    ``key`` takes what the stream's ``prepare`` gave for a record (without a ``prepare``, the ``Message``) and gives
    its key: a value, or a tuple in the order of the table's primary key. The rows of a batch's keys are read in one
    request. ``update(key, records, row)`` is called once per key, in key order, with what that key's records gave, in
    offset order, and the row as a mapping from column to value, ``None`` if there is none. It returns the new row,
    ``None`` to delete it, or ``UNCHANGED``. A row may leave out its key, and columns that are to stay as they are (in a
    new row, to take their default). ``row`` is a dataclass or a model of pydantic to take the place of mappings: its
    fields are the columns that ``update`` sees. Both functions must be pure: they may run again.

    After every commit, each key's row is what ``update`` makes of all its committed records, in the order in which
    their batches wrote it: no record is left out, none is taken twice. Members of a group that meet on a key wait for
    each other; on PostgreSQL and MariaDB rows are locked, in key order, until the commit. A deadlock is repeated.

    ``scope="partition"`` is for state whose key is of one partition, because it follows from the records' own key, or
    is wanted by partition. The table's primary key then also has the topic and the partition (``partition_columns``),
    which ``key`` and ``update`` leave out; nobody else writes these rows, so none is locked, and up to ``cached_rows``
    of them are kept from batch to batch, for as long as this owner commits one batch behind the other. Change such a
    table from elsewhere only while the stream does not run.

    ``then`` are sinks (or functions ``write(rows, transaction)``) of the same transaction: ``update`` gets a fourth
    argument ``emit``, and the rows that it is called with are what these sinks are given, in key order.

    Raises:
        ConfigurationError: ``table`` is no table, its key does not suit, ``row`` has a field that is no column, a
            function cannot be called so, or one of ``then`` does not write through the transaction.
    """

    def __init__(
        self,
        table: Any,
        key: Callable[[Any], Any],
        update: Callable[..., Any],
        *,
        row: type | None = None,
        scope: Scope = "key",
        partition_columns: Sequence[str] = ("topic", "partition"),
        then: Sequence[Any] = (),
        cached_rows: int = 100_000,
        name: str | None = None,
    ) -> None:
        self._target = target = Target.of(table, None, "StateSink")
        self._key_columns = KeyColumns.of(target, scope, partition_columns)
        self._where = f"the StateSink for table {target.name}"
        self._following = Following(then, self._where)
        check_functions(target, key, update, emits=bool(self._following))
        self._grouper = Grouper(self._where, key, self._key_columns, scope == "partition")
        self._row_form = RowForm(target, row)
        self._updating = Updating(
            target, update, self._row_form, emits=bool(self._following), key_of_user=self._key_columns.of_user()
        )
        self._name = checked_name(target, name)
        of_partition = {"partition_columns": list(partition_columns)} if scope == "partition" else {}
        details = {"scope": scope, **of_partition}
        self._description = StateDescription(self._name, "state", target.name, target.key, details)
        self._registration = Registration(self._description)
        rows = checked_rows(target, cached_rows)
        self._cache = PartitionRows(rows, self._key_columns.place_of) if scope == "partition" else None
        self._looked_at: tuple[object, StateTable] | None = None

    def describe(self) -> str:
        """The table's name."""
        return f"state in table {self._target.name}"

    def states(self) -> Sequence[StateDescription]:
        """This state, and those of the sinks behind it; see ``StatefulSink``."""
        return [self._description, *(found for sink in self._stateful() for found in sink.states())]

    def clear(self, transaction: StatefulTransaction, partitions: Sequence[TopicPartition]) -> Mapping[str, int]:
        """Delete all rows, or those of the partitions where each has its own; see ``StatefulSink``."""
        deleting = [delete(self._target.table)]
        if self._cache is not None:
            key = [self._target.table_columns[name] for name in self._target.key]
            topic, number = key[self._key_columns.topic or 0], key[self._key_columns.partition or 0]
            deleting = [deleting[0].where(topic == it.topic, number == it.partition) for it in partitions]
        deleted = {self._target.name: sum(transaction.connection.execute(it).rowcount for it in deleting)}
        for sink in self._stateful():
            for table, count in sink.clear(transaction, partitions).items():
                deleted[table] = deleted.get(table, 0) + count
        return deleted

    def _stateful(self) -> Sequence[StatefulSink]:
        return [sink for sink in self._following.sinks if isinstance(sink, StatefulSink)]

    def prepare(self, prepared: Any) -> Grouped:
        """The records by their keys; pure, may run again.

        Raises:
            RecordError: ``key`` failed for a record, or gave no key.
            ProcessingError: what was prepared is not of records.
        """
        return self._grouper.prepare(prepared)

    @property
    def work_changed(self) -> int:
        """See ``ConvertingSink``: what is found out of the table is not for workers."""
        return 0

    def for_workers(self) -> Grouper:
        """See ``ConvertingSink``: records are brought together there; rows are updated in the transaction."""
        return self._grouper

    def write(self, prepared: Grouped, transaction: StatefulTransaction) -> None:
        """Update the rows of a batch's keys through ``transaction.connection``; see ``write_overlapping``."""
        self.write_overlapping(prepared, transaction, lambda: None)

    def write_overlapping(self, prepared: Grouped, transaction: StatefulTransaction, go_on: Callable[[], None]) -> None:
        """Update the rows of a batch's keys through ``transaction.connection``; see ``OverlappingSink``.

        Raises:
            ConfigurationError: the table is not in the database, or not as it is declared.
            RecordError: ``update`` failed on a key with one record, or the database refused what it gave for that.
            Exception: what ``update`` raised on a key with several records, or the database's error about what it gave.
        """
        if not len(prepared):
            return
        connection = transaction.connection
        table = self._table_of(connection)
        self._registration.through(transaction)
        groups = prepared.by_form(table.forms, self._grouper.key_of)

        def decide(group: OfKey, stored: Sequence[Any] | None) -> Decision:
            try:
                return self._updating.decide(group, stored, table.forms.of_one)
            except Exception as error:
                if (failure := self._failure(error, group, prepared, table)) is None:
                    raise
                raise failure from error

        try:
            if self._cache is None:
                decisions = table.settled(connection, groups, decide, go_on)
            else:
                self._cache.begin(transaction)
                decisions = table.settled_from(self._cache, connection, groups, decide, go_on)
        except DecisionRefused as refused:
            error = self._shown(refused)
            if (failure := self._refusal(error, refused.decision.of, prepared, table)) is None:
                raise error from error.__cause__
            raise failure from error
        if self._following:
            self._following.write([row for it in decisions for row in it.emitted], transaction)

    def _table_of(self, connection: Connection) -> StateTable:
        """The table as the connection's database has it; it is looked at once."""
        known = (connection.dialect, schemas_of(connection))
        if self._looked_at is None or self._looked_at[0] != known:
            self._looked_at = (known, StateTable(self._target, self._row_form.names, self._key_columns, connection))
        return self._looked_at[1]

    def _failure(self, error: Exception, group: OfKey, prepared: Grouped, table: StateTable) -> RecordError | None:
        """The error of the record that ``update`` failed on, if it is known which one that is."""
        is_told = isinstance(error, KafkaStreamError)
        if len(group.values) > 1 or (is_told and type(error) is not ProcessingError):
            return None
        (message,) = prepared.messages_of(group.key, table.forms, self._grouper.key_of)
        return RecordError.of(message, str(error) if is_told else f"update failed on it ({type(error).__name__})")

    def _refusal(self, error: Exception, group: OfKey, prepared: Grouped, table: StateTable) -> RecordError | None:
        """The error of the record whose row the database refused, if it is known which one that is."""
        if len(group.values) > 1:
            error.add_note(
                f"The database refused a row that update of {self._where} gave for "
                f"{len(group.values):,} records of one key."
            )
            return None
        (message,) = prepared.messages_of(group.key, table.forms, self._grouper.key_of)
        return RecordError.of(message, f"the database refused its row for table {self._target.name}: {reason(error)}")

    def _shown(self, refused: DecisionRefused) -> Exception:
        """The database's error, without the row's values."""
        error = refused.__cause__
        assert isinstance(error, Exception)
        if isinstance(error, exc.StatementError):
            error.hide_parameters = True
        return error
