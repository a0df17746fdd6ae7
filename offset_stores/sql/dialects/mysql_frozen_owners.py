"""Ends the sessions of a frozen or dead owner whose locks its successor waits for, on MariaDB and MySQL.

The session of each transaction holds a user lock (``GET_LOCK``) that is named after its owner: whoever takes over asks
the server which session holds it, and ends that one. This needs no privilege where both log in as the same user, which
looking at InnoDB's own lists of locks would (``PROCESS``); another user's sessions can be ended with
``CONNECTION ADMIN``.
"""

from __future__ import annotations

import enum
import hashlib
import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from sqlalchemy import Connection, exc

from kafka_stream.offset_stores.sql.errors import driver_error

logger = logging.getLogger("kafka_stream")

_INFO = "kafka_stream_session_lock"
_NAME = "concat('kafka-stream:', left(sha2(concat(coalesce(DATABASE(), ''), %s), 256), 32), %s)"
_NO_SUCH_SESSION = 1094


class Role(enum.StrEnum):
    """What a session is at; an owner may be at several things at once, on its own threads."""

    BATCH = ":batch"
    TAKEOVER = ":takeover"
    DDL = ":ddl"


def name_session(connection: Connection, session: str, role: Role, timeout_s: int = 0) -> bool:
    """Until ``unname_session`` or its end, let the session be found; returns whether it has got the name.

    Names are the server's: the database is part of them. They have at most 64 characters, which is what MySQL allows.
    """
    parts = _parts(session, role)
    locking = f"SELECT {_NAME}, GET_LOCK({_NAME}, %s)"
    name, named = connection.exec_driver_sql(locking, (*parts, *parts, timeout_s)).one()
    if named:
        connection.info.setdefault(_INFO, []).append(name)  # as it is now: a handler may go on to another database
    return bool(named)


def unname_session(connection: Connection) -> None:
    """Before the session is given back to the application's pool."""
    for name in connection.info.pop(_INFO, []):
        connection.exec_driver_sql("DO RELEASE_LOCK(%s)", (name,))


def _parts(session: str, role: Role) -> tuple[str, str]:
    return hashlib.sha256(session.encode()).hexdigest(), role.value


class NamedSessions:
    """Ends the named sessions of owners, whatever they are doing, from the session that waits for their locks.

    That has waited in vain once already. A session that is not in anybody's way may be among them: it loses a batch,
    which is repeated.
    """

    def __init__(self, waiting: Connection) -> None:
        self._waiting = waiting
        self._left_alone: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing runs beside it."""

    @contextmanager
    def seeing_owners(self) -> Iterator[None]:
        """Also one who is not committed yet: a takeover that was frozen itself. No other statement reads like that."""
        self._waiting.exec_driver_sql("ROLLBACK")
        self._waiting.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED")
        yield
        self._waiting.exec_driver_sql("ROLLBACK")  # the next statement begins at READ COMMITTED again

    def end_those_of(self, owners: Collection[str], session: str) -> None:
        """These owners are being replaced; what else goes by our own name is left from an earlier try."""
        names = [(owner, role) for owner in sorted(owners) for role in (Role.BATCH, Role.TAKEOVER)]
        for owner, role in [*names, (session, Role.TAKEOVER)]:
            asking = f"SELECT IS_USED_LOCK({_NAME}), CONNECTION_ID()"
            held_by, ours = self._waiting.exec_driver_sql(asking, _parts(owner, role)).one()
            if held_by is not None and held_by != ours:
                self._end(held_by, owner)

    def describe(self) -> str | None:
        """The sessions that may not be ended."""
        return ", ".join(self._left_alone) or None

    def _end(self, number: int, owner: str) -> None:
        named = f"session {number} of {owner}"
        try:
            self._waiting.exec_driver_sql("KILL %s", (number,))
        except exc.DBAPIError as error:
            if error.connection_invalidated:
                raise
            if driver_error(error).args[0] != _NO_SUCH_SESSION:
                self._left_alone.append(f"{named}, which this user may not end (that needs CONNECTION ADMIN)")
            return
        logger.warning("Ended %s: partitions that it may hold the locks of are being taken over.", named)


__all__ = ["NamedSessions", "Role", "name_session", "unname_session"]
