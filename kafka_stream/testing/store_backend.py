"""What the stores' contract works with: the store under test, and short ways to claim and commit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from kafka_stream.errors import StoreUnavailable
from kafka_stream.protocols import OffsetStore
from kafka_stream.types import Claim, OffsetRange, Owner, StoredPosition, TopicPartition

STREAM = "orders"
TOPIC = "orders"
P0 = TopicPartition(TOPIC, 0)
P1 = TopicPartition(TOPIC, 1)
P2 = TopicPartition(TOPIC, 2)
OLDER = Owner("older-1f3a", "host-a", "v1")
NEWER = Owner("newer-9c2e", "host-b", None)


class StoreBackend(Protocol):
    """What the contract needs to know of a store: the one under test, and how to reach round it."""

    def store(self) -> OffsetStore:
        """A store of another process: not opened, sharing nothing but what is stored."""

    def write(self, transaction: Any, value: int) -> None:
        """What a sink does: add a result to the transaction."""

    def results(self) -> Sequence[int]:
        """The results that are durable, in any order."""


class EscapingBackend(StoreBackend, Protocol):
    """For stores whose transaction a handler could end itself."""

    def escape(self, transaction: Any) -> None:
        """What a handler that commits on its own does: make durable what the transaction holds so far."""


def next_offsets(store: OffsetStore) -> dict[TopicPartition, int]:
    """What is stored for the contract's stream."""
    return {tp: position.next_offset for tp, position in store.positions(STREAM).items()}


def epochs_of(positions: Mapping[TopicPartition, StoredPosition]) -> dict[TopicPartition, int]:
    """The owner epochs of stored positions."""
    return {tp: position.owner_epoch for tp, position in positions.items()}


def claim_of(
    owner: Owner,
    bounds: Mapping[TopicPartition, tuple[int, int]],
    positions: Mapping[TopicPartition, StoredPosition],
    stream: str = STREAM,
) -> Claim:
    """The claim of an owner that took over when these positions were stored."""
    ranges = tuple(OffsetRange(tp, *bounds[tp]) for tp in sorted(bounds))
    return Claim(stream, owner, ranges, epochs_of(positions), {}, {})


def commit(
    store: OffsetStore,
    owner: Owner,
    bounds: Mapping[TopicPartition, tuple[int, int]],
    epochs: Mapping[TopicPartition, int] | None = None,
) -> None:
    """Commit a batch without results, at the epochs that are stored unless others are given."""
    ranges = tuple(OffsetRange(tp, *bounds[tp]) for tp in sorted(bounds))
    current = epochs if epochs is not None else epochs_of(store.positions(STREAM))
    with store.begin(Claim(STREAM, owner, ranges, current, {}, {})) as transaction:
        transaction.advance()
        transaction.commit()


def taken_over(store: OffsetStore, owner: Owner) -> Mapping[TopicPartition, StoredPosition]:
    """Take both partitions over, however often the store is busy."""
    for _ in range(100):
        try:
            return store.take_over(STREAM, owner, [P0, P1], {})
        except StoreUnavailable as error:
            busy = error
    raise busy


def at_once(actions: Sequence[Callable[[], object]]) -> None:
    """Run all of them at the same time, each on a thread of its own; raise what one of them raises."""
    gate = threading.Barrier(len(actions))
    errors: list[BaseException] = []

    def run(action: Callable[[], object]) -> None:
        try:
            gate.wait(30)
            action()
        except BaseException as error:  # noqa: BLE001 - raised below, on the test's thread
            errors.append(error)

    threads = [threading.Thread(target=run, args=(action,), daemon=True) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "it hangs"
    if errors:
        raise errors[0]


__all__ = [
    "NEWER",
    "OLDER",
    "P0",
    "P1",
    "P2",
    "STREAM",
    "TOPIC",
    "EscapingBackend",
    "StoreBackend",
    "at_once",
    "claim_of",
    "commit",
    "epochs_of",
    "next_offsets",
    "taken_over",
]
