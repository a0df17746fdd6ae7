"""The part of ``SqlOffsetStore`` that shows what sinks keep of state, and clears it as offsets move."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from kafka_stream.offset_stores.sql import administration
from kafka_stream.offset_stores.sql.access import Access
from kafka_stream.offset_stores.sql.dead_letters.store import SqlLetterStore
from kafka_stream.offset_stores.sql.history import cleared_by
from kafka_stream.offset_stores.sql.state import clearing as clearings
from kafka_stream.offset_stores.sql.state import looking, register, windows
from kafka_stream.protocols import (
    Action,
    Clearing,
    Decide,
    StateDescription,
    StoredState,
    WindowsNow,
)
from kafka_stream.types import TopicPartition


class SqlStateStore(SqlLetterStore):
    """In the tables of the user's that sinks write, and in those beside the offsets; see ``StateStore``."""

    _access: Access

    def states(self, stream: str) -> Sequence[StoredState]:
        """The register; see ``StateStore``."""
        access = self._access
        with access.looking("looking for state", access.tables.states) as connection:
            if connection is None:
                return []
            return register.with_others(access, connection, stream, register.registered(access, connection, stream))

    def state_rows(
        self, stream: str, described: StateDescription, partitions: Collection[TopicPartition] | None = None
    ) -> Mapping[str, int | None]:
        """How many there are; see ``StateStore``."""
        access = self._access
        with access.mapping("counting rows of state"), access.reading() as connection:
            return clearings.count(access, connection, stream, described, partitions)

    def find_state(
        self, stream: str, described: StateDescription, key: Sequence[str], limit: int
    ) -> Sequence[Mapping[str, Any]]:
        """The rows of a key; see ``StateStore``."""
        with self._access.mapping("looking a key up"), self._access.reading() as connection:
            return looking.rows_of_key(connection, described, key, limit)

    def find_seen(
        self, stream: str, described: StateDescription, hashes: Collection[bytes], text: str, limit: int
    ) -> Sequence[Mapping[str, Any]]:
        """The rows of keys that have gone on; see ``StateStore``."""
        access = self._access
        with access.mapping("looking a key up"), access.reading() as connection:
            return looking.rows_seen(access, connection, stream, described, hashes, text)[:limit]

    def windows_now(self, stream: str, described: StateDescription, limit: int) -> WindowsNow:
        """Where windows stand; see ``StateStore``."""
        access = self._access
        with access.mapping("looking at windows"), access.reading() as connection:
            return windows.now(access, connection, stream, described, limit)

    def change_and_clear(
        self, stream: str, partitions: Collection[TopicPartition], action: Action, decide: Decide, clearing: Clearing
    ) -> Mapping[str, int]:
        """In the transaction of the change; see ``StateStore``."""
        access = self._access
        cleared: dict[str, int] | None = None

        def beside(connection: Connection) -> Mapping[str, int]:
            nonlocal cleared
            cleared = clearings.clear(access, connection, stream, action, partitions, clearing)
            return cleared

        administration.change(access, stream, partitions, action, decide, beside)
        if cleared is None:  # it was done before, and the answer was lost
            with access.mapping("reading the history"), access.reading() as connection:
                return cleared_by(access, connection, stream, action)
        return cleared


__all__ = ["SqlStateStore"]
