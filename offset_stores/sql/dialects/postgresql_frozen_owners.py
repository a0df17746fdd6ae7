"""Ends the sessions of a frozen or dead owner whose locks its successor waits for, on PostgreSQL."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Engine, create_engine, exc, text

logger = logging.getLogger("kafka_stream")

SESSION_PREFIX = "kafka-stream:"
"""Every session of an owner of any stream begins its ``application_name`` with this while it is in a transaction."""

_LOOK_AGAIN_S = 0.05
_IDLE_S = 1.0  # an owner's session that sits in its transaction longer than this, doing nothing, is frozen

_LOOK = text(
    """
    SELECT pid, backend_start, application_name, usename, state,
        coalesce(starts_with(application_name, :prefix) AND state LIKE 'idle in transaction%'
            AND state_change < clock_timestamp() - make_interval(secs => :idle), false) AS frozen
    FROM pg_stat_activity WHERE pid = ANY (pg_blocking_pids(:waiting))
    """
)
# The pid may be another session's by now: its start tells.
_END = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = :pid AND backend_start = :started")


class BlockingSessions:
    """While the ``with`` body waits for locks, looks who holds them, from a second connection on a thread of its own.

    Ended are the sessions that bear the name of one of the stored owners, and those of any other owner that do nothing
    in their transaction (a takeover that was frozen itself). Nobody else's: those are described.

    The source of the idea is ``pg_blocking_pids`` (PostgreSQL, "System Information Functions").
    """

    def __init__(self, engine: Engine, waiting_pid: int, session_name: Callable[[str], str]) -> None:
        self._engine = engine
        self._waiting_pid = waiting_pid
        self._session_name = session_name
        self._session_names: frozenset[str] = frozenset()
        self._done = threading.Event()
        self._left_alone: dict[int, str] = {}
        self._ended: set[int] = set()
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._watch,), name="kafka-stream-blockers", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def seeing_owners(self) -> AbstractContextManager[None]:
        """What is committed is enough: whose else a lock is, its session says."""
        return nullcontext()

    def end_those_of(self, owners: Collection[str], session: str) -> None:
        """These owners are being replaced; what else goes by our own name is left from an earlier try."""
        self._session_names = frozenset(map(self._session_name, [*owners, session]))

    def describe(self) -> str | None:
        """The sessions that block and were not ended."""
        return ", ".join(self._left_alone.values()) or None

    def _watch(self) -> None:
        # A pool of its own, made as the engine's is: the application's may be in use to the last connection.
        engine = create_engine(self._engine.url, pool=self._engine.pool.recreate())
        try:
            with engine.connect() as connection:
                while not self._done.wait(_LOOK_AGAIN_S):
                    parameters = {"waiting": self._waiting_pid, "prefix": SESSION_PREFIX, "idle": _IDLE_S}
                    for session in connection.execute(_LOOK, parameters).all():
                        self._answer(connection, session)
                    connection.rollback()
        except exc.SQLAlchemyError as error:
            logger.warning("Cannot look who blocks the takeover: %s", type(error).__name__)
        finally:
            engine.dispose()

    def _answer(self, connection: Any, session: Any) -> None:
        named = f"session {session.pid} of user {session.usename} ({session.application_name or 'no name'})"
        if session.application_name not in self._session_names and not session.frozen:
            self._left_alone[session.pid] = named
            return
        if session.pid in self._ended:
            return
        try:
            ended = connection.execute(_END, {"pid": session.pid, "started": session.backend_start}).scalar()
        except exc.DBAPIError:  # another role's
            connection.rollback()
            ended = False
        if not ended:
            self._left_alone[session.pid] = f"{named}, which this user may not end"
            return
        self._ended.add(session.pid)
        self._left_alone.pop(session.pid, None)
        logger.warning("Ended %s: it held the locks of partitions that are being taken over.", named)


__all__ = ["SESSION_PREFIX", "BlockingSessions"]
