"""Looking keys up: the rows of a user's table by what people write of its key, and the keys that have gone on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Column, Connection, Table, select

from kafka_stream.errors import ConfigurationError
from kafka_stream.offset_stores.sql.access import Access
from kafka_stream.offset_stores.sql.state.key_parts import value_of
from kafka_stream.offset_stores.sql.state.users_tables import found_table, partition_columns
from kafka_stream.protocols import StateDescription, is_of_partitions


def rows_of_key(
    connection: Connection, described: StateDescription, key: Sequence[str], limit: int
) -> list[Mapping[str, Any]]:
    """The rows, in the order of the table's key. State that is of partitions has one in each, which KEY leaves out.

    Raises:
        ConfigurationError: the table is not there, or this is no key of it.
    """
    table = found_table(connection, described.table)
    if table is None:
        raise ConfigurationError(f"table {described.table} is not there; it was dropped, or is in another schema")
    columns = _key_columns(described, table, len(key))
    wanted = (column == value_of(column, part) for column, part in zip(columns, key, strict=True))
    query = select(table).where(*wanted).order_by(*table.primary_key.columns).limit(limit)
    return [dict(row._mapping) for row in connection.execute(query)]  # noqa: SLF001 - SQLAlchemy's public name for it


def rows_seen(
    access: Access,
    connection: Connection,
    stream: str,
    described: StateDescription,
    hashes: Collection[bytes],
    text: str,
) -> list[Mapping[str, Any]]:
    """The rows of these keys, sorted by them; if there are none, those that people read so."""
    seen = access.tables.seen
    columns = [column for column in seen.columns if column.name not in ("stream", "state")]
    mine = select(*columns).where(seen.c.stream == stream, seen.c.state == described.name).order_by(seen.c.key_hash)
    rows = connection.execute(mine.where(seen.c.key_hash.in_(sorted(hashes)))).all() if hashes else []
    rows = rows or connection.execute(mine.where(seen.c.key_text == text)).all()
    return [dict(row._mapping) for row in rows]  # noqa: SLF001 - as above


def _key_columns(described: StateDescription, table: Table, parts: int) -> list[Column[Any]]:
    if missing := [name for name in described.key if name not in table.columns]:
        raise ConfigurationError(f"table {table.fullname} has no column {missing[0]!r}, which its sink has as its key")
    names = list(described.key) or [column.name for column in table.primary_key.columns]
    if is_of_partitions(described) and len(names) != parts:
        of_partition = partition_columns(described, table)
        names = [name for name in names if name not in of_partition]
    if len(names) != parts:
        raise ConfigurationError(
            f"a key of {described.name!r} is {', '.join(names)}: {len(names)} value(s), and this one has {parts}; "
            "parts are separated by commas"
        )
    return [table.columns[name] for name in names]


__all__ = ["rows_of_key", "rows_seen"]
