"""Commits that PostgreSQL answers as done although its synchronous replica may not have them.

Who waits for a replica can be told to stop waiting: by ``pg_cancel_backend``, or by ``statement_timeout``. The
transaction is committed on the primary by then, so the server answers with a success, and a warning; a promotion would
take it back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

if TYPE_CHECKING:
    import psycopg

_WARNINGS = "kafka_stream_warnings"
_WAITING = "SyncRepWaitForLSN"  # the server's function that says so; the warning has no SQLSTATE of its own


def hear_of_replication(connection: Connection) -> None:
    """Have the driver keep such warnings; once for each of its connections."""
    if _WARNINGS in connection.info:
        return
    driver: Any = connection.connection.driver_connection
    heard: list[str] = []
    connection.info[_WARNINGS] = heard

    def hear(said: psycopg.errors.Diagnostic) -> None:
        if said.source_function == _WAITING:
            heard.append(said.message_primary or "the wait for a synchronous replica was cancelled")

    driver.add_notice_handler(hear)


def replication_warning(connection: Connection) -> str | None:
    """What was heard since the last call; the latest of it."""
    heard: list[str] = connection.info.get(_WARNINGS, [])
    said = heard[-1] if heard else None
    heard.clear()
    return said


__all__ = ["hear_of_replication", "replication_warning"]
