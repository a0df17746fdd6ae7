"""A model of a store and its owners: who takes over, commits, crashes or wakes up late, in any order.

The model keeps what must be true: positions move only by committed ranges, each of which begins where the last one
ended or where an operator has put it, only the newest owner commits, and the results are exactly the records of the
committed ranges.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from kafka_stream.errors import KafkaStreamError, OwnershipLost, StoreUnavailable, TransactionEscaped
from kafka_stream.protocols import Action, ActionKind, Change, OffsetStore, StoreTransaction
from kafka_stream.types import Claim, OffsetRange, Owner, StoredPosition, TopicPartition
from tests.property.worlds import MemoryWorld, Row, SqliteWorld, World

STREAM = "s"
PARTITIONS = [TopicPartition("orders", number) for number in range(3)]
SOME = st.lists(st.sampled_from(PARTITIONS), unique=True, min_size=1)


def _records(r: OffsetRange) -> list[Row]:
    """Every third offset is a marker."""
    return [(r.topic, r.partition, offset) for offset in range(r.from_offset, r.until_offset) if offset % 3]


@dataclass(eq=False)
class Process:
    """One owner: what it believes, and the transaction that it is in the middle of."""

    owner: Owner
    store: OffsetStore
    positions: dict[TopicPartition, int] = field(default_factory=dict)
    epochs: dict[TopicPartition, int] = field(default_factory=dict)
    claim: Claim | None = None
    context: AbstractContextManager[StoreTransaction] | None = None
    transaction: Any = None
    advanced: bool = False
    unsettled: Claim | None = None

    @property
    def idle(self) -> bool:
        return self.transaction is None and self.unsettled is None

    def end(self) -> None:
        """Leave the transaction without (another) commit, as a crash does."""
        context, self.context, self.transaction, self.claim, self.advanced = self.context, None, None, None, False
        if context is not None:
            context.__exit__(None, None, None)


class Owners(RuleBasedStateMachine):
    """See the module."""

    make_world: type[MemoryWorld | SqliteWorld]
    processes = Bundle("processes")

    def __init__(self) -> None:
        super().__init__()
        self.world: World = self.make_world()
        self.looking = self.world.process()
        self.alive: list[Process] = []
        self.count = 0
        self.positions: dict[TopicPartition, int] = {}
        self.holders: dict[TopicPartition, tuple[Owner, int]] = {}
        self.epochs: dict[TopicPartition, int] = {}
        self.expected: list[Row] = []

    # ----------------------------------------------------------------------------------------------- what may happen

    @initialize(starts=st.tuples(*[st.integers(0, 5)] * len(PARTITIONS)))
    def first_start(self, starts: tuple[int, ...]) -> None:
        self.looking.initialise(STREAM, "orders", dict(enumerate(starts)), "id")
        self.looking.initialise(STREAM, "orders", dict.fromkeys(range(len(starts)), 999), "id")  # changes nothing
        self.positions = dict(zip(PARTITIONS, starts, strict=True))

    @rule(target=processes, partitions=SOME | st.just(PARTITIONS))
    def start(self, partitions: list[TopicPartition]) -> Process:
        self.count += 1
        process = Process(Owner(f"owner-{self.count}", "here"), self.world.process())
        self.alive.append(process)
        self.take_over(process, partitions)
        return process

    @rule(process=processes, partitions=SOME)
    def take_over(self, process: Process, partitions: list[TopicPartition]) -> None:
        if not process.idle:
            return
        blocked = self.world.exclusive and self._in_transaction()
        try:
            found = process.store.take_over(STREAM, process.owner, partitions, {"orders": "id"})
        except StoreUnavailable:
            assert blocked, "nothing was in the way"
            return
        assert not blocked
        assert sorted(found) == sorted(partitions)
        for tp, position in found.items():
            assert position.next_offset == self.positions[tp], "positions are read after the epoch was raised"
            assert position.owner == process.owner
            self._raised(tp, process, position.owner_epoch)
            process.positions[tp] = position.next_offset

    @rule(
        process=processes,
        lengths=st.dictionaries(st.sampled_from(PARTITIONS), st.integers(1, 6), min_size=1),
        stopped_after=st.sampled_from(["claim", "advance", "commit"]),
    )
    def work(self, process: Process, lengths: Mapping[TopicPartition, int], stopped_after: str) -> None:
        self._begin(process, lengths)
        if stopped_after != "claim":
            self._write(process)
        if stopped_after == "commit":
            self._commit(process, "heard")

    @rule(process=processes, answer=st.sampled_from(["heard", "lost", "lost before"]))
    def wake_up(self, process: Process, answer: str) -> None:
        self._write(process)
        if answer == "lost before":
            if process.advanced:
                process.unsettled = process.claim
                process.end()
        else:
            self._commit(process, answer)

    def _begin(self, process: Process, lengths: Mapping[TopicPartition, int]) -> None:
        ranges = tuple(
            OffsetRange(tp, process.positions[tp], process.positions[tp] + lengths[tp])
            for tp in sorted(lengths)
            if tp in process.positions
        )
        if not ranges or not process.idle or (self.world.exclusive and self._in_transaction()):
            return
        epochs = {r.topic_partition: process.epochs[r.topic_partition] for r in ranges}
        claim = Claim(STREAM, process.owner, ranges, epochs, {}, {"orders": "id"})
        context = process.store.begin(claim)
        try:
            transaction = context.__enter__()
        except OwnershipLost as lost:
            assert not self._owns(claim), "a claim of the newest owner holds"
            assert lost.range is not None
            return
        except StoreUnavailable:
            assert self._in_transaction(), "only somebody's transaction is a reason"
            return
        assert self._owns(claim), "a stale owner is refused before it writes"
        process.claim, process.context, process.transaction = claim, context, transaction

    def _write(self, process: Process) -> None:
        if process.transaction is None or process.advanced:
            return
        assert process.claim is not None
        for r in process.claim.ranges:
            self.world.add(process.transaction, _records(r))
        try:
            process.transaction.advance()
            process.advanced = True
        except KafkaStreamError:
            assert not self._owns(process.claim)
            process.end()

    def _commit(self, process: Process, answer: str) -> None:
        if not process.advanced:
            return
        claim = process.claim
        assert claim is not None
        try:
            process.transaction.commit()
        except (StoreUnavailable, TransactionEscaped, OwnershipLost):
            assert not self._owns(claim), "a commit of the newest owner holds"
            process.end()
            return
        assert self._owns(claim), "only the newest owner commits"
        process.end()
        self._committed(claim)
        if answer == "heard":
            self._moved(process, claim)
        else:
            process.unsettled = claim

    @rule(process=processes)
    def settle(self, process: Process) -> None:
        claim = process.unsettled
        if claim is None or (self.world.exclusive and self._in_transaction()):
            return
        try:
            found = process.store.reclaim(claim)
        except OwnershipLost:
            assert not self._still_holds(claim), "it is ours: the outcome can be told"
            process.unsettled = None
            return
        assert self._still_holds(claim)
        process.unsettled = None
        for tp, position in found.items():
            assert position.next_offset == self.positions[tp]
            self._raised(tp, process, position.owner_epoch)
            process.positions[tp] = position.next_offset

    @rule(process=processes)
    def fail(self, process: Process) -> None:
        """A handler raises: the batch is rolled back and tried again."""
        process.end()

    @rule(process=consumes(processes))
    def crash(self, process: Process) -> None:
        process.end()
        self.alive.remove(process)

    @rule(target=processes, process=consumes(processes))
    def stop_and_wake_up_as_another(self, process: Process) -> Any:
        """A process that goes on with what it believes, beside a copy of what it was: the worst of zombies."""
        if not process.idle:
            return multiple(process)
        twin = Process(process.owner, self.world.process(), dict(process.positions), dict(process.epochs))
        self.alive.append(twin)
        return multiple(process, twin)

    @rule(process=processes, offset=st.integers(0, 20), partitions=SOME)
    def move(self, process: Process, offset: int, partitions: list[TopicPartition]) -> None:
        """Positions are moved without records: the user's choice after a data loss."""
        moved = sorted(tp for tp in partitions if tp in process.epochs)
        if not moved or not process.idle or self._in_transaction():
            return
        ranges = tuple(OffsetRange(tp, offset, offset) for tp in moved)
        claim = Claim(STREAM, process.owner, ranges, {tp: process.epochs[tp] for tp in moved}, {}, {"orders": "id"})
        try:
            process.store.reposition(claim)
        except OwnershipLost:
            assert not self._still_holds(claim)
            return
        assert self._still_holds(claim)
        for tp in moved:
            self.positions[tp] = process.positions[tp] = offset

    @rule(offsets=st.dictionaries(st.sampled_from(PARTITIONS), st.integers(0, 20), min_size=1))
    def operate(self, offsets: Mapping[TopicPartition, int]) -> None:
        """An operator moves positions, whoever is in the middle of what."""
        self.count += 1
        blocked = self.world.exclusive and self._in_transaction()
        seen: list[Mapping[TopicPartition, StoredPosition]] = []

        def decide(stored: Mapping[TopicPartition, StoredPosition]) -> list[Change]:
            seen.append(stored)
            return [Change(tp, offset, topic_id="id") for tp, offset in offsets.items()]

        action = Action(f"reset-{self.count}", ActionKind.RESET, "operator")
        try:
            found = self.looking.change(STREAM, offsets, action, decide)
        except StoreUnavailable:
            assert blocked, "nothing was in the way"
            return
        assert not blocked
        assert {tp: p.next_offset for tp, p in seen[-1].items()} == {tp: self.positions[tp] for tp in offsets}
        for tp, position in found.items():
            assert position.owner is None
            assert position.owner_epoch > self.epochs.get(tp, -1), "epochs only grow"
            self.epochs[tp] = position.owner_epoch
            self.holders.pop(tp, None)
            self.positions[tp] = offsets[tp]

    # -------------------------------------------------------------------------------------------------- what must hold

    @invariant()
    def the_store_holds_what_was_committed(self) -> None:
        if self.positions:
            found = self.looking.positions(STREAM)
            assert {tp: position.next_offset for tp, position in found.items()} == self.positions
            assert {tp: position.planned_until for tp, position in found.items()} == dict.fromkeys(PARTITIONS)

    @invariant()
    def the_results_are_the_records_of_the_committed_ranges(self) -> None:
        assert sorted(self.world.rows()) == sorted(self.expected)

    def teardown(self) -> None:
        for process in self.alive:
            process.end()
        self.world.close()

    # ---------------------------------------------------------------------------------------------------------- inside

    def _in_transaction(self) -> bool:
        return any(process.transaction is not None for process in self.alive)

    def _raised(self, tp: TopicPartition, process: Process, epoch: int) -> None:
        assert epoch > self.epochs.get(tp, -1), "epochs only grow"
        self.epochs[tp] = process.epochs[tp] = epoch
        self.holders[tp] = (process.owner, epoch)

    def _still_holds(self, claim: Claim) -> bool:
        return all(
            self.holders.get(r.topic_partition) == (claim.owner, claim.epochs[r.topic_partition]) for r in claim.ranges
        )

    def _owns(self, claim: Claim) -> bool:
        return self._still_holds(claim) and all(
            self.positions[r.topic_partition] == r.from_offset for r in claim.ranges
        )

    def _committed(self, claim: Claim) -> None:
        for r in claim.ranges:
            assert self.positions[r.topic_partition] == r.from_offset, "ranges are contiguous"
            self.positions[r.topic_partition] = r.until_offset
            self.expected += _records(r)

    def _moved(self, process: Process, claim: Claim) -> None:
        for r in claim.ranges:
            process.positions[r.topic_partition] = r.until_offset


@pytest.mark.parametrize(
    ("world", "examples", "steps"), [(MemoryWorld, 100, 50), (SqliteWorld, 15, 30)], ids=["memory", "sqlite"]
)
def test_owners_never_lose_nor_repeat(world: type[MemoryWorld | SqliteWorld], examples: int, steps: int) -> None:
    machine = type("OwnersOf" + world.__name__, (Owners,), {"make_world": world})
    thorough = settings.get_current_profile_name() == "thorough"
    run_state_machine_as_test(
        machine, settings=settings(max_examples=examples * (10 if thorough else 1), stateful_step_count=steps)
    )
