"""Creating and checking the tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sqlalchemy import (
    URL,
    BigInteger,
    Connection,
    Dialect,
    Inspector,
    Table,
    insert,
    inspect,
    make_url,
    select,
    update,
)
from sqlalchemy.schema import CreateIndex, CreateTable, ExecutableDDLElement

from kafka_stream.errors import ConfigurationError, SchemaMismatch
from kafka_stream.offset_stores.sql.dialects import DATABASES, Database
from kafka_stream.offset_stores.sql.tables import (
    DEFAULT_PREFIX,
    OLDEST_COMPATIBLE_VERSION,
    SCHEMA_VERSION,
    Tables,
    own_tables,
)

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import ReflectedColumn

_APPLY = "run `kafka-stream schema apply`, or open the store with tables='create'"


def schema_sql(dialect: str | URL, schema: str | None = None, table_prefix: str = DEFAULT_PREFIX) -> str:
    """The statements that create the tables, for a dialect's name (``"postgresql"``) or a URL; connects to nothing.

    Raises:
        ConfigurationError: the dialect is not supported, or the prefix is no identifier.
    """
    url = dialect if isinstance(dialect, URL) else make_url(dialect if "://" in dialect else f"{dialect}://")
    name = {"postgres": "postgresql"}.get(url.get_backend_name(), url.get_backend_name())
    if name not in DATABASES:
        raise ConfigurationError(f"there is no schema for {name!r}; supported: {', '.join(sorted(DATABASES))}")
    return tables_sql(own_tables(schema, table_prefix), URL.create(name).get_dialect()())


def tables_sql(tables: Tables, dialect: Dialect) -> str:
    """The statements in a dialect."""
    creates: list[ExecutableDDLElement] = []
    for table in tables:
        creates += [CreateTable(table), *map(CreateIndex, sorted(table.indexes, key=lambda index: str(index.name)))]
    statements = [str(create.compile(dialect=dialect)).strip() for create in creates]
    version = insert(tables.schema).values(version=SCHEMA_VERSION, oldest_compatible_version=OLDEST_COMPATIBLE_VERSION)
    statements.append(str(version.compile(dialect=dialect, compile_kwargs={"literal_binds": True})))
    return "".join(f"{statement};\n\n" for statement in statements).rstrip() + "\n"


def missing_tables(connection: Connection, tables: Iterable[Table]) -> list[Table]:
    """Those of the tables that are not there; on MariaDB it takes SELECT to see one."""
    inspector = inspect(connection)
    return [table for table in tables if not inspector.has_table(table.name, schema=table.schema)]


def create_missing(connection: Connection, database: Database, tables: Tables) -> None:
    """Inside a transaction: create what is missing, and write the version unless it is there. May be run again."""
    schema = tables.offsets.schema
    database.serialize_ddl(connection, f"{schema or ''}.{tables.offsets.name}")
    if schema is not None and database.creates_schemas and schema not in inspect(connection).get_schema_names():
        connection.exec_driver_sql(f"CREATE SCHEMA {connection.dialect.identifier_preparer.quote(schema)}")
    for table in missing_tables(connection, tables):
        table.create(connection)
    values = {"version": SCHEMA_VERSION, "oldest_compatible_version": OLDEST_COMPATIBLE_VERSION}
    if not stored_versions(connection, tables):
        connection.execute(insert(tables.schema).values(values))
    else:
        connection.execute(update(tables.schema).where(tables.schema.c.version < SCHEMA_VERSION).values(values))


def lacks_something(connection: Connection, tables: Tables) -> bool:
    """Whether ``create_missing`` would change anything."""
    if missing_tables(connection, tables):
        return True
    return not any(version >= SCHEMA_VERSION for version, _ in stored_versions(connection, tables))


def stored_versions(connection: Connection, tables: Tables) -> list[tuple[int, int]]:
    """The rows of the version table: version, and the oldest one that may work beside it."""
    rows = connection.execute(select(tables.schema.c.version, tables.schema.c.oldest_compatible_version))
    return [(row.version, row.oldest_compatible_version) for row in rows]


def check(connection: Connection, tables: Tables, where: str) -> None:
    """Compare what is there with what this code needs. More columns than ours are fine: newer code beside us.

    Raises:
        SchemaMismatch: a table or column is missing, too narrow, or of a version that this code must not touch.
    """
    if missing := missing_tables(connection, tables):
        raise lacking(missing, where)
    for version, oldest in stored_versions(connection, tables):
        if oldest > SCHEMA_VERSION:
            raise SchemaMismatch(
                f"the tables in {where} are of version {version}, which works with code of version {oldest} or later; "
                f"this is version {SCHEMA_VERSION}: upgrade kafka-stream"
            )
        if version < OLDEST_COMPATIBLE_VERSION:
            raise SchemaMismatch(f"the tables in {where} are of version {version}, which is too old: {_APPLY}")
    inspector = inspect(connection)
    for table in tables:
        _check_columns(inspector, table, where)


def lacking(missing: Iterable[Table], where: str) -> SchemaMismatch:
    """The error for tables that are not there."""
    return SchemaMismatch(f"{where} lacks the tables {', '.join(table.fullname for table in missing)}: {_APPLY}")


def _check_columns(inspector: Inspector, table: Table, where: str) -> None:
    found: dict[str, ReflectedColumn] = {
        column["name"]: column for column in inspector.get_columns(table.name, schema=table.schema)
    }
    if missing := [column.name for column in table.columns if column.name not in found]:
        raise SchemaMismatch(f"table {table.fullname} in {where} lacks the columns {', '.join(missing)}: {_APPLY}")
    narrow = [
        column.name
        for column in table.columns
        if isinstance(column.type, BigInteger) and not isinstance(found[column.name]["type"], BigInteger)
    ]
    if narrow:
        raise SchemaMismatch(
            f"table {table.fullname} in {where} cannot hold 64-bit offsets in {', '.join(narrow)}: make them BIGINT"
        )
    key = inspector.get_pk_constraint(table.name, schema=table.schema)["constrained_columns"]
    wanted = [column.name for column in table.primary_key.columns]
    if sorted(key) != sorted(wanted):
        raise SchemaMismatch(
            f"table {table.fullname} in {where} must have the primary key ({', '.join(wanted)}); it has "
            f"({', '.join(key)})"
        )


__all__ = [
    "check",
    "create_missing",
    "lacking",
    "lacks_something",
    "missing_tables",
    "schema_sql",
    "stored_versions",
    "tables_sql",
]
