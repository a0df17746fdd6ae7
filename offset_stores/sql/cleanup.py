"""Giving a connection back."""

from __future__ import annotations

from sqlalchemy import Connection

from kafka_stream.offset_stores.sql.dialects import Database
from kafka_stream.offset_stores.sql.errors import Verdict
from kafka_stream.offset_stores.sql.pool import discard_idle, give_back
from kafka_stream.protocols.causes import causes


def clean(
    connection: Connection, database: Database, *, keep: bool = False, after: BaseException | None = None
) -> None:
    """Close a connection, rolled back for certain unless ``keep``: the pool's next user must not commit our rest.

    Never raises an ``Exception``: what was committed is committed, whatever becomes of its connection.

    SQLAlchemy may take the transaction for finished while the driver does not (an exception in a commit event). One
    that was given up ``after`` an error of its server is not used again; where the session was read-only, because it
    began amid a failover, those beside it in the pool may be, too.
    """
    verdicts = {database.verdict(error) for error in causes(after)} if after is not None else set()
    if connection.closed or connection.invalidated:
        give_back(connection)
        return
    try:
        if database.is_busy(connection):
            connection.invalidate()
            return
        if not keep:
            connection.rollback()
            connection.connection.rollback()
        if verdicts & {Verdict.UNAVAILABLE, Verdict.READ_ONLY}:
            connection.invalidate()
            return
        database.after_transaction(connection)
    except BaseException as error:
        connection.invalidate()
        if not isinstance(error, Exception):
            raise
    finally:
        give_back(connection)
        if Verdict.READ_ONLY in verdicts:
            discard_idle(connection.engine)


__all__ = ["clean"]
