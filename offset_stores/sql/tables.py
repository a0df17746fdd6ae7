"""The tables in which an SQL store keeps positions, history, dead letters and what sinks know of their state."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Column, DateTime, Dialect, Index, MetaData, Table, TypeDecorator
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

from kafka_stream.errors import ConfigurationError, SchemaMismatch
from kafka_stream.offset_stores.sql import columns
from kafka_stream.offset_stores.sql.columns import MYSQL
from kafka_stream.types import Owner, PlanKind, PositionState, StoredPosition

DEFAULT_PREFIX = "kafka_stream_"
SCHEMA_VERSION = 4
"""The version of the tables that this code writes: 2 has the history, 3 dead letters, 4 what sinks keep of state."""
OLDEST_COMPATIBLE_VERSION = 1
"""The oldest code, by its ``SCHEMA_VERSION``, that may work beside this one on the same tables."""

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST_PREFIX = 40  # PostgreSQL's names have at most 63 bytes

# There the database's defaults may be tables without transactions, and names that differ in case only
# being the same.
_OPTIONS: dict[str, Any] = {
    f"{dialect}_{option}": value
    for dialect in MYSQL
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
        return dialect.type_descriptor(mysql.DATETIME(fsp=6) if dialect.name in MYSQL else self.impl_instance)

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

    ``schema`` (its version), ``topics`` (first starts), ``offsets`` (positions), ``history``, ``dead_letters``; and of
    the sinks that keep state ``states`` (which there are), ``watermarks``, ``late`` (counts of late records) and
    ``seen`` (keys that have gone on).
    """

    schema: Table
    topics: Table
    offsets: Table
    history: Table
    dead_letters: Table
    states: Table
    watermarks: Table
    late: Table
    seen: Table


PLAIN_MOMENT: TypeEngine[datetime] = DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), *MYSQL)
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
        schema=table("schema", *columns.version_columns()),
        topics=table("topics", *columns.topic_columns(moment)),
        offsets=table("offsets", *columns.position_columns(moment)),
        history=table("history", *columns.history_columns(moment)),
        dead_letters=table(
            "dead_letters",
            *columns.letter_columns(moment),
            Index(f"{table_prefix}dead_letters_waiting", "stream", "topic", "partition", "status"),
            # One replay of a stream at a time: whoever begins another one wants a place that is taken.
            Index(f"{table_prefix}dead_letters_replay", "stream", "replay_place", unique=True),
        ),
        states=table("states", *columns.state_columns(moment)),
        watermarks=table("watermarks", *columns.watermark_columns(moment)),
        late=table("late", *columns.late_columns()),
        seen=table(
            "seen",
            *columns.seen_columns(moment),
            Index(f"{table_prefix}seen_by_time", "stream", "state", "time_us"),
        ),
    )


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
