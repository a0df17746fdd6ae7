"""How the tables stand in the database: there at all, with their columns, and with keys that Python tells apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, TypeAlias

from sqlalchemy import Connection, Table, inspect

from kafka_stream.errors import ConfigurationError, ProcessingError
from kafka_stream.sinks.sql.facts import ColumnFacts, TableFacts
from kafka_stream.sinks.sql.facts import Kind as Compared
from kafka_stream.sinks.sql.keys import comparison
from kafka_stream.sinks.sql.rules import schemas_of
from kafka_stream.sinks.sql.target import Target
from kafka_stream.sinks.sql.windows.event_time.lateness import Placed
from kafka_stream.sinks.sql.windows.event_time.values import Kind, Values
from kafka_stream.sinks.sql.windows.tables import END, START, WindowTables
from kafka_stream.sinks.sql.writers import facts_of

_TOLD_APART = {
    Compared.BOOLEAN,
    Compared.BYTES,
    Compared.DATE,
    Compared.ENUM,
    Compared.INTEGER,
    Compared.TEXT,
    Compared.TEXT_WITHOUT_CASE,
    Compared.UUID,
}
_MICROSECONDS = 6

Compare: TypeAlias = Callable[[Sequence[Any]], Sequence[Any] | None]


@dataclass
class Standing:
    """Looked at once for each process and database; ``where`` begins what is refused."""

    tables: WindowTables
    where: str
    whole_seconds: bool
    _seen: object = field(default=None, init=False)
    _compare: Compare | None = field(default=None, init=False)
    _folds_keys: bool = field(default=False, init=False)

    def look(self, connection: Connection) -> None:
        """Look at the tables.

        Raises:
            ConfigurationError: one is missing, or lacks a column; keys cannot be told apart, or times not kept.
        """
        schemas = schemas_of(connection)
        if self._seen == (connection.dialect, schemas):
            return
        for table in (self.tables.target.table, self.tables.open, self.tables.late):
            self._check_is_there(table, connection, schemas.get(table.schema, table.schema))
        target = self.tables.target
        facts = facts_of(connection, target, schemas.get(target.table.schema, target.table.schema))
        for name in self.tables.key:
            self._check_told_apart(name, facts, connection.dialect.name)
        self._check_moments(facts, connection.dialect.name)
        self._check_decimals(facts, connection.dialect.name)
        self._compare = comparison(self._keys_alone(), facts, connection.dialect) if self.tables.key else None
        self._seen = (connection.dialect, schemas)

    def check_keys(self, placed: Sequence[Placed]) -> None:
        """Refuse keys that the database might take for one where Python does not.

        Raises:
            ProcessingError: there are some.
        """
        keys = list(set(chain.from_iterable(one.events.keys for one in placed)))
        if self._compare is not None and self._compare(keys) is None:
            names = ", ".join(map(repr, self.tables.key))
            raise ProcessingError(
                f"{self.where}: key gave a value for {names} that its column does not keep as it is, or compares in a "
                "way of its own: give each column values of its class, and a text in other letters than ASCII to one "
                "whose collation goes by bytes and does not pad (of MariaDB utf8mb4_nopad_bin)"
            )

    def forms(self, keys: Sequence[Any]) -> Sequence[Any]:
        """Keys that the database gave, in a form in which they are equal if it says so."""
        if not self._folds_keys or self._compare is None:
            return keys
        return self._compare(keys) or keys

    def _check_is_there(self, table: Table, connection: Connection, schema: str | None) -> None:
        inspector = inspect(connection)
        if not inspector.has_table(table.name, schema):
            raise ConfigurationError(
                f"{self.where} needs the table {table.fullname}, which is not in the database: run "
                "metadata.create_all(engine) after the sink was built, or bring it along by a migration (Alembic)"
            )
        there = {column["name"] for column in inspector.get_columns(table.name, schema)}
        if missing := [column.name for column in table.columns if column.name not in there]:
            raise ConfigurationError(
                f"{self.where} needs the column {missing[0]!r} of the table {table.fullname}, which is not in the "
                "database: add it there, by a migration (Alembic) or ALTER TABLE"
            )

    def _check_told_apart(self, name: str, facts: TableFacts, dialect: str) -> None:
        column = self.tables.target.table_columns[name]
        kind = facts.columns.get(column.name, ColumnFacts()).kind
        if kind not in _TOLD_APART:
            raise ConfigurationError(
                f"{self.where}: the key column {name!r} of {column.type!r} compares values on {dialect} otherwise than "
                "Python does, so that keys could be mixed up: make it one of integers, texts with a collation that "
                "goes by bytes, UUIDs, booleans, dates or bytes"
            )
        self._folds_keys = self._folds_keys or kind is Compared.TEXT_WITHOUT_CASE

    def _check_moments(self, facts: TableFacts, dialect: str) -> None:
        """MariaDB and MySQL cut off parts of seconds unless they are told not to."""
        for name in (START, END) if not self.whole_seconds else ():
            digits = facts.columns.get(self.tables.target.columns[name].name, ColumnFacts()).digits
            if digits is not None and digits < _MICROSECONDS:
                raise ConfigurationError(
                    f"{self.where}: {name!r} keeps {digits} digits of a second on {dialect}, and windows begin and end "
                    "within one: make it DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), 'mysql', "
                    "'mariadb')"
                )

    def _check_decimals(self, facts: TableFacts, dialect: str) -> None:
        """What a column rounds without being declared to, would be rounded as often as a batch ends."""
        for part in self.tables.plan.parts:
            column = self.tables.target.columns.get(part.name)
            if column is None or part.values != Values(Kind.DECIMAL):
                continue
            if (digits := facts.columns.get(column.name, ColumnFacts()).digits) is not None:
                raise ConfigurationError(
                    f"{self.where}: {part.name!r} is declared as {column.type!r}, of which {dialect} keeps {digits} "
                    "digits behind the point: declare how many it has, as in Numeric(12, 2)"
                )

    def _keys_alone(self) -> Target:
        return replace(self.tables.target, key=self.tables.key)
