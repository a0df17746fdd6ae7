"""Whether tables in PostgreSQL are fit to hold offsets, and may be written."""

from __future__ import annotations

from sqlalchemy import Connection, text

from kafka_stream.errors import ConfigurationError, NotAuthorized, StoreUnavailable
from kafka_stream.offset_stores.sql.pool import discard_idle
from kafka_stream.offset_stores.sql.tables import Tables


def refuse_readers(connection: Connection, where: str) -> None:
    """Refuse a server, or a user, that takes no writes. Raises ``StoreUnavailable``, ``NotAuthorized``."""
    recovering, read_only = _takes_no_writes(connection)
    if read_only and not recovering:  # perhaps it began amid a failover: what do new ones say?
        connection.rollback()
        connection.invalidate()
        discard_idle(connection.engine)
        recovering, read_only = _takes_no_writes(connection)
    if recovering:
        raise StoreUnavailable(f"{where} is a standby and takes no writes; point the store at the primary")
    if read_only:
        raise NotAuthorized(
            f"{where} takes no writes from this user (default_transaction_read_only); use one that may write"
        )


def refuse_unfit(connection: Connection, tables: Tables, where: str) -> None:
    """Refuse unlogged tables, and missing privileges. Raises ``ConfigurationError``, ``NotAuthorized``."""
    written_by_all = (tables.topics, tables.offsets)
    written_by_some = (tables.dead_letters, tables.states, tables.watermarks, tables.late, tables.seen)
    for table in (*written_by_all, *written_by_some):
        name = connection.dialect.identifier_preparer.format_table(table)
        kind, granted = connection.execute(
            text(
                "SELECT relpersistence::text, has_table_privilege(oid, 'SELECT') AND "
                "has_table_privilege(oid, 'INSERT') AND has_table_privilege(oid, 'UPDATE') "
                "FROM pg_class WHERE oid = to_regclass(:name)"
            ),
            {"name": name},
        ).one()
        if kind != "p":
            raise ConfigurationError(
                f"table {name} in {where} is unlogged or temporary: a crash would empty it while the results "
                f"stay; run ALTER TABLE {name} SET LOGGED"
            )
        if not granted and table in written_by_all:
            raise NotAuthorized(
                f"this user may not read and write table {name} in {where}: GRANT SELECT, INSERT, UPDATE on it"
            )


def _takes_no_writes(connection: Connection) -> tuple[bool, bool]:
    """Whether the server is a standby, and whether the session only reads."""
    asking = "SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'"
    recovering, read_only = connection.exec_driver_sql(asking).one()
    return recovering, read_only


__all__ = ["refuse_readers", "refuse_unfit"]
