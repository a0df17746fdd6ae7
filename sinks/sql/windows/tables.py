"""The user's table of closed windows, checked, and the two beside it: what is open, and what came too late."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, Integer, LargeBinary, String, Table
from sqlalchemy.dialects import mysql
from sqlalchemy.sql.elements import quoted_name

from kafka_stream.errors import ConfigurationError
from kafka_stream.sinks.sql.target import Target
from kafka_stream.sinks.sql.windows.event_time.aggregates import Part, Plan, Planner
from kafka_stream.sinks.sql.windows.event_time.values import is_moment

START, END = "window_start", "window_end"
PANE, FIRST, LAST = "pane_start_us", "first_us", "last_us"
_MYSQL = ("mysql", "mariadb")
_COPIED_OPTIONS = ("engine", "charset", "collate", "row_format")


@dataclass(frozen=True)
class WindowTables:
    """A sink's tables: ``key`` names the key columns, ``late_key`` what they are called among the late records."""

    target: Target
    key: tuple[str, ...]
    plan: Plan
    open: Table
    late: Table
    late_key: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of the user's table."""
        return self.target.name

    def key_values(self, key: Any) -> tuple[Any, ...]:
        """A key's values, one for each key column."""
        return (key,) if len(self.key) == 1 else key

    def key_of(self, values: Sequence[Any]) -> Any:
        """The key of these values of the key columns."""
        return values[0] if len(self.key) == 1 else tuple(values)


def tables_of(
    table: Any, aggregates: Mapping[str, Any], key: Callable[[Any], Any] | None, *, sessions: bool
) -> WindowTables:
    """The tables of a sink; the two of ours are declared beside the user's, if they are not there yet.

    Raises:
        ConfigurationError: the user's table lacks a column or its key, or a column is of a type that does not do.
    """
    target = Target.of(table, None)
    where = f"the WindowSink for table {target.name}"
    key_columns = _checked_key(target, where, key)
    _check_moments(target, where)
    plan = _planned(target, where, aggregates, key_columns)
    _check_others(target, where, {START, END, *key_columns, *plan.finals})
    opened = _declared(target, "open", where, _open_columns(target, key_columns, plan.parts, sessions=sessions))
    ours = {"topic", "partition", "offset", "event_time", "watermark", "value"}
    late_key = tuple(f"key_{name}" if name in ours else name for name in key_columns)
    late = _declared(target, "late", where, _late_columns(target, key_columns, late_key))
    return WindowTables(target, key_columns, plan, opened, late, late_key)


def _checked_key(target: Target, where: str, key: Callable[[Any], Any] | None) -> tuple[str, ...]:
    """The key columns, in their order."""
    if START not in target.key:
        raise ConfigurationError(
            f"{where} needs a table whose primary key is the key columns and {START!r}; its primary key is "
            f"({', '.join(target.key)})"
        )
    found = tuple(name for name in target.key if name != START)
    if END in found:
        raise ConfigurationError(f"{where}: {END!r} is of the primary key; it is the key columns and {START!r}")
    if key is None and found:
        raise ConfigurationError(
            f"{where} has no key=…, but the table's key has {', '.join(map(repr, found))}: give a function of a "
            "record's value, or make the primary key of 'window_start' alone"
        )
    if key is not None and not found:
        raise ConfigurationError(
            f"{where} has a key, but the table's primary key is {START!r} alone: add a key column to it, or give "
            "key=None"
        )
    return found


def _check_moments(target: Target, where: str) -> None:
    for name in (START, END):
        column = target.columns.get(name)
        if column is None:
            raise ConfigurationError(f"{where} writes to a column {name!r}, which the table lacks; add it")
        if not is_moment(column.type):
            raise ConfigurationError(
                f"{where}: {name!r} is a column of {column.type!r}; it takes DateTime(timezone=True), since windows "
                "are in UTC"
            )


def _planned(target: Target, where: str, aggregates: Any, key: Sequence[str]) -> Plan:
    if not isinstance(aggregates, Mapping) or not aggregates:
        raise ConfigurationError(
            f'{where} needs aggregates={{…}}: from columns to what they hold, such as {{"orders": Count()}}'
        )
    planner = Planner(where)
    for name, aggregate in aggregates.items():
        if name in (START, END, *key):
            raise ConfigurationError(f"{where}: {name!r} is of a window's key or its end, and no aggregate")
        if name not in target.columns:
            raise ConfigurationError(
                f"{where}: {name!r} is no column that can be written; add it to the table; these are "
                f"{', '.join(target.columns)}"
            )
        planner.add(name, aggregate, target.columns[name])
    return planner.plan()


def _check_others(target: Target, where: str, written: set[str]) -> None:
    for name, column in target.columns.items():
        is_given = column.nullable or column.server_default is not None or column.default is not None
        if name not in written and not is_given:
            raise ConfigurationError(
                f"{where} writes nothing to {name!r}, which may not be NULL: make it an aggregate, nullable, or give "
                "it a default"
            )


def _open_columns(target: Target, key: Sequence[str], parts: Sequence[Part], *, sessions: bool) -> list[Column[Any]]:
    """Panes lie in order of time, so that those that close are together; sessions in order of their key."""
    of_key = [_key_column(target, name, name, primary_key=True) for name in key]
    kept = [Column(part.name, part.type, nullable=True) for part in parts]
    if sessions:
        first = Column(FIRST, BigInteger, primary_key=True, autoincrement=False)
        return [*of_key, first, Column(LAST, BigInteger, nullable=False, index=True), *kept]
    return [Column(PANE, BigInteger, primary_key=True, autoincrement=False), *of_key, *kept]


def _late_columns(target: Target, key: Sequence[str], names: Sequence[str]) -> list[Column[Any]]:
    topic = String(249).with_variant(mysql.VARCHAR(249, charset="utf8mb4", collation="utf8mb4_bin"), *_MYSQL)
    moment = DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), *_MYSQL)
    return [
        Column("topic", topic, primary_key=True),
        Column("partition", Integer, primary_key=True, autoincrement=False),
        Column(quoted_name("offset", quote=True), BigInteger, primary_key=True, autoincrement=False),
        *(_key_column(target, name, called, primary_key=False) for name, called in zip(key, names, strict=True)),
        Column("event_time", moment, nullable=False),
        Column("watermark", moment, nullable=False),
        Column("value", LargeBinary().with_variant(mysql.LONGBLOB(), *_MYSQL)),
    ]


def _key_column(target: Target, name: str, called: str, *, primary_key: bool) -> Column[Any]:
    return Column(called, target.table_columns[name].type, primary_key=primary_key, nullable=False, autoincrement=False)


def _declared(target: Target, suffix: str, where: str, columns: Sequence[Column[Any]]) -> Table:
    table = target.table
    names = [column.name for column in columns]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigurationError(
            f"{where}: the table {table.name}_{suffix} beside it would have two columns {twice[0]!r}; name that column "
            "of the table, or that aggregate, otherwise"
        )
    fullname = f"{table.fullname}_{suffix}"
    if (there := table.metadata.tables.get(fullname)) is not None:
        if missing := [name for name in names if name not in there.columns]:
            raise ConfigurationError(
                f"{where} keeps {missing[0]!r} in {fullname}, which is declared already, without it: declare each "
                "table for one WindowSink only"
            )
        return there
    options = {
        f"{dialect}_{option}": value
        for dialect in _MYSQL
        for option in _COPIED_OPTIONS
        if (value := table.dialect_options[dialect].get(option)) is not None
    }
    return Table(f"{table.name}_{suffix}", table.metadata, *columns, schema=table.schema, **options)
