"""What may happen to one partition of a consumer, and what it is afterwards."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kafka_stream.source.consumer.partition_states import Fetch, PartitionState, PartitionStates, Start
from kafka_stream.types import TopicPartition

P0, P1, P2 = (TopicPartition("orders", number) for number in range(3))
START = Start(7, None, 1)

Change = Callable[[PartitionState], PartitionState]


def attached(state: PartitionState) -> PartitionState:
    return state.attached(Fetch.FLOWING)


def attached_waiting(state: PartitionState) -> PartitionState:
    return state.attached(Fetch.WAITING)


DETACHED, WAITING, FLOWING, HELD_BACK, HALTED = Fetch
CHANGES: dict[Change, dict[Fetch, Fetch]] = {
    attached: {DETACHED: FLOWING, HALTED: FLOWING},
    attached_waiting: {DETACHED: WAITING, HALTED: WAITING},
    PartitionState.held_back: {FLOWING: HELD_BACK},
    PartitionState.resumed: {WAITING: FLOWING, HELD_BACK: FLOWING},
    PartitionState.halted: {
        DETACHED: DETACHED,
        WAITING: HALTED,
        FLOWING: HALTED,
        HELD_BACK: HALTED,
        HALTED: HALTED,
    },
}
"""What each change makes of which state; of the others it must not happen."""


@pytest.mark.parametrize("start", [None, START], ids=["started", "starting"])
@pytest.mark.parametrize("before", Fetch)
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_each_change_of_each_state(before: Fetch, change: Change, start: Start | None) -> None:
    if before in CHANGES[change]:
        assert change(PartitionState(before, start)) == PartitionState(CHANGES[change][before], start)
    else:
        with pytest.raises(AssertionError, match=before.name):
            change(PartitionState(before, start))


@pytest.mark.parametrize("fetch", Fetch)
def test_a_start_waits_in_every_state_and_what_is_paused_is_so_until_it_is_made(fetch: Fetch) -> None:
    waiting = PartitionState(fetch).starting(Start(3, None, 1)).starting(START)
    after = WAITING if fetch in {WAITING, HELD_BACK} else fetch
    assert waiting == PartitionState(after, START)
    assert waiting.started() == PartitionState(after)
    assert waiting.is_paused is (after is WAITING)


def test_the_states_know_who_waits_and_who_is_paused() -> None:
    states = PartitionStates()
    states.add([P0, P1], WAITING)
    states.add([P2], DETACHED)
    assert (set(states.paused), states.starting, states.partitions) == ({P0, P1}, {}, {P0, P1, P2})
    states.start({P0: START, P2: START, TopicPartition("orders", 9): START})
    states.change([P1], PartitionState.resumed)
    assert (set(states.paused), states.starting) == ({P0}, {P0: START, P2: START})
    states.remove([P0])
    assert (set(states.paused), states.starting, states.partitions) == (set(), {P2: START}, {P1, P2})
    states.change([P2], PartitionState.started)
    assert states.starting == {}
