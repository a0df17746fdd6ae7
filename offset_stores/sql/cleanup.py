"""Giving a connection back."""

from __future__ import annotations

from sqlalchemy import Connection

from kafka_stream.offset_stores.sql.dialects import Database


def clean(connection: Connection, database: Database, *, keep: bool = False) -> None:
    """Close a connection, rolled back for certain unless ``keep``: the pool's next user must not commit our rest.

    SQLAlchemy may take the transaction for finished while the driver does not (an exception in a commit event).
    """
    if connection.closed or connection.invalidated:
        connection.close()
        return
    try:
        if database.is_busy(connection):
            connection.invalidate()
            return
        if not keep:
            connection.rollback()
            connection.connection.rollback()
        database.after_transaction(connection)
    except BaseException as error:
        connection.invalidate()
        if not isinstance(error, Exception):
            raise
    finally:
        connection.close()


__all__ = ["clean"]
