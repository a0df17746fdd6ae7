"""What SQLite says of a table."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

from sqlalchemy import Connection, text

from kafka_stream.sinks.sql.facts import UNKNOWN, ColumnFacts, Kind, TableFacts

_TABLE = (
    "SELECT 1 FROM {schema}.sqlite_master "
    "WHERE type = 'table' AND name = :name COLLATE NOCASE AND sql NOT LIKE 'CREATE VIRTUAL%'"
)
_COLUMNS = text('SELECT name, upper(type), "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(:name, :schema)')
_INDEXES = text(
    "SELECT l.name, l.partial, x.name, x.coll FROM pragma_index_list(:name, :schema) AS l, "
    'pragma_index_xinfo(l.name, :schema) AS x WHERE l."unique" AND x.key'
)
_REFERS = text('SELECT "table" FROM pragma_foreign_key_list(:name, :schema)')
_IS_REFERRED_TO = (
    "SELECT 1 FROM {schema}.sqlite_master AS m, pragma_foreign_key_list(m.name, :schema) AS f "
    "WHERE m.type = 'table' AND f.\"table\" = :name COLLATE NOCASE LIMIT 1"
)
_HAS_MORE_INDEXES = (
    "SELECT 1 FROM pragma_index_list(:name, :schema) AS l, pragma_index_xinfo(l.name, :schema) AS x "
    "WHERE l.partial OR x.key AND x.name IS NULL"
)
# There is no catalog of what a table checks, of what it does instead, and of numbers that are not used again. Words of
# a name or a comment are taken for these, which does no harm.
_SAYS_MORE = (
    "SELECT 1 FROM {schema}.sqlite_master WHERE type = 'table' AND name = :name COLLATE NOCASE "
    "AND (sql LIKE '%CHECK%' OR sql LIKE '%CONFLICT%' OR sql LIKE '%AUTOINCREMENT%')"
)
_HAS_TRIGGERS = (
    "SELECT 1 FROM {schema}.sqlite_master WHERE type = 'trigger' AND tbl_name = :name COLLATE NOCASE "
    "UNION SELECT 1 FROM sqlite_temp_master WHERE type = 'trigger' AND tbl_name = :name COLLATE NOCASE"
)
_CONSTANT = re.compile(
    r"NULL|TRUE|FALSE|[+-]?[\d.]+(E[+-]?\d+)?|'(''|[^'])*'|X'[0-9A-F]*'|CURRENT_(TIME|DATE|TIMESTAMP)", re.IGNORECASE
)

_LARGEST = {Kind.INTEGER: 2**63 - 1, Kind.DECIMAL: 10**100}


def facts_of(connection: Connection, name: str, schema: str | None) -> TableFacts:
    """The facts of a table, of ``main`` if no schema is named."""
    schema = schema or "main"
    quoted = connection.dialect.identifier_preparer.quote(schema)
    where = {"name": name, "schema": schema}

    def finds(question: str) -> bool:
        return bool(connection.execute(text(question.format(schema=quoted)), where).all())

    if not finds(_TABLE):
        return UNKNOWN
    uniques, collations, has_others = _uniques(connection, where)
    columns: dict[str, ColumnFacts] = {}
    primary: dict[int, str] = {}
    is_computed = False
    for column, type_, not_null, default, key_position, hidden in connection.execute(_COLUMNS, where):
        is_numbered = key_position == 1 and type_ == "INTEGER"
        if key_position:
            primary[key_position] = column
        columns[column] = ColumnFacts(
            kind=_kind(type_) if collations[column] <= {"BINARY"} else Kind.OTHER,
            largest=_LARGEST.get(_kind(type_)),
            nullable=not not_null,
            is_required=bool(not_null) and default is None and not hidden and not is_numbered,
            is_optional=not (not_null or default or hidden or is_numbered),
            depends_on_order=is_numbered or (default is not None and _CONSTANT.fullmatch(default) is None),
        )
        is_computed |= hidden in (2, 3)
    refers = [table.lower() for (table,) in connection.execute(_REFERS, where)]
    is_referred_to = finds(_IS_REFERRED_TO)
    return TableFacts(
        columns=columns,
        uniques={*uniques, frozenset(primary.values())} - {frozenset()},
        has_other_uniques=has_others,
        row_by_row=name.lower() in refers or finds(_HAS_TRIGGERS),
        in_circles=bool(refers) and is_referred_to,
        stands_alone=not is_referred_to,
        takes_unicode=True,
        bare=not (refers or is_computed or finds(_SAYS_MORE) or finds(_HAS_MORE_INDEXES)),
    )


def _uniques(connection: Connection, where: dict[str, Any]) -> tuple[set[frozenset[str]], dict[str, set[str]], bool]:
    """The unique sets of columns, how each column is compared in them, and whether there are others."""
    parts = defaultdict[str, set[str]](set)
    collations = defaultdict[str, set[str]](set)
    others: set[str] = set()
    for index, is_partial, column, collation in connection.execute(_INDEXES, where):
        if is_partial or column is None:
            others.add(index)
        else:
            parts[index].add(column)
            collations[column].add(collation)
    return {frozenset(found) for index, found in parts.items() if index not in others}, collations, bool(others)


def _kind(type_: str) -> Kind:
    """By SQLite's rules of affinity; what it would convert is not known."""
    if "INT" in type_:
        return Kind.INTEGER
    if any(word in type_ for word in ("CHAR", "CLOB", "TEXT")):
        return Kind.TEXT
    if any(word in type_ for word in ("REAL", "FLOA", "DOUB")):
        return Kind.FLOAT
    if type_.startswith(("NUMERIC", "DECIMAL")):
        return Kind.DECIMAL
    return {
        "BLOB": Kind.BYTES,
        "BOOLEAN": Kind.BOOLEAN,
        "DATE": Kind.DATE,
        "DATETIME": Kind.TIMESTAMP,
        "TIMESTAMP": Kind.TIMESTAMP,
    }.get(type_, Kind.OTHER)
