"""Pure: what a consumer does with each partition that is ours, one state for each."""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from kafka_stream.types import TopicPartition


class Fetch(enum.Enum):
    """What librdkafka does with one of our partitions."""

    DETACHED = "detached"  # it has not been told that the partition is ours
    WAITING = "waiting"  # paused until its start is made
    FLOWING = "flowing"
    HELD_BACK = "held back"  # paused because the buffers are full
    HALTED = "halted"  # it has stopped after an error, and goes on only if the partition is attached anew


@dataclass(frozen=True, slots=True)
class Start:
    """Where one partition is to be read from; ``generation`` tells it from other starts of that partition."""

    offset: int
    leader_epoch: int | None
    generation: int


@dataclass(frozen=True, slots=True)
class PartitionState:
    """One of our partitions: what is done with it, and the start that it waits for, if any.

    Each method is one thing that may happen to it, and is called where it may happen only.
    """

    fetch: Fetch = Fetch.DETACHED
    start: Start | None = None

    @property
    def is_attached(self) -> bool:
        """Whether librdkafka knows it as assigned."""
        return self.fetch is not Fetch.DETACHED

    @property
    def must_be_attached(self) -> bool:
        """Whether a seek would reach nothing: it is not attached, or has to be attached anew."""
        return self.fetch in {Fetch.DETACHED, Fetch.HALTED}

    @property
    def is_paused(self) -> bool:
        """Whether librdkafka knows it as paused, so that nothing of it is fetched."""
        return self.fetch in {Fetch.WAITING, Fetch.HELD_BACK}

    def attached(self, fetch: Fetch) -> PartitionState:
        """It was attached, or attached anew, ``WAITING`` or ``FLOWING``."""
        assert self.must_be_attached, f"attached while {self.fetch}"
        assert fetch in {Fetch.WAITING, Fetch.FLOWING}, f"attached as {fetch}"
        return replace(self, fetch=fetch)

    def held_back(self) -> PartitionState:
        """It was paused because the buffers are full."""
        assert self.fetch is Fetch.FLOWING, f"held back while {self.fetch}"
        return replace(self, fetch=Fetch.HELD_BACK)

    def resumed(self) -> PartitionState:
        """It was resumed."""
        assert self.is_paused, f"resumed while {self.fetch}"
        return replace(self, fetch=Fetch.FLOWING)

    def halted(self) -> PartitionState:
        """An error stopped it; one of a partition that is not attached is from before that."""
        return replace(self, fetch=Fetch.HALTED) if self.is_attached else self

    def starting(self, start: Start) -> PartitionState:
        """It is to be read from somewhere; the newest start counts."""
        return PartitionState(Fetch.WAITING if self.is_paused else self.fetch, start)

    def started(self) -> PartitionState:
        """Its start was made, or is void."""
        return replace(self, start=None)


class PartitionStates:
    """The states of all partitions that are ours. What is asked for between two polls is found without a search."""

    def __init__(self) -> None:
        self._states: dict[TopicPartition, PartitionState] = {}
        self._starting: Mapping[TopicPartition, Start] = {}
        self._paused: Collection[TopicPartition] = ()
        self._have_changed = False

    def __contains__(self, partition: object) -> bool:
        """Whether a partition is ours."""
        return partition in self._states

    def __getitem__(self, partition: TopicPartition) -> PartitionState:
        """The state of one of ours."""
        return self._states[partition]

    @property
    def partitions(self) -> AbstractSet[TopicPartition]:
        """All that are ours."""
        return self._states.keys()

    @property
    def starting(self) -> Mapping[TopicPartition, Start]:
        """Those that wait for a start."""
        self._look()
        return self._starting

    @property
    def paused(self) -> Collection[TopicPartition]:
        """Those that are paused."""
        self._look()
        return self._paused

    def add(self, partitions: Iterable[TopicPartition], fetch: Fetch) -> None:
        """These are ours from now on."""
        for partition in partitions:
            self._states[partition] = PartitionState(fetch)
        self._have_changed = True

    def remove(self, partitions: Iterable[TopicPartition]) -> None:
        """These are not ours any more."""
        for partition in partitions:
            self._states.pop(partition, None)
        self._have_changed = True

    def start(self, starts: Mapping[TopicPartition, Start]) -> None:
        """Those of these that are still ours are to be read from there."""
        for partition, start in starts.items():
            if (state := self._states.get(partition)) is not None:
                self._states[partition] = state.starting(start)
        self._have_changed = True

    def change(
        self, partitions: Iterable[TopicPartition], happened: Callable[[PartitionState], PartitionState]
    ) -> None:
        """The same has happened to all of these, which are ours."""
        for partition in partitions:
            self._states[partition] = happened(self._states[partition])
        self._have_changed = True

    def _look(self) -> None:
        if self._have_changed:
            self._starting = {p: state.start for p, state in self._states.items() if state.start is not None}
            self._paused = {p for p, state in self._states.items() if state.is_paused}
            self._have_changed = False


__all__ = ["Fetch", "PartitionState", "PartitionStates", "Start"]
