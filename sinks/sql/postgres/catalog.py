"""What PostgreSQL says of a table."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    DateTime,
    Dialect,
    Numeric,
    Time,
    cast,
    func,
    literal_column,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

from kafka_stream.sinks.sql.facts import UNKNOWN, ColumnFacts, Kind, TableFacts
from kafka_stream.sinks.sql.target import Target

# A function that is not PostgreSQL's own may read the table that it is called for, in a default or a constraint.
_TABLE = text("""
    SELECT c.relkind IN ('r', 'p') AS is_table,
        c.relhasrules OR triggers.has OR functions.has OR indexes.has_late OR coalesce(f.to_itself, false)
            AS row_by_row,
        coalesce(f.refers, false) AND referred.has AS in_circles,
        c.relkind = 'r' AND NOT c.relispartition AND NOT coalesce(f.checks, false) AND NOT computed.has
            AND NOT indexes.has_more AND NOT c.relrowsecurity AS bare,
        NOT referred.has AND NOT c.relhassubclass AND has_table_privilege(c.oid, 'INSERT')
            AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE') AS stands_alone,
        current_setting('server_encoding') = 'UTF8' AND current_setting('client_encoding') = 'UTF8' AS takes_unicode
    FROM pg_class AS c
        CROSS JOIN LATERAL (SELECT bool_or(contype = 'f' AND confrelid = conrelid) AS to_itself,
            bool_or(contype = 'f') AS refers, bool_or(contype IN ('c', 'f', 'x')) AS checks
            FROM pg_constraint WHERE conrelid = c.oid) AS f
        CROSS JOIN LATERAL (SELECT EXISTS (
            SELECT FROM pg_constraint WHERE confrelid = c.oid AND contype = 'f') AS has) AS referred
        CROSS JOIN LATERAL (SELECT EXISTS (
            SELECT FROM pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal) AS has) AS triggers
        CROSS JOIN LATERAL (SELECT EXISTS (
            SELECT FROM pg_attribute WHERE attrelid = c.oid
                AND (attgenerated <> '' OR attlen < 0 AND attstorage = 'p')) AS has) AS computed
        CROSS JOIN LATERAL (SELECT coalesce(bool_or(indisunique AND NOT indimmediate), false) AS has_late,
            coalesce(bool_or(indexprs IS NOT NULL OR indpred IS NOT NULL
                OR (NOT indisunique OR indnatts > indnkeyatts) AND EXISTS (
                SELECT FROM pg_attribute WHERE attrelid = c.oid AND attnum = ANY (indkey) AND attlen < 0)), false)
                AS has_more
            FROM pg_index WHERE indrelid = c.oid) AS indexes
        CROSS JOIN LATERAL (SELECT EXISTS (
            SELECT FROM pg_depend AS d WHERE d.refclassid = CAST('pg_proc' AS regclass) AND (
                d.classid = CAST('pg_attrdef' AS regclass)
                    AND d.objid IN (SELECT oid FROM pg_attrdef WHERE adrelid = c.oid)
                OR d.classid = CAST('pg_constraint' AS regclass)
                    AND d.objid IN (SELECT oid FROM pg_constraint WHERE conrelid = c.oid)
                OR d.classid = CAST('pg_class' AS regclass)
                    AND d.objid IN (SELECT indexrelid FROM pg_index WHERE indrelid = c.oid))) AS has) AS functions
    WHERE c.oid = to_regclass(:table)""")
_COLUMNS = text("""
    SELECT a.attname, CASE WHEN t.typtype = 'e' THEN 'enum' WHEN t.typnamespace = CAST('pg_catalog' AS regnamespace)
            THEN CAST(t.typname AS text) ELSE '' END AS type_name,
        a.atttypmod, coalesce(l.collisdeterministic, true) AS is_deterministic, a.attnotnull,
        pg_get_expr(f.adbin, f.adrelid) AS default, a.attidentity <> '' AS is_numbered
    FROM pg_attribute AS a
        JOIN pg_type AS t ON t.oid = a.atttypid
        LEFT JOIN pg_collation AS l ON l.oid = a.attcollation
        LEFT JOIN pg_attrdef AS f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
    WHERE a.attrelid = to_regclass(:table) AND a.attnum > 0 AND NOT a.attisdropped""")
_UNIQUES = text("""
    SELECT i.indpred IS NULL AND i.indexprs IS NULL AND i.indimmediate AND i.indisvalid AND NOT i.indisexclusion
            AS is_plain,
        ARRAY(SELECT CAST(a.attname AS text) FROM unnest(i.indkey) WITH ORDINALITY AS k(number, place)
            JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number
            WHERE k.place <= i.indnkeyatts) AS names
    FROM pg_index AS i WHERE i.indrelid = to_regclass(:table) AND (i.indisunique OR i.indisexclusion)""")
_CONSTANT = re.compile(
    r"(NULL|true|false|[+-]?[\d.]+|'(''|[^'])*'|\(-[\d.]+\))(::[\w \"\[\]().]+)?"
    r"|now\(\)|CURRENT_(DATE|TIME|TIMESTAMP)|LOCALTIME(STAMP)?|statement_timestamp\(\)|gen_random_uuid\(\)"
)
# COPY passes rules by, and is refused under row security; a trigger would see one statement instead of one per row.
COPIED_COLUMNS = """
    SELECT NOT a.attnotnull AS nullable,
        CASE
            WHEN a.attidentity = 'a' OR a.attgenerated <> '' THEN ''
            WHEN d.type <> a.atttypid AND NOT (d.type IN (25, 1043) AND a.atttypid IN (25, 1043)) THEN ''
            WHEN t.typtype = 'e' THEN 'enum'
            WHEN t.typtype = 'b' AND t.typnamespace = 'pg_catalog'::regnamespace THEN t.typname::text
            ELSE ''
        END AS type_name
    FROM unnest(CAST(%(names)s AS text[]), CAST(%(declared)s AS text[])) WITH ORDINALITY AS w(name, declared, number)
        JOIN pg_class AS c ON c.oid = to_regclass(%(table)s)
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = w.name AND NOT a.attisdropped
        JOIN pg_type AS t ON t.oid = a.atttypid
        CROSS JOIN LATERAL (SELECT to_regtype(w.declared)::oid AS type) AS d
    WHERE c.relkind IN ('r', 'p') AND NOT c.relhasrules AND NOT row_security_active(c.oid)
        AND NOT EXISTS (SELECT FROM pg_trigger AS g WHERE g.tgrelid = c.oid AND NOT g.tgisinternal)
    ORDER BY w.number"""
"""Of each column that is to be copied, whether it may be null and its type; '' if its values are not for COPY."""
_KINDS = {
    "bool": Kind.BOOLEAN,
    "bytea": Kind.BYTES,
    "date": Kind.DATE,
    "enum": Kind.ENUM,
    "float8": Kind.FLOAT,
    "int2": Kind.INTEGER,
    "int4": Kind.INTEGER,
    "int8": Kind.INTEGER,
    "numeric": Kind.DECIMAL,
    "text": Kind.TEXT,
    "timestamp": Kind.TIMESTAMP,
    "timestamptz": Kind.TIMESTAMP_WITH_ZONE,
    "uuid": Kind.UUID,
    "varchar": Kind.TEXT,
}
_BITS = {"int2": 16, "int4": 32, "int8": 64}
_MOST_DIGITS = 100
"""Before the point, of a number that is declared without a limit; it has one, far beyond."""


def facts_of(connection: Connection, quoted: str) -> TableFacts:
    """The facts of a table, by its name as statements write it."""
    where = {"table": quoted}
    found = connection.execute(_TABLE, where).one_or_none()
    if found is None or not found.is_table:
        return UNKNOWN
    uniques = connection.execute(_UNIQUES, where).all()
    columns = {
        name: ColumnFacts(
            kind=_kind(type_name, modifier, is_deterministic),
            longest=modifier - 4 if type_name == "varchar" and modifier > 4 else None,
            digits=_digits(type_name, modifier),
            largest=_largest(type_name, modifier),
            nullable=not is_required,
            is_required=is_required and default is None and not is_numbered,
            is_optional=not is_required and default is None and not is_numbered and type_name != "",
            depends_on_order=is_numbered or (default is not None and _CONSTANT.fullmatch(default) is None),
        )
        for name, type_name, modifier, is_deterministic, is_required, default, is_numbered in connection.execute(
            _COLUMNS, where
        )
    }
    return TableFacts(
        columns=columns,
        uniques={frozenset(names) for is_plain, names in uniques if is_plain},
        has_other_uniques=not all(is_plain for is_plain, _ in uniques),
        row_by_row=found.row_by_row,
        in_circles=found.in_circles,
        stands_alone=found.stands_alone,
        takes_unicode=found.takes_unicode,
        bare=found.bare,
    )


def _kind(type_name: str, modifier: int, is_deterministic: bool) -> Kind:
    kind = _KINDS.get(type_name, Kind.OTHER)
    is_cut = kind in (Kind.TIMESTAMP, Kind.TIMESTAMP_WITH_ZONE) and modifier not in (-1, 6)
    return Kind.OTHER if is_cut or not is_deterministic else kind


def _digits(type_name: str, modifier: int) -> int | None:
    """What a declaration says: numeric(10, 2), timestamp(0)."""
    if type_name == "numeric" and modifier >= 4:
        return (((modifier - 4) & 0x7FF) ^ 0x400) - 0x400  # eleven bits, which may be negative
    return modifier if type_name in ("timestamp", "timestamptz", "time", "timetz") and modifier in range(6) else None


def _largest(type_name: str, modifier: int) -> int | None:
    if type_name in _BITS:
        return int(2 ** (_BITS[type_name] - 1) - 1)
    if type_name != "numeric":
        return None
    digits = _digits(type_name, modifier)
    return int(10 ** (_MOST_DIGITS if digits is None else max(((modifier - 4) >> 16 & 0xFFFF) - digits, 0)) - 1)


def quoted_name(dialect: Dialect, target: Target, schema: str | None) -> str:
    """The table's name as statements write it."""
    quote = dialect.identifier_preparer
    name = quote.quote(target.table.name)
    return name if schema is None else f"{quote.quote_schema(schema)}.{name}"


def rounded(type_: TypeEngine[Any], value: ColumnElement[Any], digits: int) -> ColumnElement[Any]:
    """A value as a column keeps it that is declared so, and keeps so many digits behind the point."""
    if isinstance(type_, DateTime):
        return cast(value, postgresql.TIMESTAMP(timezone=type_.timezone, precision=digits))
    if isinstance(type_, Time):
        return cast(value, postgresql.TIME(timezone=type_.timezone, precision=digits))
    return func.round(cast(value, Numeric), literal_column(str(digits)))
