"""A statement per row: how changes get into a table where there is no faster way than ``INSERT``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from sqlalchemy import (
    ClauseElement,
    ColumnElement,
    Connection,
    Dialect,
    bindparam,
    delete,
    exc,
    insert,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.compiler import SQLCompiler

from kafka_stream.errors import KafkaStreamError
from kafka_stream.sinks.sql.changes import Arrangement, Changes, Doubt, Group
from kafka_stream.sinks.sql.facts import UNKNOWN, TableFacts
from kafka_stream.sinks.sql.merging.assignments import Assigning, changing
from kafka_stream.sinks.sql.merging.combining import Combining
from kafka_stream.sinks.sql.merging.grouping import Grouping
from kafka_stream.sinks.sql.narrowing import Narrowing, Part, RowRefused, RowSuspected
from kafka_stream.sinks.sql.on_workers.knowledge import Knowledge
from kafka_stream.sinks.sql.on_workers.shipped import Copyable, RowsLeftBehind, Shipped
from kafka_stream.sinks.sql.rows import Values
from kafka_stream.sinks.sql.rules import Rules
from kafka_stream.sinks.sql.statements import Composed, Prepared, Statement
from kafka_stream.sinks.sql.target import Target

_INSERTS: dict[str, Callable[[Any], Any]] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}
_SAVEPOINT = "kafka_stream_batch"

Inserted: TypeAlias = Mapping[str, Any] | Sequence[Mapping[str, Any]]
"""What an INSERT's ``values`` takes: a row, or several."""


class StatementWriter:
    """DELETE and INSERT … ON CONFLICT, a row each, in the driver's batches (psycopg's pipeline, SQLite's loop).

    What a batch comes to is what its changes come to one by one, a statement each, in the order given. So a row is
    refused by nothing but its own statement: a statement of many that fails is undone, and its changes go in smaller
    and smaller parts, until the one that is refused goes by itself.
    A row that lacks a column which a new row must have changes the one that is there; it is inserted if there is none.
    """

    def __init__(self, target: Target, dialect: Dialect, rules: Rules, facts: TableFacts) -> None:
        self._target = target
        self._dialect = dialect
        self._rules = rules
        self._on_conflict = rules.on_conflict
        self._conflict_key = rules.conflict_key
        self._facts = facts
        self._assigning = merged = None
        if rules.merging is not None:
            self._assigning = Assigning(rules.merging, target, dialect)
            merged = Grouping(Combining(target, rules.merging.aggregates, facts, dialect), self._least_round())
        self._arrangement = Arrangement(target, rules.on_conflict, facts, dialect, merged)
        self._statements: dict[tuple[str, ...], Statement] = {}
        self.learned = 0  # it grows when ``knowledge`` would give something new

    @classmethod
    def _least_round(cls) -> int | None:
        """See ``Grouping``."""
        return None

    @classmethod
    def facts_of(cls, connection: Connection, target: Target, schema: str | None) -> TableFacts:
        """What the database says of the table; here, nothing is known of it."""
        return UNKNOWN

    def encode(self, changes: Changes) -> Changes:
        """Arranged in groups: what can be done before the transaction."""
        return self._arrangement.of(changes)

    def knowledge(self) -> Knowledge | None:
        """What workers need to know to give what ``write_shipped`` takes; ``None`` if it cannot be sent."""
        return Knowledge.of(self._target, self._rules, self._facts, self._dialect, self._least_round())

    def write_shipped(self, connection: Connection, shipped: Shipped, go_on: Callable[[], None]) -> None:
        """Write what workers have made of changes, by what they know; it comes to the same.

        Raises:
            RowsLeftBehind: it cannot be written as it is; the transaction is not to be gone on with.
        """
        if not shipped.is_copied:
            go_on()
        try:
            if shipped.contended:
                self._lock(connection, shipped.contended)
            for group in shipped.groups:
                self._write_shipped(connection, group, go_on)
        except Exception as error:
            if self._is_about_rows(connection, error):
                raise RowsLeftBehind(f"the database refused changes of table {self._target.name}") from error
            raise

    def _write_shipped(self, connection: Connection, group: Copyable | Group, go_on: Callable[[], None]) -> None:
        assert isinstance(group, Group)
        self._write_group(connection, group, None)

    def write(self, connection: Connection, changes: Changes, go_on: Callable[[], None]) -> None:
        """Write the changes.

        Raises:
            RowRefused: the database refused a change; the transaction is not to be gone on with.
        """
        if changes.groups is None:
            changes = StatementWriter.encode(self, changes)
        if not changes.encoded:
            go_on()  # many requests, with Python's work between them
        if len(changes) == 1:
            self._write_one(connection, changes, Part(0, 1))
            return
        if changes.parts is not None:
            self._write_parts(connection, changes, Narrowing(changes.parts))
            return
        doubt = self._tried(connection, lambda: self._write_groups(connection, changes))
        if doubt is not None:
            narrowing = Narrowing([whole := Part(0, len(changes))])
            narrowing.next()
            narrowing.refused(whole, doubt.number(changes))
            self._write_parts(connection, changes, narrowing)

    def _tried(self, connection: Connection, write: Callable[[], None]) -> Doubt | None:
        """Write behind a savepoint; undone up to it where a row has to tell what is wrong."""
        connection.exec_driver_sql(f"SAVEPOINT {_SAVEPOINT}").close()
        doubt: Doubt | None = Doubt()
        try:
            write()
        except RowSuspected as suspected:
            doubt = Doubt(suspected.row)
        except Exception as error:
            if not self._is_about_rows(connection, error):
                raise
        else:
            doubt = None
        if doubt is not None:
            connection.exec_driver_sql(f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}").close()
        connection.exec_driver_sql(f"RELEASE SAVEPOINT {_SAVEPOINT}").close()
        return doubt

    def _write_groups(self, connection: Connection, changes: Changes) -> None:
        if changes.contended:
            self._lock(connection, changes.contended)
        for number, group in enumerate(changes.groups or ()):
            self._write_group(connection, group, changes.encoded.get(number))

    def _write_parts(self, connection: Connection, changes: Changes, narrowing: Narrowing) -> None:
        """In the order given, until the change that is refused is alone."""
        while (part := narrowing.next()) is not None:
            if len(part) == 1:
                self._write_one(connection, changes, part)
            elif (doubt := self._tried(connection, self._writing(connection, changes, part, narrowing))) is not None:
                narrowing.refused(part, doubt.number(changes))

    def _writing(
        self, connection: Connection, changes: Changes, part: Part, narrowing: Narrowing
    ) -> Callable[[], None]:
        """What writes a part: as it was encoded, or, after many refusals, without what else would be quicker."""
        if changes.parts is not None and changes.groups is not None and part in changes.parts:
            number = changes.parts.index(part)
            group, encoded = changes.groups[number], changes.encoded.get(number)
            return lambda: self._write_group(connection, group, encoded)
        groups = changes.part(part, plain=narrowing.refusals > narrowing.most_expected)
        return partial(self._write_each, connection, groups)

    def _write_each(self, connection: Connection, groups: Iterable[Group]) -> None:
        for group in groups:
            self._write_group(connection, group, None)

    def _write_one(self, connection: Connection, changes: Changes, part: Part) -> None:
        try:
            self._write_each(connection, changes.part(part))
        except Exception as error:
            if self._is_about_rows(connection, error):
                raise RowRefused(part.begin) from error
            raise

    def _is_about_rows(self, connection: Connection, error: Exception) -> bool:
        """Whether a row, a value or the table is at fault, and not the connection, the server or the transaction."""
        if isinstance(error, exc.DBAPIError):
            return not error.connection_invalidated and not isinstance(error, exc.OperationalError | exc.InternalError)
        return not isinstance(error, KafkaStreamError)

    def _write_group(self, connection: Connection, group: Group, encoded: Any) -> None:
        if not group.columns:
            self._delete(connection, group.rows)
        elif self._only_changes(group.columns):
            self._change_rows(connection, group.columns, group.rows)
        else:
            self._insert_rows(connection, group, encoded)

    def _insert_rows(self, connection: Connection, group: Group, encoded: Any) -> None:
        """``encoded`` is what ``encode`` has made of the rows, if anything."""
        self._insert_statement(group.columns).run(connection, group.rows)

    def _insert_statement(self, columns: tuple[str, ...]) -> Statement:
        return self._statement(("insert", *columns), partial(self._insert, columns))

    def _only_changes(self, columns: tuple[str, ...]) -> bool:
        """Whether an INSERT of these columns is refused even where there is a row that it would only change."""
        if self._on_conflict not in ("update", "merge") or len(columns) == len(self._target.columns):
            return False
        omitted = [it for name, it in self._target.columns.items() if name not in columns]
        facts = self._facts.columns
        return any(it.name in facts and facts[it.name].is_required and it.default is None for it in omitted)

    def _change_rows(self, connection: Connection, columns: tuple[str, ...], rows: Sequence[Values]) -> None:
        """UPDATE by key, and where there is no row the INSERT, which says what is missing."""
        key = self._target.key
        names = [name for name in columns if name not in key]
        others, of_key = [list(map(columns.index, wanted)) for wanted in (names, key)]
        keys = self._key_values([tuple(row[i] for i in of_key) for row in rows])
        values = [(*(row[i] for i in others), *found) for row, found in zip(rows, keys, strict=True)]
        change = self._statement(("change", *columns), lambda: self._composed(self._change(names), (*names, *key)))
        assert isinstance(change, Prepared)
        if names and len(rows) > 1 and not self._facts.row_by_row and change.counted(connection, values) == len(rows):
            return
        for row, parameters in zip(rows, values, strict=True):
            if change.counted(connection, [parameters]) == 0:
                self._insert_statement(columns).run(connection, [row])

    def _change(self, names: Sequence[str]) -> ClauseElement:
        return changing(self._target, self._rules.schema(self._target), names, self._as_kept, self._assigning)

    def _key_values(self, keys: Sequence[Values]) -> Sequence[Values]:
        """Keys in a form that the database compares as it does the values of rows."""
        return keys

    def _statement(self, name: tuple[str, ...], compose: Callable[[], Statement]) -> Statement:
        """A statement, composed at its first use."""
        if (statement := self._statements.get(name)) is None:
            statement = self._statements[name] = compose()
        return statement

    def _lock(self, connection: Connection, keys: Sequence[Values]) -> None:
        """Nothing to do where there is one writer, as in SQLite."""

    def _delete(self, connection: Connection, keys: Sequence[Values]) -> None:
        deleting = delete(self._target.table).where(*self._key_matches())
        self._statement(("delete",), lambda: self._composed(deleting, self._target.key)).run(connection, keys)

    def _key_matches(self) -> Iterator[ColumnElement[bool]]:
        columns = map(self._target.table_columns.__getitem__, self._target.key)
        return (it == self._as_kept(it, bindparam(f"v{i}", type_=it.type)) for i, it in enumerate(columns))

    def _as_kept(self, column: ColumnElement[Any], value: ColumnElement[Any]) -> ColumnElement[Any]:
        """A key's value as the column keeps it: with fewer digits, perhaps."""
        return value

    def _insert(self, columns: tuple[str, ...]) -> Statement:
        of = self._target.columns
        parameters = {name: f"v{i}" for i, name in enumerate(columns)}
        values = {of[n].key: bindparam(p, type_=of[n].type) for n, p in parameters.items()}
        return self._composed(self._insert_of(columns, values), columns)

    def _insert_of(self, columns: tuple[str, ...], values: Inserted) -> ClauseElement:
        into = _INSERTS.get(self._dialect.name, insert)(self._target.table)
        return self._resolving_conflicts(into.values(values), columns)

    def _resolving_conflicts(self, statement: Any, columns: tuple[str, ...]) -> ClauseElement:
        of = self._target.columns
        if self._on_conflict == "ignore":
            statement = statement.on_conflict_do_nothing(index_elements=self._conflict_columns() or None)
        elif self._on_conflict == "update":
            updated = {of[n].key: statement.excluded[of[n].key] for n in columns if n not in self._target.key}
            if updated:
                statement = statement.on_conflict_do_update(index_elements=self._conflict_columns(), set_=updated)
            else:
                statement = statement.on_conflict_do_nothing(index_elements=self._conflict_columns())
        elif self._assigning is not None and (merged := self._assigning.of(columns)):
            by_key = {column.key: value for column, value in merged}
            statement = statement.on_conflict_do_update(index_elements=self._conflict_columns(), set_=by_key)
        elif self._assigning is not None:
            statement = statement.on_conflict_do_nothing(index_elements=self._conflict_columns())
        return statement  # type: ignore[no-any-return]

    def _composed(self, statement: ClauseElement, columns: tuple[str, ...]) -> Statement:
        """The statement as the driver takes it, unless it has more parameters than the row: Python-side defaults."""
        types = [self._target.table_columns[name].type for name in columns]
        names = tuple(f"v{i}" for i in range(len(columns)))
        return Prepared.of(self._compiled(statement), types, self._dialect) or Composed(statement, names)

    def _compiled(self, statement: ClauseElement) -> SQLCompiler:
        options: dict[str, Any] = {}
        if self._rules.schemas:
            options = {"schema_translate_map": self._rules.schemas, "render_schema_translate": True}
        compiled = statement.compile(dialect=self._dialect, **options)
        assert isinstance(compiled, SQLCompiler)
        return compiled

    def _conflict_columns(self) -> list[Any]:
        return [self._target.columns[name] for name in self._conflict_key]
