"""Whether tables in MariaDB or MySQL are fit to hold offsets, and may be written."""

from __future__ import annotations

import secrets

from sqlalchemy import Connection, text

from kafka_stream.errors import ConfigurationError
from kafka_stream.offset_stores.sql.tables import Tables

_ENGINE = text(
    "SELECT engine FROM information_schema.tables "
    "WHERE table_schema = coalesce(:schema, DATABASE()) AND table_name = :table"
)
_COLLATIONS = text(
    "SELECT column_name FROM information_schema.columns WHERE table_schema = coalesce(:schema, DATABASE()) "
    "AND table_name = :table AND column_name IN ('stream', 'topic', 'owner', 'state') "
    "AND right(collation_name, 4) <> '_bin'"
)


def refuse_unfit(connection: Connection, tables: Tables, where: str) -> None:
    """Refuse tables without transactions, or that confuse names. Raises ``ConfigurationError``."""
    for table in tables:
        name = {"schema": table.schema, "table": table.name}
        engine = connection.execute(_ENGINE, name).scalar_one()
        if str(engine).lower() != "innodb":
            quoted = connection.dialect.identifier_preparer.format_table(table)
            raise ConfigurationError(
                f"table {quoted} in {where} is kept by {engine}, which does not roll back: run "
                f"ALTER TABLE {quoted} ENGINE=InnoDB"
            )
        if unfit := connection.execute(_COLLATIONS, name).scalars().all():
            quoted = connection.dialect.identifier_preparer.format_table(table)
            raise ConfigurationError(
                f"the columns {', '.join(unfit)} of table {quoted} in {where} take different names for the same: "
                f"run ALTER TABLE {quoted} CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
            )
    connection.rollback()


def try_tables(connection: Connection, tables: Tables, where: str) -> None:
    """Do what batches do, and roll it back. Raises ``ConfigurationError``, or what the database says."""
    quote = connection.dialect.identifier_preparer.format_table
    offsets, topics = quote(tables.offsets), quote(tables.topics)
    connection.exec_driver_sql(
        f"INSERT INTO {topics} (stream, topic, state, started_at) "
        f"SELECT stream, topic, state, started_at FROM {topics} WHERE 1 = 0"
    )
    connection.exec_driver_sql(f"UPDATE {topics} SET topic_id = topic_id WHERE 1 = 0")
    probe = {"stream": f"probe {secrets.token_hex(8)}"}
    connection.execute(
        text(
            f"INSERT INTO {offsets} (stream, topic, `partition`, next_offset, owner_epoch, state, changed_at) "
            "VALUES (:stream, '', 0, 0, 0, 'closed', now())"
        ),
        probe,
    )
    unchanged = text(f"UPDATE {offsets} SET next_offset = next_offset WHERE stream = :stream")
    found = connection.execute(unchanged, probe).rowcount
    connection.rollback()
    if found != 1:
        raise ConfigurationError(counts_changed_rows(where))


def counts_changed_rows(where: str) -> str:
    """What is said of a connection that counts changed rows."""
    return (
        f"{where} counts the rows that a statement changes, not those it finds, so that a claim cannot be told from a "
        "lost one: connect with client_flag=pymysql.constants.CLIENT.FOUND_ROWS, as SQLAlchemy does by itself for a URL"
    )


__all__ = ["counts_changed_rows", "refuse_unfit", "try_tables"]
