"""How changes get into a table, chosen by dialect: the seam where a faster way than INSERT fits in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from sqlalchemy import Connection, Dialect

from kafka_stream.errors import ConfigurationError
from kafka_stream.sinks.sql.changes import Changes, OnConflict
from kafka_stream.sinks.sql.mysql_writer import MySQLWriter
from kafka_stream.sinks.sql.postgres_writer import PostgresWriter
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
        """Write deletes, then rows, in the order given, in the connection's transaction.

        ``go_on`` is called when the server has something to do that takes it a while; it may be called again after.
        """


def writer_for(target: Target, on_conflict: OnConflict, conflict_key: tuple[str, ...], dialect: Dialect) -> Writer:
    """The fastest writer there is for a dialect.

    Raises:
        ConfigurationError: there is none that can handle conflicts.
    """
    if on_conflict != "error" and dialect.name not in _WRITERS:
        *others, last = _WRITERS
        raise ConfigurationError(
            f'on_conflict="{on_conflict}" of the SqlSink for table {target.name} works on {", ".join(others)} and '
            f'{last}, not on {dialect.name}; use on_conflict="error", or a function that writes what {dialect.name} '
            "understands"
        )
    return _WRITERS.get(dialect.name, StatementWriter)(target, on_conflict, conflict_key, dialect)
