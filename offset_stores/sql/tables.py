"""The three tables in which an SQL store keeps positions, as SQLAlchemy Core tables."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Column, DateTime, Dialect, Integer, MetaData, String, Table, TypeDecorator

from kafka_stream.errors import ConfigurationError
from kafka_stream.types import Owner, PlanKind, PositionState, StoredPosition

DEFAULT_PREFIX = "kafka_stream_"
SCHEMA_VERSION = 1
"""The version of the tables that this code writes."""
OLDEST_COMPATIBLE_VERSION = 1
"""The oldest code, by its ``SCHEMA_VERSION``, that may work beside this one on the same tables."""

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST_PREFIX = 40  # PostgreSQL's names have at most 63 bytes


class TopicState(enum.StrEnum):
    """What became of a stream's topic since its start was resolved."""

    OPEN = "open"
    CLOSED = "closed"  # refused, with a reason: it was migrated, say
    DELETED = "deleted"  # the next start resolves `start` again, at higher epochs


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time, in UTC also where the database keeps no zone (SQLite, MariaDB)."""

    impl = DateTime(timezone=True)
    cache_ok = True

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
    """The store's tables: ``schema`` (its version), ``topics`` (first starts), ``offsets`` (positions)."""

    schema: Table
    topics: Table
    offsets: Table


def define_tables(metadata: MetaData, schema: str | None = None, table_prefix: str = DEFAULT_PREFIX) -> Tables:
    """Put the store's tables into an application's ``MetaData``, so that its migrations (Alembic) bring them along.

    Pass the same ``schema`` and ``table_prefix`` to ``SqlOffsetStore``, with ``tables="verify"``. The row of the
    version table is written by ``kafka-stream schema apply`` or a store with ``tables="create"``; without it the
    columns alone are compared.

    Raises:
        ConfigurationError: the prefix is no identifier, or too long.
    """
    if not _IDENTIFIER.fullmatch(table_prefix) or len(table_prefix) > _LONGEST_PREFIX:
        raise ConfigurationError(
            f"table_prefix {table_prefix!r} cannot begin a table's name; use letters, digits and underscores, "
            f"{_LONGEST_PREFIX} at most"
        )
    return Tables(
        schema=Table(
            f"{table_prefix}schema",
            metadata,
            Column("version", Integer, primary_key=True, autoincrement=False),
            Column("oldest_compatible_version", Integer, nullable=False),
            schema=schema,
        ),
        topics=Table(
            f"{table_prefix}topics",
            metadata,
            Column("stream", String(255), primary_key=True),
            Column("topic", String(249), primary_key=True),
            Column("topic_id", String(64)),
            Column("state", String(16), nullable=False),
            Column("state_reason", String(1000)),
            Column("started_at", UtcDateTime, nullable=False),
            schema=schema,
        ),
        offsets=_offsets(metadata, schema, table_prefix),
    )


def _offsets(metadata: MetaData, schema: str | None, table_prefix: str) -> Table:
    return Table(
        f"{table_prefix}offsets",
        metadata,
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
        Column("changed_at", UtcDateTime, nullable=False),
        schema=schema,
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
    """A row of the offsets table as a value."""
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
    "SCHEMA_VERSION",
    "Names",
    "Tables",
    "TopicState",
    "UtcDateTime",
    "define_tables",
    "position_of",
]
