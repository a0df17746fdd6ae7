"""How changes get into a table, chosen by dialect: the seam where a faster way than INSERT fits in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from sqlalchemy import Connection

from kafka_stream.errors import ConfigurationError
from kafka_stream.sinks.sql.changes import Changes
from kafka_stream.sinks.sql.facts import TableFacts
from kafka_stream.sinks.sql.mysql_writer import MySQLWriter
from kafka_stream.sinks.sql.on_workers.knowledge import Knowledge
from kafka_stream.sinks.sql.on_workers.shipped import Shipped
from kafka_stream.sinks.sql.postgres.writer import PostgresWriter
from kafka_stream.sinks.sql.rules import Rules
from kafka_stream.sinks.sql.sqlite_writer import SQLiteWriter
from kafka_stream.sinks.sql.statement_writer import StatementWriter
from kafka_stream.sinks.sql.target import Target

_WRITERS: dict[str, type[StatementWriter]] = {
    "mariadb": MySQLWriter,
    "mysql": MySQLWriter,
    "postgresql": PostgresWriter,
    "sqlite": SQLiteWriter,
}


class Writer(Protocol):
    """Writes changes into one table through connections of one dialect."""

    def encode(self, changes: Changes) -> Changes:
        """The same, with what can be done before the transaction; pure, and on another thread than ``write``."""

    def write(self, connection: Connection, changes: Changes, go_on: Callable[[], None]) -> None:
        """Write changes in the connection's transaction; it comes to what they come to one by one, in the order given.

        ``go_on`` is called when the server has something to do that takes it a while; it may be called again after.

        Raises:
            RowRefused: the database refused one.
        """

    @property
    def learned(self) -> int:
        """Grows when ``knowledge`` would give something new."""

    def knowledge(self) -> Knowledge | None:
        """What workers need to know to give what ``write_shipped`` takes; ``None`` if it cannot be sent to them."""

    def write_shipped(self, connection: Connection, shipped: Shipped, go_on: Callable[[], None]) -> None:
        """As ``write``, of what workers have made of changes by what they know.

        Raises:
            RowsLeftBehind: it cannot be written as it is; the transaction is not to be gone on with.
        """


def facts_of(connection: Connection, target: Target, schema: str | None) -> TableFacts:
    """What the database says of a table; where its dialect is not known here, nothing."""
    return _WRITERS.get(connection.dialect.name, StatementWriter).facts_of(connection, target, schema)


def writer_for(target: Target, rules: Rules, connection: Connection) -> Writer:
    """The fastest writer there is for a connection's dialect, after a look at the table.

    Raises:
        ConfigurationError: there is none that can handle conflicts, or the table has not the key that is declared.
    """
    dialect = connection.dialect
    if rules.on_conflict != "error" and dialect.name not in _WRITERS:
        *others, last = _WRITERS
        raise ConfigurationError(
            f"{rules.told} of the SqlSink for table {target.name} works on {', '.join(others)} "
            f'and {last}, not on {dialect.name}; use on_conflict="error", or a function that writes what '
            f"{dialect.name} understands"
        )
    kind = _WRITERS.get(dialect.name, StatementWriter)
    facts = facts_of(connection, target, rules.schema(target))
    if rules.on_conflict != "error" and facts.is_table and target.key:
        key = [target.table_columns[name].name for name in target.key]
        if not facts.is_unique(key):
            raise ConfigurationError(
                f"({', '.join(key)}) is the key of the SqlSink for table {target.name}, but in the database the table "
                "has no primary key or unique constraint on exactly these columns, so that rows would be repeated: "
                "add it there, or declare the table as it is"
            )
    return kind(target, dialect, rules, facts)
