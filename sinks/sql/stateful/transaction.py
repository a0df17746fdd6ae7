"""What a sink that keeps state needs of a batch's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from sqlalchemy import Connection, Table

from kafka_stream.types import Claim, TopicPartition


class StateTables(Protocol):
    """The store's tables of what sinks know of their state. Columns that end in ``_us`` are microseconds since 1970.

    ``states`` has a row per sink of a stream, ``watermarks`` one per partition of such a sink, ``late`` the number of
    late records per window, ``seen`` the keys of which a record has gone on.
    """

    @property
    def states(self) -> Table:
        """Which sinks keep state, in which table, and how far they have closed windows."""

    @property
    def watermarks(self) -> Table:
        """How far each partition's event time has come."""

    @property
    def late(self) -> Table:
        """How many records of each window came late."""

    @property
    def seen(self) -> Table:
        """The keys of which a record has gone on."""


@runtime_checkable
class StatefulTransaction(Protocol):
    """A transaction of an SQL store, as sinks that keep state see it.

    What such a sink remembers of what it has written stands only if the transaction through which it wrote it
    ``is_committed`` when the next one begins, was no attempt, and the next one's range begins where its range ended,
    under the same epoch.
    """

    @property
    def connection(self) -> Connection:
        """The connection, inside the batch's transaction."""

    @property
    def claimed(self) -> Claim:
        """The stream, the ranges that the batch moves, and the epochs under which it does."""

    @property
    def in_attempt(self) -> bool:
        """Whether what is written now may be undone although the transaction commits."""

    @property
    def is_committed(self) -> bool:
        """Whether it is known that what was written is durable."""

    @property
    def tables(self) -> StateTables:
        """The store's own tables."""

    def partitions(self) -> Sequence[TopicPartition]:
        """All partitions of the stream that are open, in order, whoever owns them."""


__all__ = ["StateTables", "StatefulTransaction"]
