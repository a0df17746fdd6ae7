"""Users' tables as the database has them, by the name that a sink has registered."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, MetaData, Table, and_, false, inspect, or_

from kafka_stream.errors import ConfigurationError
from kafka_stream.offset_stores.sql.state.register import SEEN
from kafka_stream.protocols import StateDescription
from kafka_stream.types import TopicPartition

_COMPANIONS = ("open", "late_records")
"""Where a sink's ``details`` name the tables beside its own."""


def table_names(described: StateDescription) -> list[str]:
    """The tables of a sink that are the user's: the one it was given, and those beside it."""
    if described.kind == SEEN:
        return []
    beside = (described.details.get(name) for name in _COMPANIONS)
    return [described.table, *(name for name in beside if isinstance(name, str))]


def found_table(connection: Connection, fullname: str) -> Table | None:
    """The table with its columns; ``None`` if it is not there.

    It is where the connection's ``schema_translate_map`` leads to. A name may have dots of its own.
    """
    translated = connection.get_execution_options().get("schema_translate_map") or {}
    for named, name in _readings(fullname):
        schema = translated.get(named, named)
        if inspect(connection).has_table(name, schema=schema):
            return Table(name, MetaData(), schema=schema, autoload_with=connection)
    return None


def partition_columns(described: StateDescription, table: Table) -> tuple[str, str]:
    """The columns that hold topic and partition.

    Raises:
        ConfigurationError: they are not known.
    """
    given: Any = described.details.get("partition_columns", ("topic", "partition"))
    topic, partition = map(str, given) if isinstance(given, Sequence) and len(given) == 2 else ("", "")
    if topic not in table.columns or partition not in table.columns:
        raise ConfigurationError(
            f"table {table.fullname} has a row per partition, and it is not known which of its columns say of which: "
            "name the application, with --app"
        )
    return topic, partition


def of_partitions(
    columns: tuple[ColumnElement[Any], ColumnElement[Any]], partitions: Collection[TopicPartition]
) -> ColumnElement[bool]:
    """The rows of these partitions, by the columns of topic and partition."""
    topic, partition = columns
    numbers: dict[str, list[int]] = {}
    for tp in sorted(partitions):
        numbers.setdefault(tp.topic, []).append(tp.partition)
    return or_(false(), *(and_(topic == name, partition.in_(each)) for name, each in numbers.items()))


def _readings(fullname: str) -> list[tuple[str | None, str]]:
    schema, dot, name = fullname.rpartition(".")
    return [(None, fullname), (schema, name)] if dot else [(None, fullname)]


__all__ = ["found_table", "of_partitions", "partition_columns", "table_names"]
