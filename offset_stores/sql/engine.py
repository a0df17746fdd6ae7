"""A URL, or the user's engine, into an engine whose database is supported; connects to nothing."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Engine, exc, make_url
from sqlalchemy.engine.default import DefaultDialect

from kafka_stream.errors import ConfigurationError, MissingExtra, UnknownStore
from kafka_stream.offset_stores.sql.dialects import DATABASES, Database

_ALIASES = {"postgres": "postgresql"}
_SHAPE = "a store URL looks like sqlite:///orders.db or postgresql://user:password@host:5432/database"
_ASYNC_BELONGS = (
    "the store's transaction is synchronous, on the stream's own thread; await what has to be awaited in prepare, "
    "which may be async def"
)


def parsed(url: str | URL) -> tuple[URL, Database]:
    """The URL with its driver written out, and its kind of database.

    Raises:
        ConfigurationError: it is no URL, or names another driver; no message shows any of it but the scheme.
        UnknownStore: nothing serves the database.
    """
    try:
        full = make_url(url)
    except (exc.ArgumentError, ValueError):
        # Not chained: the cause may quote a piece of the password.
        raise ConfigurationError(f"the store's URL cannot be read; {_SHAPE}") from None
    backend, _, driver = full.drivername.partition("+")
    backend = _ALIASES.get(backend, backend)
    if backend not in DATABASES:
        raise UnknownStore(
            f"no SQL offset store serves {backend!r} databases; supported: {', '.join(sorted(DATABASES))}"
        )
    database = DATABASES[backend]
    (supported,) = database.drivers
    if driver and driver != supported:
        raise ConfigurationError(
            f"the SQL offset store uses {backend}+{supported}://, not {backend}+{driver}://"
            + (
                f"; {_ASYNC_BELONGS}"
                if driver in {"aiomysql", "aiosqlite", "asyncmy", "asyncpg", "psycopg_async"}
                else ""
            )
        )
    if backend != "sqlite" and not full.database:
        raise ConfigurationError(f"the store's URL names no database; {_SHAPE}")
    return full.set(drivername=f"{backend}+{supported}"), database()


def database_of(engine: Any) -> Database:
    """The kind of database of a user's engine.

    Raises:
        ConfigurationError: it is no engine, an async one, or of an unsupported driver.
        UnknownStore: nothing serves the database.
    """
    if hasattr(engine, "sync_engine"):
        raise ConfigurationError(f"an AsyncEngine cannot hold the offsets: {_ASYNC_BELONGS}")
    if not isinstance(engine, Engine):
        raise ConfigurationError(f"a SQL offset store takes a URL or a SQLAlchemy Engine, not {type(engine).__name__}")
    dialect = engine.dialect
    if isinstance(dialect, DefaultDialect) and dialect.is_async:
        raise ConfigurationError(
            f"an engine of an async driver ({dialect.driver}) cannot hold the offsets: {_ASYNC_BELONGS}"
        )
    if dialect.name not in DATABASES:
        raise UnknownStore(
            f"no SQL offset store serves {dialect.name!r} databases; supported: {', '.join(sorted(DATABASES))}"
        )
    database = DATABASES[dialect.name]()
    (supported,) = database.drivers
    if dialect.driver != supported:
        raise ConfigurationError(
            f"the SQL offset store uses {dialect.name}+{supported}, not {dialect.name}+{dialect.driver}"
        )
    database.refuse_engine(engine)
    return database


def seen_schema(engine: Engine | None, schema: str | None) -> str | None:
    """Where an engine puts the tables of a schema: a ``schema_translate_map`` of the user's holds for ours, too.

    Some statements pass it by (texts, the inspector), so that the tables are defined where it leads; those that it
    translates find no more to translate.

    Raises:
        ConfigurationError: it would translate once more.
    """
    seen: dict[str | None, str | None] = (
        {} if engine is None else dict(engine.get_execution_options().get("schema_translate_map") or {})
    )
    where = seen.get(schema, schema)
    if seen.get(where, where) != where:
        raise ConfigurationError(
            f"the engine's schema_translate_map leads from {schema!r} to {where!r} and on to {seen[where]!r}, so that "
            "the offsets' tables would be in two places: give the store the schema that is translated only once"
        )
    return where


def made(url: URL, database: Database) -> Engine:
    """Our own engine.

    Raises:
        MissingExtra: the driver is not installed.
    """
    try:
        engine = database.create_engine(url)
    except ModuleNotFoundError as error:
        extra = " or ".join(filter(None, database.drivers.values())) or "a Python with sqlite3"
        raise MissingExtra(
            f"{url.get_backend_name()} needs the module {error.name!r}, which is not installed: pip install '{extra}'"
        ) from error
    except (exc.ArgumentError, TypeError, ValueError):
        raise ConfigurationError(f"the store's URL has an option that the driver does not know; {_SHAPE}") from None
    database.refuse_engine(engine)
    return engine


__all__ = ["database_of", "made", "parsed", "seen_schema"]
