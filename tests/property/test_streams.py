"""Whole streams under everything at once: gaps, transactions, limits, crashes at every point, answers that are lost.

Whatever happens, every committed record is in the results once, each partition's in order, and no aborted one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_stream.errors import ProcessingError, SinkUnavailable, StoreUnavailable
from kafka_stream.testing import MemoryKafka
from kafka_stream.testing.memory.kafka import MemoryTransaction
from kafka_stream.types import Phase, TopicPartition
from tests.property.accidents import (
    DEATHS,
    Change,
    Death,
    Killed,
    change_meanwhile,
    check_order,
    countdown,
    die_at,
    throw,
)
from tests.property.worlds import FilesWorld, MemoryWorld, Row, SqliteWorld, World
from tests.simulation import ResultsStore, Simulation


class Log:
    """A ``MemoryKafka``, and what a read-committed reader must get out of it."""

    def __init__(self, partitions: int) -> None:
        self.kafka = MemoryKafka({"orders": partitions})
        self.partitions = partitions
        self.visible: list[Row] = []
        self._open: list[tuple[MemoryTransaction, list[Row]]] = []

    def produce(self, partition: int, count: int) -> None:
        for _ in range(count):
            partition %= self.partitions
            self.visible.append(("orders", partition, self.kafka.produce("orders", "xyz", partition=partition)))

    def skip(self, partition: int, count: int) -> None:
        self.kafka.skip("orders", partition % self.partitions, count)

    def begin(self, partition: int, count: int) -> None:
        transaction = self.kafka.open_transaction()
        numbers = [(partition + i) % self.partitions for i in range(count)]
        self._open.append(
            (transaction, [("orders", n, transaction.produce("orders", "t", partition=n)) for n in numbers])
        )

    def commit(self, which: int, _: int = 0) -> None:
        if self._open:
            transaction, rows = self._open.pop(which % len(self._open))
            transaction.commit()
            self.visible += rows

    def abort(self, which: int, _: int = 0) -> None:
        if self._open:
            self._open.pop(which % len(self._open))[0].abort()

    def elect(self, partition: int, _: int) -> None:
        self.kafka.elect_leader("orders", partition % self.partitions)

    def grow(self, _: int, __: int) -> None:
        if self.partitions < 4:
            self.partitions += 1
            self.kafka.add_partitions("orders", self.partitions)

    def end_transactions(self) -> None:
        while self._open:
            self.commit(0)


CHANGES = st.tuples(
    st.sampled_from(["produce", "produce", "skip", "begin", "commit", "abort", "elect", "grow"]),
    st.integers(0, 3),
    st.integers(1, 6),
)


@dataclass(frozen=True)
class Plan:
    """One process start: what happens to the topic before and meanwhile, and what goes wrong."""

    before: list[Change]
    meanwhile: list[Change]
    settings: dict[str, Any]
    bounded: bool
    die_at: Death
    prepare: str | None
    prepare_fails_at: int | None
    handler_fails_at: int | None
    sink_is_away_at: int | None
    fenced_at: int | None
    lost_answers: list[str]
    store_is_away: dict[str, int]


SETTINGS = st.fixed_dictionaries(
    {
        "assignment": st.sampled_from(["static", "group"]),
        "max_records_per_batch": st.integers(1, 10),
        "max_bytes_per_batch": st.integers(1, 60),
        "max_records_per_partition": st.none() | st.integers(1, 4),
        "max_rate_per_partition": st.none() | st.integers(1, 20),
        "interval_s": st.none() | st.floats(0.1, 3),
        "target_batch_duration_s": st.sampled_from([0.01, 1.0]),
        "start": st.just("earliest"),
    }
)
SOMETIME = st.none() | st.integers(0, 4)
PLANS = st.builds(
    Plan,
    before=st.lists(CHANGES, max_size=6),
    meanwhile=st.lists(CHANGES, max_size=4),
    settings=SETTINGS,
    bounded=st.booleans(),
    die_at=DEATHS,
    prepare=st.sampled_from([None, "plain", "async"]),
    prepare_fails_at=SOMETIME,
    handler_fails_at=SOMETIME,
    sink_is_away_at=SOMETIME,
    fenced_at=SOMETIME,
    lost_answers=st.lists(st.sampled_from(["before", "after"]), max_size=2),
    store_is_away=st.dictionaries(
        st.sampled_from(["open", "initialise", "take_over", "plan", "begin", "advance", "commit", "reclaim"]),
        st.integers(1, 2),
    ),
)


def _prepare(kind: str | None, fails_at: int | None) -> Callable[[Any], Any] | None:
    """It gives the batch as it is, of which the next one is prepared while it is written and committed."""
    fail = countdown(fails_at, lambda: throw(SinkUnavailable("what prepare asks is away")))

    def plain(batch: Any) -> Any:
        fail()
        return batch

    async def waiting(batch: Any) -> Any:
        await asyncio.sleep(0)
        return plain(batch)

    return {"plain": plain, "async": waiting}.get(kind or "")


def _process(log: Log, world: World, plan: Plan) -> None:
    store = ResultsStore(world.process())
    store.lost_answers = list(plan.lost_answers)
    store.failures = {name: [StoreUnavailable("away")] * times for name, times in plan.store_is_away.items()}
    fail = countdown(plan.handler_fails_at, lambda: throw(ValueError("a handler's own fault")))
    be_away = countdown(plan.sink_is_away_at, lambda: throw(SinkUnavailable("away")))

    def told(records: int) -> None:
        run.clock.sleep(0.003 * records)
        be_away()
        fail()

    prepare = _prepare(plan.prepare, plan.prepare_fails_at)
    run = Simulation(log.kafka, store, sink=world.sink(told), prepare=prepare, **plan.settings)
    die_at(run, plan.die_at)
    partitions = [TopicPartition("orders", number) for number in range(log.partitions)]
    fence = countdown(plan.fenced_at, lambda: store.inner.take_over("s", run.owner, partitions, {}))
    if plan.die_at is None or plan.die_at[0] is not Phase.AFTER_FETCH:
        run.story.on[Phase.AFTER_FETCH] = fence
    change_meanwhile(run, plan.meanwhile, log, every_s=0.2)
    run.at(12.0, run.stop)
    with contextlib.suppress(Killed, ProcessingError):
        run.run("latest" if plan.bounded else None)


def _check(plans: list[Plan], partitions: int, world: World) -> None:
    log = Log(partitions)
    for plan in plans:
        for change, one, two in plan.before:
            getattr(log, change)(one, two)
        _process(log, world, plan)
        check_order(world.rows())
        assert set(world.rows()) <= set(log.visible)
    log.end_transactions()
    final = Simulation(log.kafka, ResultsStore(world.process()), sink=world.sink(lambda records: None))
    final.run("latest")
    check_order(world.rows())
    assert sorted(world.rows()) == sorted(log.visible)
    ends = {tp: log.kafka.log(tp).end for tp in final.next_offsets()}
    assert final.next_offsets() == ends, "markers at the end are progress too"


@pytest.mark.parametrize(
    ("make", "examples"),
    [(MemoryWorld, 100), (FilesWorld, 100), (SqliteWorld, 10)],
    ids=["memory", "files by range", "sqlite"],
)
def test_every_committed_record_is_in_the_results_once(make: type[MemoryWorld | SqliteWorld], examples: int) -> None:
    @settings(max_examples=examples * (10 if settings.get_current_profile_name() == "thorough" else 1))
    @given(st.lists(PLANS, min_size=1, max_size=5), st.integers(1, 3))
    def check(plans: list[Plan], partitions: int) -> None:
        world = make()
        try:
            _check(plans, partitions, world)
        finally:
            world.close()

    check()
