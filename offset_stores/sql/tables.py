"""The tables in which an SQL store keeps positions, their history and dead letters, as SQLAlchemy Core tables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Dialect,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.sql.elements import quoted_name
from sqlalchemy.types import TypeEngine

from kafka_stream.errors import ConfigurationError, SchemaMismatch
from kafka_stream.types import Owner, PlanKind, PositionState, StoredPosition

DEFAULT_PREFIX = "kafka_stream_"
SCHEMA_VERSION = 3
"""The version of the tables that this code writes: 2 has the history, 3 dead letters."""
OLDEST_COMPATIBLE_VERSION = 1
"""The oldest code, by its ``SCHEMA_VERSION``, that may work beside this one on the same tables."""

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST_PREFIX = 40  # PostgreSQL's names have at most 63 bytes

_MYSQL = ("mysql", "mariadb")
# There the database's defaults may be tables without transactions, and names that differ in case only
# being the same.
_OPTIONS: dict[str, Any] = {
    f"{dialect}_{option}": value
    for dialect in _MYSQL
    for option, value in {
        "engine": "InnoDB",
        "charset": "utf8mb4",
        "collate": "utf8mb4_bin",
        "row_format": "DYNAMIC",  # whose keys may be as long as ours
    }.items()
}


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time, in UTC also where the database keeps no zone (SQLite, MariaDB)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Microseconds, which MariaDB and MySQL keep only when they are told to."""
        return dialect.type_descriptor(mysql.DATETIME(fsp=6) if dialect.name in _MYSQL else self.impl_instance)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Aware into what the database keeps."""
        if value is None:
            return None
        utc = value.astimezone(UTC)
        return utc if dialect.name == "postgresql" else utc.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """What the database keeps into aware."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Tables(NamedTuple):
    """The store's tables.

    ``schema`` (its version), ``topics`` (first starts), ``offsets`` (positions), ``history``, ``dead_letters``.
    """

    schema: Table
    topics: Table
    offsets: Table
    history: Table
    dead_letters: Table


_LONG_TEXT: TypeEngine[str] = Text().with_variant(mysql.LONGTEXT(), *_MYSQL)
_LONG_BYTES: TypeEngine[bytes] = LargeBinary().with_variant(mysql.LONGBLOB(), *_MYSQL)

PLAIN_MOMENT: TypeEngine[datetime] = DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), *_MYSQL)
"""What ``UtcDateTime`` is in each database, in SQLAlchemy's own types: a generated migration knows no others."""


def define_tables(metadata: MetaData, schema: str | None = None, table_prefix: str = DEFAULT_PREFIX) -> Tables:
    """Put the store's tables into an application's ``MetaData``, so that its migrations (Alembic) bring them along.

    Pass the same ``schema`` and ``table_prefix`` to ``SqlOffsetStore``, with ``tables="verify"``. The row of the
    version table is written by ``kafka-stream schema apply`` or a store with ``tables="create"``; without it the
    columns alone are compared. The columns' types are SQLAlchemy's own: a generated migration runs as it is.

    Raises:
        ConfigurationError: the prefix is no identifier, or too long.
    """
    return _defined(metadata, schema, table_prefix, PLAIN_MOMENT)


def own_tables(schema: str | None, table_prefix: str) -> Tables:
    """The same tables as the store itself reads and writes them: its times are aware. Raises as ``define_tables``."""
    return _defined(MetaData(), schema, table_prefix, UtcDateTime())


def _defined(metadata: MetaData, schema: str | None, table_prefix: str, moment: TypeEngine[datetime]) -> Tables:
    if not _IDENTIFIER.fullmatch(table_prefix) or len(table_prefix) > _LONGEST_PREFIX:
        raise ConfigurationError(
            f"table_prefix {table_prefix!r} cannot begin a table's name; use letters, digits and underscores, "
            f"{_LONGEST_PREFIX} at most"
        )

    def table(name: str, *items: Column[Any] | Index) -> Table:
        return Table(f"{table_prefix}{name}", metadata, *items, schema=schema, **_OPTIONS)

    return Tables(
        schema=table(
            "schema",
            Column("version", Integer, primary_key=True, autoincrement=False),
            Column("oldest_compatible_version", Integer, nullable=False),
        ),
        topics=table(
            "topics",
            Column("stream", String(255), primary_key=True),
            Column("topic", String(249), primary_key=True),
            Column("topic_id", String(64)),
            Column("state", String(16), nullable=False),
            Column("state_reason", String(1000)),
            Column("started_at", moment, nullable=False),
        ),
        offsets=table("offsets", *_position_columns(moment)),
        history=table("history", *_history_columns(moment)),
        dead_letters=table(
            "dead_letters",
            *_letter_columns(moment),
            Index(f"{table_prefix}dead_letters_waiting", "stream", "topic", "partition", "status"),
            # One replay of a stream at a time: whoever begins another one wants a place that is taken.
            Index(f"{table_prefix}dead_letters_replay", "stream", "replay_place", unique=True),
        ),
    )


def _position_columns(moment: TypeEngine[datetime]) -> list[Column[Any]]:
    return [
        Column("stream", String(255), primary_key=True),
        Column("topic", String(249), primary_key=True),
        Column("partition", Integer, primary_key=True, autoincrement=False),
        Column("next_offset", BigInteger, nullable=False),
        Column("planned_until", BigInteger),
        Column("plan_kind", String(16)),
        Column("leader_epoch", Integer),
        Column("topic_id", String(64)),
        Column("owner", String(255)),
        Column("owner_host", String(255)),
        Column("code_version", String(255)),
        Column("owner_epoch", BigInteger, nullable=False),
        Column("state", String(16), nullable=False),
        Column("state_reason", String(1000)),
        Column("changed_at", moment, nullable=False),
    ]


def _history_columns(moment: TypeEngine[datetime]) -> list[Column[Any]]:
    """A row per action, whatever the number of partitions: ``moves`` is JSON (see ``history.py``)."""
    return [
        Column("stream", String(255), primary_key=True),
        Column("at", moment, primary_key=True),
        Column("action", String(64), primary_key=True),
        Column("kind", String(16), nullable=False),
        Column("actor", String(255), nullable=False),
        Column("code_version", String(255)),
        Column("records", BigInteger),
        Column("duration_s", Double),
        Column("moves", _LONG_TEXT, nullable=False),
    ]


def _letter_columns(moment: TypeEngine[datetime]) -> list[Column[Any]]:
    """A row per record that was set aside; ``headers`` are JSON (see ``dead_letters/rows.py``)."""
    return [
        Column("stream", String(255), primary_key=True),
        Column("topic", String(249), primary_key=True),
        Column("topic_id", String(64), primary_key=True),
        Column("partition", Integer, primary_key=True, autoincrement=False),
        Column(quoted_name("offset", quote=True), BigInteger, primary_key=True, autoincrement=False),
        Column("key", _LONG_BYTES),
        Column("value", _LONG_BYTES),
        Column("headers", _LONG_BYTES, nullable=False),
        Column("timestamp_ms", BigInteger),
        Column("error_type", String(255), nullable=False),
        Column("error_message", _LONG_TEXT, nullable=False),
        Column("traceback", _LONG_TEXT, nullable=False),
        Column("code_version", String(255)),
        Column("first_failed_at", moment, nullable=False),
        Column("last_failed_at", moment, nullable=False),
        Column("attempts", BigInteger, nullable=False),
        Column("status", String(16), nullable=False),
        Column("note", _LONG_TEXT),
        Column("changed_at", moment, nullable=False),
        Column("replay", String(64)),
        Column("replay_place", BigInteger),
        Column("replay_destination", String(249)),
    ]


@dataclass(frozen=True, slots=True)
class Names:
    """The offsets and topics tables as they are written in SQL text, quoted and with their schema."""

    topics: str
    offsets: str

    @classmethod
    def of(cls, tables: Tables, dialect: Dialect) -> Names:
        """The names in a dialect's quoting."""
        quote = dialect.identifier_preparer.format_table
        return cls(topics=quote(tables.topics), offsets=quote(tables.offsets))


def position_of(row: Any) -> StoredPosition:
    """A row of the offsets table as a value.

    Raises:
        SchemaMismatch: it holds what this version does not keep there.
    """
    try:
        return _position_of(row)
    except ValueError as error:
        raise SchemaMismatch(
            f"the offsets table's row of stream {row.stream!r}, {row.topic}[{row.partition}], holds what this version "
            f"of kafka-stream does not keep there ({error}); was it written by a newer version, or by hand?"
        ) from error


def _position_of(row: Any) -> StoredPosition:
    return StoredPosition(
        next_offset=row.next_offset,
        owner_epoch=row.owner_epoch,
        owner=None if row.owner is None else Owner(row.owner, row.owner_host or "", row.code_version),
        planned_until=row.planned_until,
        plan_kind=None if row.plan_kind is None else PlanKind(row.plan_kind),
        leader_epoch=row.leader_epoch,
        topic_id=row.topic_id,
        state=PositionState(row.state),
        state_reason=row.state_reason,
        changed_at=row.changed_at,
    )


__all__ = [
    "DEFAULT_PREFIX",
    "OLDEST_COMPATIBLE_VERSION",
    "PLAIN_MOMENT",
    "SCHEMA_VERSION",
    "Names",
    "Tables",
    "UtcDateTime",
    "define_tables",
    "own_tables",
    "position_of",
]
