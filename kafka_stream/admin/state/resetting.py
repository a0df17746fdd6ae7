"""A reset of offsets that clears, in the same transaction, what sinks have kept of the records before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kafka_stream.admin.actions import discarding, new_action, patiently
from kafka_stream.admin.refusals import planned_range, refuse
from kafka_stream.admin.reset import Reset
from kafka_stream.admin.reset_plan import ResetPlan
from kafka_stream.admin.state.kept import KeptState, kept_state, known_state, of_all_partitions, stateful, table_rows
from kafka_stream.protocols import (
    Action,
    ActionKind,
    Change,
    Clearing,
    RangeSink,
    Sink,
    StateDescription,
    StateStore,
    StoredState,
)
from kafka_stream.types import PositionState, StoredPosition, TopicPartition


@dataclass(frozen=True, slots=True)
class StateReset:
    """What is cleared with a reset: ``kept`` with the rows that it is about, and what forbids it.

    ``stays`` are the open partitions that do not move: where state is of all partitions, their owners are fenced, too,
    and go on from where they are.
    """

    kept: Sequence[KeptState]
    stays: Sequence[TopicPartition]
    refusals: Sequence[str]

    @property
    def rows(self) -> Mapping[str, int]:
        """How many rows of each table."""
        return table_rows(self.kept)


def plan_state_reset(
    store: StateStore, reset: Reset, sinks: Sequence[Sink] = (), *, clears_shared: bool = False
) -> StateReset:
    """What ``execute_state_reset`` would clear now; reads only.

    ``clears_shared`` says that state which is made of all partitions is cleared although only some of them move.

    Raises:
        StoreUnavailable, NotAuthorized.
    """
    kept = kept_state(store, reset.stream, sinks, list(reset.logs))
    stays = _staying(reset, store.positions(reset.stream))
    return StateReset(kept, sorted(stays), _why_not(reset, kept, stays, clears_shared=clears_shared))


def execute_state_reset(
    store: StateStore,
    reset: Reset,
    *,
    actor: str | None = None,
    sinks: Sequence[Sink] = (),
    clears_shared: bool = False,
) -> tuple[ResetPlan, Mapping[str, int]]:
    """As ``execute_reset``, and clear state in the same transaction; the plan as it was executed, and the rows deleted.

    ``sinks`` are the application's, which clear what they keep by themselves; what they do not know, or all of it
    without an application, is cleared by the store's register.

    Raises:
        CommandRefused: some partition must not be moved, or some state must not be cleared; nothing was changed.
        StoreUnavailable, SinkUnavailable, NotAuthorized.
    """
    clearing = _ClearingReset(store, reset, sinks, new_action(ActionKind.RESET, actor), clears_shared)
    store.open()
    cleared = patiently(store, clearing.attempt)
    return clearing.executed[-1], cleared


@dataclass(frozen=True, slots=True)
class _ClearingReset:
    """What is tried until the store has an answer; ``executed`` are the plans that it came to."""

    store: StateStore
    reset: Reset
    sinks: Sequence[Sink]
    action: Action
    clears_shared: bool
    executed: list[ResetPlan] = field(default_factory=list)

    def attempt(self) -> Mapping[str, int]:
        """Once more, with the partitions that there are by now."""
        kept = known_state(self.store, self.reset.stream, self.sinks)
        partitions = set(self.reset.logs)
        if of_all_partitions(kept):
            partitions |= self.store.positions(self.reset.stream).keys()
        range_sinks = [sink for sink in self.sinks if isinstance(sink, RangeSink)]

        def decide(stored: Mapping[TopicPartition, StoredPosition]) -> Sequence[Change]:
            stays = _staying(self.reset, stored)
            plan = self.reset.plan(stored, range_sinks)
            reasons = [str(partition.refusal) for partition in plan.refused]
            reasons += _why_not(self.reset, kept, stays, clears_shared=self.clears_shared)
            refuse(self.reset.stream, self.store.describe(), reasons)
            self.executed.append(plan)
            return [*plan.changes(), *(_unmoved(tp, position) for tp, position in stays.items())]

        clearing = Clearing(sorted(self.reset.logs), stateful(self.sinks))
        deciding = discarding(decide, range_sinks)
        return self.store.change_and_clear(self.reset.stream, partitions, self.action, deciding, clearing)


def _staying(reset: Reset, stored: Mapping[TopicPartition, StoredPosition]) -> dict[TopicPartition, StoredPosition]:
    """The open partitions that are not to move."""
    return {
        tp: position for tp, position in stored.items() if tp not in reset.logs and position.state is PositionState.OPEN
    }


def _unmoved(tp: TopicPartition, position: StoredPosition) -> Change:
    """Its owner is fenced: what it remembers of state that is cleared holds no more."""
    return Change(tp, position.next_offset, position.leader_epoch, position.topic_id)


def _why_not(
    reset: Reset,
    kept: Sequence[KeptState],
    stays: Mapping[TopicPartition, StoredPosition],
    *,
    clears_shared: bool,
) -> list[str]:
    reasons = [_of_others(state.stored) for state in kept if state.stored is not None and state.stored.also_of]
    shared = of_all_partitions(kept)
    if not shared or not stays:
        return reasons
    planned = (planned_range(tp, position) for tp, position in sorted(stays.items()))
    reasons += [f"{it} is planned and not committed, and is to stay: reset it, too" for it in planned if it is not None]
    return reasons if clears_shared else [*reasons, _of_all(reset, shared[0], sorted(stays))]


def _of_others(state: StoredState) -> str:
    return (
        f"table {state.described.table} is not of this stream alone: {', '.join(map(repr, state.also_of))} keeps state "
        "in it, too; delete this stream's rows by hand"
    )


def _of_all(reset: Reset, shared: StateDescription, stays: Sequence[TopicPartition]) -> str:
    first = ", ".join(map(str, stays[:3])) + (", …" if len(stays) > 3 else "")
    return (
        f"{shared.name!r} in table {shared.table} is made of all partitions' records, and {len(stays)} of "
        f"{len(stays) + len(reset.logs)} stay where they are ({first}): what they have given would be cleared and not "
        "read again; reset all partitions, or say --clear-shared-state if that is meant"
    )


__all__ = ["StateReset", "execute_state_reset", "plan_state_reset"]
