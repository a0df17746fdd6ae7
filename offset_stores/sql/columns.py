"""The columns of an SQL store's tables: positions, history, dead letters, and what sinks keep of state."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, LargeBinary, String, Text
from sqlalchemy.dialects import mysql
from sqlalchemy.sql.elements import quoted_name
from sqlalchemy.types import TypeEngine

MYSQL = ("mysql", "mariadb")

_LONG_TEXT: TypeEngine[str] = Text().with_variant(mysql.LONGTEXT(), *MYSQL)
_LONG_BYTES: TypeEngine[bytes] = LargeBinary().with_variant(mysql.LONGBLOB(), *MYSQL)
_DIGEST: TypeEngine[bytes] = LargeBinary(32).with_variant(mysql.BINARY(32), *MYSQL)


def version_columns() -> list[Column[Any]]:
    """One row: the version of the tables, and of the oldest code that may work on them."""
    return [
        Column("version", Integer, primary_key=True, autoincrement=False),
        Column("oldest_compatible_version", Integer, nullable=False),
    ]


def topic_columns(moment: TypeEngine[datetime]) -> list[Column[Any]]:
    """A row per topic of a stream, from its first start on."""
    return [
        Column("stream", String(255), primary_key=True),
        Column("topic", String(249), primary_key=True),
        Column("topic_id", String(64)),
        Column("state", String(16), nullable=False),
        Column("state_reason", String(1000)),
        Column("started_at", moment, nullable=False),
    ]


def position_columns(moment: TypeEngine[datetime]) -> list[Column[Any]]:
    """A row per partition."""
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


def history_columns(moment: TypeEngine[datetime]) -> list[Column[Any]]:
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


def letter_columns(moment: TypeEngine[datetime]) -> list[Column[Any]]:
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


def _state_key() -> list[Column[Any]]:
    """What names a sink's state: its stream, and its own name."""
    return [Column("stream", String(255), primary_key=True), Column("state", String(255), primary_key=True)]


def state_columns(moment: TypeEngine[datetime]) -> list[Column[Any]]:
    """A row per sink that keeps state: ``details`` are JSON, ``closed_until_us`` is how far windows are closed."""
    return [
        *_state_key(),
        Column("kind", String(16), nullable=False),
        Column("table_name", String(255), nullable=False),
        Column("details", _LONG_TEXT, nullable=False),
        Column("closed_until_us", BigInteger),
        Column("changed_at", moment, nullable=False),
    ]


def late_columns() -> list[Column[Any]]:
    """A row per window of which a record came late, with how many did."""
    return [
        *_state_key(),
        Column("window_start_us", BigInteger, primary_key=True, autoincrement=False),
        Column("window_end_us", BigInteger, primary_key=True, autoincrement=False),
        Column("late", BigInteger, nullable=False),
    ]


def watermark_columns(moment: TypeEngine[datetime]) -> list[Column[Any]]:
    """A row per partition that had a record, or was idle; times in microseconds since 1970."""
    return [
        *_state_key(),
        Column("topic", String(249), primary_key=True),
        Column("partition", Integer, primary_key=True, autoincrement=False),
        Column("event_time_us", BigInteger),
        Column("watermark_us", BigInteger),
        Column("is_idle", Boolean, nullable=False),
        Column("changed_at", moment, nullable=False),
    ]


def seen_columns(moment: TypeEngine[datetime]) -> list[Column[Any]]:
    """A row per key of which a record has gone on, with the place and the time of the last one that did."""
    return [
        *_state_key(),
        Column("key_hash", _DIGEST, primary_key=True),
        Column("key_text", String(255), nullable=False),
        Column("topic", String(249), nullable=False),
        Column("partition", Integer, nullable=False),
        Column(quoted_name("offset", quote=True), BigInteger, nullable=False),
        Column("time_us", BigInteger, nullable=False),
        Column("seen_at", moment, nullable=False),
    ]
