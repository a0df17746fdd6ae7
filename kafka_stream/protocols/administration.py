"""What an operator's commands need of a store, beside the port that streams use: look, move, close, remember."""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeAlias, runtime_checkable

from kafka_stream.protocols.stores import OffsetStore
from kafka_stream.types import StoredPosition, TopicPartition


class TopicState(enum.StrEnum):
    """What became of a stream's topic since its start was resolved."""

    OPEN = "open"
    CLOSED = "closed"
    """Refused, with a reason: it was migrated, say."""
    DELETED = "deleted"
    """The next start resolves ``start`` again, at higher epochs."""


@dataclass(frozen=True, slots=True)
class TopicStatus:
    """A topic's marker: its state, why it was closed, and the id it had when it was started.

    ``started_at`` is when its start was resolved: another one after a delete. ``None`` where the store does not know.
    """

    state: TopicState
    reason: str | None = None
    topic_id: str | None = None
    started_at: datetime | None = None


class ActionKind(enum.StrEnum):
    """What moved offsets, or who may."""

    TAKEOVER = "takeover"
    BATCH = "batch"
    DATA_LOSS = "data_loss"
    """Records were gone unread, and the stream went on where its ``on_data_loss`` says."""
    STOP = "stop"
    """An owner has left; the action's id is the owner's."""
    RESET = "reset"
    IMPORT = "import"
    MIGRATE = "migrate"
    UNDO = "undo"
    DELETE = "delete"
    CLOSE = "close"
    REPLAY = "replay"
    """Dead letters were sent once more, or processed where they are; no offset moved."""
    DISCARD = "discard"
    """Dead letters were given up; no offset moved."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that somebody did: ``id`` is random and ties its partitions together, ``actor`` is for people."""

    id: str
    kind: ActionKind
    actor: str


@dataclass(frozen=True, slots=True)
class Change:
    """Where one partition is to be, after an admin action.

    ``leader_epoch`` and ``topic_id`` are those that the new offset belongs to, ``None`` where they are not known.
    ``at_least_epoch`` is the lowest owner epoch to end at, where the position comes from another store.
    """

    topic_partition: TopicPartition
    next_offset: int
    leader_epoch: int | None = None
    topic_id: str | None = None
    at_least_epoch: int = 0


Decide: TypeAlias = Callable[[Mapping[TopicPartition, StoredPosition]], Sequence[Change]]
"""From what is stored now, of the partitions that were named and are stored at all, to what is to be changed."""


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One partition of something that happened.

    ``from_offset`` is ``None`` for what was not there before; ``leader_epoch`` and ``topic_id`` are those it had, kept
    for admin actions, so that they can be undone. ``records``, ``duration_s``, ``attempt`` (the number of the one that
    went well, from 1) and ``dead_letters`` are those of the whole batch, else ``None``. Of several in a row, told
    together, ``attempt`` is the highest, and the others are sums. ``cleared`` is what the whole action has deleted of
    state that sinks keep: how many rows of each table.
    """

    at: datetime
    action: Action
    topic_partition: TopicPartition
    from_offset: int | None
    until_offset: int
    leader_epoch: int | None = None
    topic_id: str | None = None
    records: int | None = None
    duration_s: float | None = None
    code_version: str | None = None
    attempt: int | None = None
    dead_letters: int | None = None
    cleared: Mapping[str, int] | None = None


@runtime_checkable
class AdministeredStore(OffsetStore, Protocol):
    """A store that operators' commands work on, safely while a stream runs. Raises as ``OffsetStore`` does."""

    @property
    def keeps_history(self) -> bool:
        """Whether ``record`` and ``change`` leave something for ``history``; constant."""

    def identity(self) -> str:
        """What tells this store from every other one, however its URL is spelled; the same for as long as it exists.

        Without secrets, but for comparing rather than for people: ``describe`` is for them. Reads only.
        """

    def streams(self) -> Sequence[str]:
        """The names of all streams that have positions here, sorted. Reads only, as ``positions`` does."""

    def topics(self, stream: str) -> Mapping[str, TopicStatus]:
        """The markers of a stream's topics. Reads only."""

    def change(
        self, stream: str, partitions: Collection[TopicPartition], action: Action, decide: Decide
    ) -> Mapping[TopicPartition, StoredPosition]:
        """Move positions, all or none, and remember it in the same transaction; return all that is stored after it.

        ``decide`` is called with what is stored of ``partitions`` while nobody else can change it, or again if somebody
        did; it does not use the store, and what it raises leaves everything as it was. A batch in flight has ended
        before, committed or not: it is waited for and ended as a takeover does.

        Each changed partition's owner is cleared, its epoch raised, its plan cleared, its leader epoch and topic id
        replaced, and it is open, as is its topic; what is still closed of the topic begins at 0, as in ``initialise``.
        So a running stream cannot commit what it has in hand: it sees that it was fenced by no other owner, takes over
        again and goes on from here. A partition that is not stored yet is inserted, and a marker that is not there.

        An action that was done is not done again where the store keeps history: it may be repeated after any failure.

        Raises:
            CommandRefused: the store cannot do it while the stream has live members; the message names them.
        """

    def rehearse(self, stream: str, changes: Sequence[Change]) -> None:
        """Find out whether ``change`` would take these, as far as that can be known without it.

        Rights, sizes, live members, what has to exist: whatever ``change`` would refuse is raised, as it would raise
        it. Everything stays as it was; owners go on, and are at most held up for a moment.
        """

    def close_topics(self, stream: str, topics: Collection[str], action: Action, reason: str | None) -> None:
        """Close all positions of these topics, and their markers: for good, or, without a reason, as deleted.

        Epochs are raised and owners cleared, so that a running stream stops with ``StreamClosed`` and commits nothing.
        What is closed already stays as it is. Raises as ``change`` does.
        """

    def live_owners(self, stream: str) -> Sequence[str]:
        """Who may still be at work on a stream, in words: all that nobody knows to have stopped. Reads only.

        Where history is kept, a stored owner has stopped if a ``STOP`` whose action's id is the owner's was recorded.
        """

    def record(self, stream: str, entries: Sequence[HistoryEntry], keep_for: timedelta) -> None:
        """Remember takeovers, batches and stops, in a transaction of its own; drop what is older than ``keep_for``.

        Nothing where ``keeps_history`` is false.
        """

    def history(
        self, stream: str, limit: int, kinds: Collection[ActionKind] = tuple(ActionKind)
    ) -> Sequence[HistoryEntry]:
        """All entries of the latest ``limit`` actions of these kinds, newest first. Reads only.

        Empty where ``keeps_history`` is false.
        """


__all__ = [
    "Action",
    "ActionKind",
    "AdministeredStore",
    "Change",
    "Decide",
    "HistoryEntry",
    "TopicState",
    "TopicStatus",
]
