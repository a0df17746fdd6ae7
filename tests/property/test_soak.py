"""The soak's own laws: what it does is a function of its seed, what it says of results is what is wrong with them."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

from integration_tests.soak.judgement import Move, Read, expected, judge
from integration_tests.soak.pauses import Pauses
from integration_tests.soak.schedule import ASSIGNMENTS, KILLS, STORES, Fault, Setting, schedule
from kafka_stream.types import OF_EVERY_BATCH, Phase

SEEDS = st.integers(0, 2**31)
SETTINGS = st.builds(
    Setting,
    store=st.sampled_from(STORES),
    assignment=st.sampled_from(ASSIGNMENTS),
    seconds=st.floats(0, 600),
    pace_s=st.floats(0.5, 5),
    brokers=st.sampled_from([0, 1, 3]),
)


# The schedule ---------------------------------------------------------------------------------------------------------


@given(SEEDS, SETTINGS)
def test_a_seed_and_a_setting_are_a_schedule(seed: int, setting: Setting) -> None:
    assert schedule(seed, setting) == schedule(seed, replace(setting))


@given(SEEDS, SETTINGS, st.floats(0, 300))
def test_a_longer_soak_begins_as_a_shorter_one(seed: int, setting: Setting, more: float) -> None:
    shorter, longer = schedule(seed, setting), schedule(seed, replace(setting, seconds=setting.seconds + more))
    assert longer[: len(shorter)] == shorter


@given(SEEDS, SETTINGS)
def test_other_seeds_and_pairings_are_other_schedules(seed: int, setting: Setting) -> None:
    there = schedule(seed, setting)
    assume(len(there) > 5)
    assert schedule(seed + 1, setting) != there
    for assignment in set(ASSIGNMENTS) - {setting.assignment}:
        assert schedule(seed, replace(setting, assignment=assignment)) != there


@given(SEEDS, SETTINGS)
def test_faults_come_in_order_in_time_and_only_where_they_can_be(seed: int, setting: Setting) -> None:
    events = schedule(seed, setting)
    assert [event.number for event in events] == list(range(len(events)))
    times = [event.at_s for event in events]
    assert times == sorted(times)
    assert all(0 <= at_s < setting.seconds for at_s in times)
    assert {event.fault for event in events} <= set(setting.faults())
    assert {event.phase for event in events} <= set(OF_EVERY_BATCH)
    if setting.store == "sqlite":  # whoever is frozen inside a transaction would keep everybody out
        frozen = {event.phase for event in events if event.fault is Fault.FROZEN}
        assert not frozen & {Phase.AFTER_CLAIM, Phase.AFTER_WRITE, Phase.AFTER_ADVANCE}


def test_a_long_schedule_has_every_fault_at_every_phase() -> None:
    for store in STORES:
        for assignment in ASSIGNMENTS:
            setting = Setting(store, assignment, 3_000, 0.5, brokers=1)
            events = schedule(1, setting)
            assert {event.fault for event in events} == set(setting.faults())
            at_phases = {event.phase for event in events if event.fault is Fault.KILLED_AT_PHASE}
            assert at_phases == set(OF_EVERY_BATCH)
            assert sum(event.fault in KILLS for event in events) > len(events) / 2


# What is said of results ----------------------------------------------------------------------------------------------


@st.composite
def processed(draw: st.DrawFn) -> tuple[list[Read], list[Read], list[Move]]:
    """Committed records, what a right stream has made of them through some moves, and those moves."""
    committed: list[Read] = []
    results: list[Read] = []
    moves: list[Move] = []
    for partition in range(draw(st.integers(1, 3))):
        offsets = sorted(draw(st.sets(st.integers(0, 30), min_size=1, max_size=15)))
        records = [Read(partition, at, f"key-{draw(st.integers(0, 3))}", f"committed {at}") for at in offsets]
        committed += records
        at = 0
        for _ in range(draw(st.integers(0, 3))):
            until = draw(st.integers(at, 31))
            results += [it for it in records if at <= it.offset < until]
            moves.append(Move(partition, until, at := draw(st.integers(0, until))))
        results += [it for it in records if it.offset >= at]
    return committed, results, moves


@given(processed())
def test_what_a_right_stream_leaves_is_exactly_once(run: tuple[list[Read], list[Read], list[Move]]) -> None:
    committed, results, moves = run
    verdict = judge(committed, results, moves)
    assert verdict.is_exactly_once, verdict
    assert (verdict.records, verdict.results) == (len(committed), len(results))
    assert sum(len(it) for it in expected(committed, moves).values()) == len(results)


@given(processed(), st.data())
def test_whatever_is_lost_or_repeated_is_counted(
    run: tuple[list[Read], list[Read], list[Move]], data: st.DataObject
) -> None:
    committed, results, moves = run
    lost = data.draw(st.sets(st.integers(0, len(results) - 1), max_size=3))
    repeated = data.draw(st.lists(st.sampled_from(results), max_size=3))
    unknown = data.draw(st.integers(0, 2))
    found = (
        [it for number, it in enumerate(results) if number not in lost]
        + repeated
        + [Read(0, 99, None, "aborted")] * unknown
    )
    difference = Counter(found)
    difference.subtract(results)
    verdict = judge(committed, found, moves)
    assert verdict.lost == sum(-times for times in difference.values() if times < 0)
    assert verdict.unexpected == unknown
    assert verdict.repeated == sum(times for it, times in difference.items() if times > 0 and it.offset != 99)
    assert verdict.is_exactly_once == (not any(difference.values()) and not verdict.disordered)


@given(processed(), st.randoms(use_true_random=False))
def test_the_order_of_a_key_is_looked_at_and_no_other(
    run: tuple[list[Read], list[Read], list[Move]], chance: random.Random
) -> None:
    committed, results, moves = run
    shuffled = results.copy()
    chance.shuffle(shuffled)
    keys: dict[tuple[int, str | None], list[int]] = defaultdict(list)
    should: dict[tuple[int, str | None], list[int]] = defaultdict(list)
    for found, into in ((shuffled, keys), (results, should)):
        for record in found:
            into[record.partition, record.key].append(record.offset)
    verdict = judge(committed, shuffled, moves)
    assert verdict.disordered == sum(keys[key] != should[key] for key in should)
    assert (verdict.lost, verdict.repeated, verdict.unexpected) == (0, 0, 0)


# How long nothing was committed ---------------------------------------------------------------------------------------


def reasons(faults: list[tuple[str, int, int]], first: float, last: float) -> set[str]:
    """The faults that were on for half of a time, counted in small steps; else all that were on in it."""
    steps = range(int(2 * first), int(2 * last))
    on = Counter(name for at in steps for name in {it[0] for it in faults if 2 * it[1] <= at < 2 * (it[1] + it[2])})
    return {name for name, times in on.items() if 2 * times >= len(steps)} or set(on)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 5)), max_size=30),
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 60), st.integers(0, 20)), max_size=6),
)
def test_the_longest_pause_is_found_with_what_was_on(
    commits: list[tuple[int, int]], faults: list[tuple[str, int, int]]
) -> None:
    pauses, now, at = Pauses(), 0.0, defaultdict[int, list[float]](list)
    for name, began_at, lasts in faults:
        pauses.begin(name, began_at).ended_at = began_at + lasts
    for partition, after in commits:
        now += after
        at[partition].append(now)
        pauses.committed([partition], now)
    pauses.finish(now + 3)
    spans = [
        (last - first, partition, reasons(faults, first, last))
        for partition, times in at.items()
        for first, last in zip(times, [*times[1:], now + 3], strict=True)
    ]
    longest = max((seconds for seconds, _, _ in spans), default=0.0)
    assert pauses.longest.seconds == longest
    if spans:
        assert (longest, pauses.longest.partition, set(pauses.longest.faults)) in spans
    by_fault = {name: max((it[0] for it in spans if name in it[2]), default=0.0) for name, _, _ in faults}
    assert pauses.by_fault == {name: seconds for name, seconds in by_fault.items() if seconds}
