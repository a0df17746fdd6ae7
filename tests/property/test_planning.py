"""Planning, over everything that may be available and every limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_stream.engine.planning import PlanLimits, RateLimit, next_size, plan, plan_empty
from kafka_stream.types import OffsetRange, TopicPartition
from tests.fakes import BufferedRecords

PARTITIONS = [TopicPartition(topic, number) for topic in ("a", "b") for number in range(3)]


@dataclass
class Log:
    """A partition: where it is read from, its ``(offset, size)`` records, and where reading has come to."""

    start: int
    records: list[tuple[int, int]]
    position: int

    def buffered(self) -> BufferedRecords:
        return BufferedRecords(self.records, self.position)

    def take(self, r: OffsetRange) -> list[tuple[int, int]]:
        assert r.from_offset == self.start
        assert r.until_offset <= self.position
        taken = [one for one in self.records if one[0] < r.until_offset]
        self.records = self.records[len(taken) :]
        self.start = r.until_offset
        return taken


@st.composite
def _logs(draw: st.DrawFn) -> dict[TopicPartition, Log]:
    logs = {}
    for tp in draw(st.lists(st.sampled_from(PARTITIONS), unique=True, min_size=1)):
        offset = start = draw(st.integers(0, 50))
        records = []
        for gap, size in draw(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), max_size=12)):
            offset += gap
            records.append((offset, size))
            offset += 1
        logs[tp] = Log(start, records, offset + draw(st.integers(0, 3)))
    return logs


@st.composite
def _limits(draw: st.DrawFn, logs: Mapping[TopicPartition, Log]) -> PlanLimits:
    some = st.dictionaries(st.sampled_from(sorted(logs)), st.integers(0, 60))
    return PlanLimits(
        max_records=draw(st.integers(1, 30)),
        max_bytes=draw(st.integers(1, 150)),
        max_partitions=draw(st.none() | st.integers(1, 6)),
        max_records_per_partition=draw(st.none() | st.integers(1, 8)),
        allowances=draw(st.none() | st.dictionaries(st.sampled_from(sorted(logs)), st.integers(0, 8))),
        bounds=draw(st.none() | some),
    )


TURNS = st.none() | st.sampled_from(PARTITIONS)
LOGS_AND_LIMITS = _logs().flatmap(lambda logs: st.tuples(st.just(logs), _limits(logs)))


def _buffered(logs: Mapping[TopicPartition, Log]) -> dict[TopicPartition, BufferedRecords]:
    return {tp: log.buffered() for tp, log in logs.items()}


def _starts(logs: Mapping[TopicPartition, Log]) -> dict[TopicPartition, int]:
    return {tp: log.start for tp, log in logs.items()}


def _allowed(tp: TopicPartition, log: Log, limits: PlanLimits) -> int:
    bound = log.position if limits.bounds is None else limits.bounds.get(tp, 0)
    return min(
        sum(1 for offset, _ in log.records if offset < bound),
        len(log.records) if limits.max_records_per_partition is None else limits.max_records_per_partition,
        len(log.records) if limits.allowances is None else limits.allowances.get(tp, 0),
    )


@given(LOGS_AND_LIMITS, TURNS)
def test_ranges_are_sorted_one_per_partition_and_inside_what_is_available(
    given_: tuple[dict[TopicPartition, Log], PlanLimits], turn: TopicPartition | None
) -> None:
    logs, limits = given_
    for ranges in (
        plan(_buffered(logs), _starts(logs), limits, turn=turn).ranges,
        plan_empty(_buffered(logs), _starts(logs), limits).ranges,
    ):
        partitions = [r.topic_partition for r in ranges]
        assert partitions == sorted(set(partitions))
        for r in ranges:
            log = logs[r.topic_partition]
            assert r
            assert r.from_offset == log.start
            assert r.until_offset <= log.position
            if limits.bounds is not None:
                assert r.until_offset <= limits.bounds.get(r.topic_partition, 0)


@given(LOGS_AND_LIMITS, TURNS)
def test_limits_hold_but_for_one_oversized_record(
    given_: tuple[dict[TopicPartition, Log], PlanLimits], turn: TopicPartition | None
) -> None:
    logs, limits = given_
    found = plan(_buffered(logs), _starts(logs), limits, turn=turn)
    taken = {r.topic_partition: logs[r.topic_partition].take(r) for r in found.ranges}
    assert found.records == sum(map(len, taken.values()))
    assert found.value_bytes == sum(size for records in taken.values() for _, size in records)
    assert all(taken.values()), "a planned range holds a record"
    assert sum(map(len, taken.values())) <= limits.max_records
    for tp, records in taken.items():
        assert len(records) <= (limits.max_records_per_partition or len(records))
        if limits.allowances is not None:
            assert len(records) <= limits.allowances.get(tp, 0)
    sizes = [size for records in taken.values() for _, size in records if size]
    assert sum(sizes) <= limits.max_bytes or len(sizes) == 1


@given(LOGS_AND_LIMITS, TURNS)
def test_what_is_available_and_allowed_moves(
    given_: tuple[dict[TopicPartition, Log], PlanLimits], turn: TopicPartition | None
) -> None:
    logs, limits = given_
    allowed = any(_allowed(tp, log, limits) for tp, log in logs.items())
    assert bool(plan(_buffered(logs), _starts(logs), limits, turn=turn).ranges) == allowed


@given(LOGS_AND_LIMITS, TURNS)
def test_shares_are_fair_where_only_records_are_short(
    given_: tuple[dict[TopicPartition, Log], PlanLimits], turn: TopicPartition | None
) -> None:
    logs, limits = given_
    limits = replace(limits, max_bytes=10**9)
    wants = {tp: n for tp, log in logs.items() if (n := _allowed(tp, log, limits))}
    got = dict.fromkeys(wants, 0)
    for r in plan(_buffered(logs), _starts(logs), limits, turn=turn).ranges:
        got[r.topic_partition] = len(logs[r.topic_partition].take(r))
    assert sum(got.values()) == min(limits.max_records, sum(wants.values())), "no room is left unused"
    served = [tp for tp in wants if got[tp]]
    unmet = [tp for tp in (wants if limits.max_partitions is None else served) if got[tp] < wants[tp]]
    for tp in unmet:
        assert all(got[other] <= got[tp] + 1 for other in wants), "nobody gets more than one who wants more"
    if limits.max_partitions is not None and len(served) > limits.max_partitions:
        in_turn = sorted(served, key=lambda tp: (turn is not None and tp < turn, tp))
        assert sum(wants[tp] for tp in in_turn[:-1]) < limits.max_records, "more are served only to fill the batch"


@given(LOGS_AND_LIMITS, TURNS)
def test_nobody_starves_while_all_have_a_backlog(
    given_: tuple[dict[TopicPartition, Log], PlanLimits], turn: TopicPartition | None
) -> None:
    logs, limits = given_
    waiting = {tp for tp, log in logs.items() if _allowed(tp, log, limits)}
    served = set()
    for _ in range(len(logs)):  # nothing is taken: every turn finds the same backlog
        found = plan(_buffered(logs), _starts(logs), limits, turn=turn)
        served |= set(found.partitions)
        turn = found.turn or turn
    assert served == waiting


@given(_logs(), st.integers(1, 20), st.integers(1, 100))
def test_plan_and_take_lose_and_repeat_nothing(
    logs: dict[TopicPartition, Log], max_records: int, max_bytes: int
) -> None:
    limits = PlanLimits(max_records, max_bytes)
    expected = {tp: list(log.records) for tp, log in logs.items()}
    ends = {tp: log.position for tp, log in logs.items()}
    got: dict[TopicPartition, list[tuple[int, int]]] = {tp: [] for tp in logs}
    turn = None
    while (found := plan(_buffered(logs), _starts(logs), limits, turn=turn)).ranges:
        turn = found.turn or turn
        for r in found.ranges:
            got[r.topic_partition] += logs[r.topic_partition].take(r)
    for r in plan_empty(_buffered(logs), _starts(logs), limits).ranges:
        assert logs[r.topic_partition].take(r) == []
    assert got == expected
    assert _starts(logs) == ends


@given(_logs(), st.data())
def test_a_bounded_run_comes_to_its_bounds_and_not_past_them(
    logs: dict[TopicPartition, Log], data: st.DataObject
) -> None:
    bounds = {tp: data.draw(st.integers(0, log.position)) for tp, log in logs.items()}
    limits = PlanLimits(data.draw(st.integers(1, 20)), 10**9, bounds=bounds)
    ends = {tp: max(log.start, bounds[tp]) for tp, log in logs.items()}
    taken: dict[TopicPartition, list[tuple[int, int]]] = {tp: [] for tp in logs}
    expected = {tp: [one for one in log.records if one[0] < bounds[tp]] for tp, log in logs.items()}
    while ranges := (
        plan(_buffered(logs), _starts(logs), limits).ranges or plan_empty(_buffered(logs), _starts(logs), limits).ranges
    ):
        for r in ranges:
            taken[r.topic_partition] += logs[r.topic_partition].take(r)
    assert _starts(logs) == ends
    assert taken == expected


SIZES = st.integers(1, 100_000)
DURATIONS = st.floats(0, 1_000, allow_nan=False)


@given(SIZES, SIZES, DURATIONS, st.floats(0.001, 100), SIZES)
def test_the_next_size_is_bounded(size: int, records: int, duration: float, target: float, maximum: int) -> None:
    size, records = min(size, maximum), min(size, records, maximum)
    found = next_size(size, records, duration, target, maximum)
    assert 1 <= found <= maximum
    assert size // 4 <= found <= 2 * size + 1
    if records < size:
        assert found <= size


@given(SIZES, DURATIONS, DURATIONS, st.floats(0.001, 100), SIZES)
def test_a_slower_batch_never_leads_to_a_larger_one(
    size: int, one: float, other: float, target: float, maximum: int
) -> None:
    size = min(size, maximum)
    slow, fast = max(one, other), min(one, other)
    assert next_size(size, size, slow, target, maximum) <= next_size(size, size, fast, target, maximum)


@settings(max_examples=200)
@given(st.floats(1e-6, 1e-2), st.floats(0.0, 0.5), SIZES)
def test_sizes_converge_to_the_target_duration(per_record_s: float, per_batch_s: float, maximum: int) -> None:
    size = min(1_000, maximum)
    for _ in range(60):
        size = next_size(size, size, per_batch_s + size * per_record_s, 1.0, maximum)
    fits = int((1.0 - per_batch_s) / per_record_s)
    if fits >= maximum:
        assert size == maximum
    else:
        assert 0.5 * fits - 1 <= size <= fits + 1


@given(st.floats(0.1, 1_000), st.lists(st.tuples(st.floats(0, 5), st.integers(0, 50)), max_size=30))
def test_a_rate_is_never_exceeded(rate: float, steps: list[tuple[float, int]]) -> None:
    limit, tp, now, taken = RateLimit(rate), PARTITIONS[0], 0.0, 0
    for pause, wanted in steps:
        now += pause
        allowance = limit.allowances({tp: 0}, now)[tp]
        records = min(wanted, allowance)
        limit.spend(tp, records)
        taken += records
        assert allowance >= 0
        assert taken <= max(1.0, rate) + rate * now + 1e-6
