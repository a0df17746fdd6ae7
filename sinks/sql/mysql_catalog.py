"""What MariaDB or MySQL says of a table."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, text

from kafka_stream.errors import ProcessingError
from kafka_stream.sinks.sql.facts import ColumnFacts, Kind, TableFacts
from kafka_stream.sinks.sql.rows import Layout, Run, Values
from kafka_stream.sinks.sql.target import Target

_TABLE = text(
    "SELECT t.table_type IN ('BASE TABLE', 'SYSTEM VERSIONED'), t.engine, coalesce(e.transactions, 'NO') = 'YES' "
    "FROM information_schema.tables t LEFT JOIN information_schema.engines e ON e.engine = t.engine "
    "WHERE t.table_schema = coalesce(:schema, DATABASE()) AND t.table_name = :table"
)
_COLUMNS = text(
    "SELECT column_name AS name, lower(data_type) AS type, collation_name AS collation_name, "
    "character_maximum_length AS longest, "
    "coalesce(datetime_precision, numeric_scale) AS digits, is_nullable = 'YES' AS nullable, "
    "column_default AS column_default, lower(extra) AS extra, coalesce(generation_expression, '') <> '' AS computed "
    "FROM information_schema.columns WHERE table_schema = coalesce(:schema, DATABASE()) AND table_name = :table"
)
_UNIQUES = text(
    "SELECT index_name, column_name, sub_part FROM information_schema.statistics "
    "WHERE table_schema = coalesce(:schema, DATABASE()) AND table_name = :table AND non_unique = 0"
)
_TRIGGERS = text(
    "SELECT event_manipulation FROM information_schema.triggers "
    "WHERE event_object_schema = coalesce(:schema, DATABASE()) AND event_object_table = :table"
)
# Whoever may not create a trigger does not see those that there are.
_SEES_TRIGGERS = text(
    "SELECT 1 FROM information_schema.user_privileges WHERE privilege_type = 'TRIGGER' "
    "UNION SELECT 1 FROM information_schema.schema_privileges WHERE privilege_type = 'TRIGGER' "
    "AND coalesce(:schema, DATABASE()) LIKE table_schema "
    "UNION SELECT 1 FROM information_schema.table_privileges WHERE privilege_type = 'TRIGGER' "
    "AND table_schema = coalesce(:schema, DATABASE()) AND table_name = :table"
)
_REFERENCES = text(
    "SELECT table_name = :table AND table_schema = coalesce(:schema, DATABASE()), "
    "referenced_table_name = :table AND referenced_table_schema = coalesce(:schema, DATABASE()) "
    "FROM information_schema.key_column_usage WHERE referenced_table_name IS NOT NULL "
    "AND (table_name = :table OR referenced_table_name = :table)"
)
_INTEGERS = {"tinyint", "smallint", "mediumint", "int", "bigint"}
_NUMBERS = _INTEGERS | {"decimal", "float", "double", "bit", "year"}
_ROUNDED = {"decimal", "datetime", "timestamp"}
_TEXTS = {"char", "varchar", "tinytext", "text", "mediumtext", "longtext"}
# Collations in which any two printable characters of ASCII differ, but for case and for spaces at the end.
_KNOWN_COLLATION = re.compile(
    r"(utf8mb4|utf8mb3|utf8|latin1|ascii)_(uca1400_)?"
    r"(bin|nopad_bin|general_ci|general_nopad_ci|unicode_ci|unicode_520_ci|0900_(ai|as)_c[is]|0900_bin|swedish_ci|"
    r"(nopad_)?a[is]_c[is])|uca1400_(nopad_)?a[is]_c[is]"
)
_CONSTANT = re.compile(r"NULL|[+-]?[\d.]+(e[+-]?\d+)?|'(''|[^'])*'|current_timestamp(\(\d?\))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class MySQLFacts(TableFacts):
    """What matters here alone.

    ``engine`` is what keeps the table, if it does not roll back. ``numbered`` are the columns that the database
    numbers, ``texts`` and ``numbers`` those of such a type. ``triggers`` are the events with a trigger, ``None`` if
    they cannot be seen.
    """

    engine: str | None = None
    numbered: frozenset[str] = frozenset()
    texts: frozenset[str] = frozenset()
    numbers: frozenset[str] = frozenset()
    triggers: frozenset[str] | None = None


NOTHING = MySQLFacts(is_table=False, has_other_uniques=True, row_by_row=True, in_circles=True)


def facts_of(connection: Connection, name: str, schema: str | None) -> MySQLFacts:
    """The facts of a table, of the connection's database if no schema is named."""
    where = {"table": name, "schema": schema}
    found = connection.execute(_TABLE, where).one_or_none()
    if found is None or not found[0]:
        return NOTHING
    columns = connection.execute(_COLUMNS, where).all()
    uniques, has_others = _uniques(connection, where)
    triggers = None
    if connection.execute(_SEES_TRIGGERS, where).all():
        triggers = frozenset(connection.execute(_TRIGGERS, where).scalars())
    references = connection.execute(_REFERENCES, where).all()
    return MySQLFacts(
        columns={row.name: _column(row) for row in columns},
        uniques=uniques,
        has_other_uniques=has_others,
        row_by_row=triggers is None or bool(triggers) or any(here and there for here, there in references),
        in_circles=any(here for here, _ in references) and any(there for _, there in references),
        engine=None if found[2] else found[1],
        numbered=frozenset(row.name for row in columns if "auto_increment" in row.extra),
        texts=frozenset(row.name for row in columns if row.type in _TEXTS),
        numbers=frozenset(row.name for row in columns if row.type in _NUMBERS),
        triggers=triggers,
    )


def _uniques(connection: Connection, where: dict[str, Any]) -> tuple[set[frozenset[str]], bool]:
    """The unique sets of columns, and whether there are others: by an expression, or the first characters."""
    parts = defaultdict[str, set[str]](set)
    others: set[str] = set()
    for index, column, characters in connection.execute(_UNIQUES, where):
        parts[index].add(column)
        if column is None or characters is not None:
            others.add(index)
    return {frozenset(found) for index, found in parts.items() if index not in others}, bool(others)


def _column(row: Row[Any]) -> ColumnFacts:
    is_numbered = "auto_increment" in row.extra
    # MySQL shows texts without quotes, and marks expressions; MariaDB shows texts in quotes.
    default = row.column_default
    is_plain = default is None or _CONSTANT.fullmatch(default) or ("(" not in default and "default" not in row.extra)
    collation = row.collation_name or ""
    return ColumnFacts(
        kind=_kind(row.type, collation, row.digits),
        padded="nopad" not in collation and "0900" not in collation,
        longest=row.longest if row.type in _TEXTS else None,
        nullable=bool(row.nullable),
        digits=row.digits if row.type in _ROUNDED else None,
        is_required=not row.nullable and default is None and not is_numbered and not row.computed,
        depends_on_order=is_numbered or not is_plain,
    )


def _kind(type_: str, collation: str, digits: int | None) -> Kind:
    if type_ in _INTEGERS:
        return Kind.INTEGER
    if type_ in _TEXTS and _KNOWN_COLLATION.fullmatch(collation):
        return _kind_of_text(type_, collation)
    if type_ == "datetime":
        return Kind.TIMESTAMP if digits == 6 else Kind.OTHER
    return {"varbinary": Kind.BYTES, "date": Kind.DATE, "uuid": Kind.UUID}.get(type_, Kind.OTHER)


def _kind_of_text(type_: str, collation: str) -> Kind:
    if type_ == "char" and ("nopad" in collation or "0900" in collation):
        return Kind.OTHER  # kept without the spaces at its end, but compared with them
    if collation.endswith("_bin"):
        return Kind.TEXT
    return Kind.TEXT_OF_WORDS if collation.endswith("_cs") else Kind.TEXT_WITHOUT_CASE


def refuse_zeros(target: Target, numbered: Collection[str], given: Sequence[Run]) -> None:
    """Raise ``ProcessingError`` for a row with a 0 in one of these columns, which go by the database's names."""
    if numbered:
        for layout, rows in given:
            _refuse_zeros(target, numbered, layout, rows)


def _refuse_zeros(target: Target, numbered: Collection[str], layout: Layout | None, rows: Sequence[Values]) -> None:
    for position, name in enumerate(layout.columns if layout else ()):
        if target.columns[name].name in numbered and any(row[position] == 0 for row in rows):
            raise ProcessingError(
                f"to_rows of the SqlSink for table {target.name} gave a row whose {name!r} is 0, for "
                "which an AUTO_INCREMENT column takes the next number: make it a column without that "
                "(autoincrement=False)"
            )
