"""The loop with a sink that is idempotent by range: what was planned is repeated exactly, whatever has changed."""

from __future__ import annotations

from typing import Any

import pytest

from kafka_stream.batch import Batch
from kafka_stream.engine.processing import BatchProcessor
from kafka_stream.errors import LogTruncated, OffsetOutOfRange, OutstandingPlan, SinkUnavailable, StoreUnavailable
from kafka_stream.progress import Listeners
from kafka_stream.protocols import OffsetStore, StoreCapabilities
from kafka_stream.testing import MemoryKafka, MemoryOffsetStore
from kafka_stream.types import Claim, OffsetRange, Owner, Phase, PlanKind
from kafka_stream.user_code import FunctionSink
from tests.fakes import ORDERS_0, ORDERS_1, record
from tests.property.worlds import FilesWorld
from tests.simulation import ResultsStore, Simulation


class Killed(BaseException):
    """SIGKILL, as far as one thread can tell."""


class World(FilesWorld):
    """Two partitions of twenty records; each process start writes what stands for files."""

    def __init__(self) -> None:
        super().__init__()
        self.kafka = MemoryKafka({"orders": 2})
        for partition in (0, 1):
            self.produce(20, partition)

    def produce(self, count: int, partition: int = 0) -> None:
        for _ in range(count):
            self.kafka.produce("orders", "x", partition=partition)

    def start(self, **settings: Any) -> Simulation:
        store = ResultsStore(self.process())
        return Simulation(self.kafka, store, **{"sink": self.sink(lambda records: None)} | settings)

    def die_at(self, phase: Phase, **settings: Any) -> None:
        run = self.start(**settings)

        def die() -> None:
            raise Killed

        run.story.on[phase] = die
        with pytest.raises(Killed):
            run.run("latest")

    def once(self, per_partition: int = 20) -> None:
        assert self.rows() == [("orders", p, offset) for p in (0, 1) for offset in range(per_partition)]
        stored = self.process().positions("s").values()
        assert {(position.next_offset, position.planned_until) for position in stored} == {(per_partition, None)}


@pytest.fixture
def world() -> World:
    return World()


class WithoutPlans:
    """A third party's store."""

    def __init__(self, inner: OffsetStore) -> None:
        self._inner = inner
        self.capabilities = StoreCapabilities(transaction="theirs", compare_and_set=True, durable_plan=False)

    def plan(self, claim: Claim) -> None:
        pytest.fail("it cannot")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


LEFT_BEHIND = [Phase.AFTER_PLAN, Phase.AFTER_CLAIM, Phase.AFTER_WRITE, Phase.AFTER_ADVANCE]


@pytest.mark.parametrize("phase", LEFT_BEHIND)
def test_a_restart_repeats_exactly_the_planned_ranges_whatever_the_limits_are_now(world: World, phase: Phase) -> None:
    world.die_at(phase, max_records_per_batch=30)
    planned = [OffsetRange(ORDERS_0, 0, 15), OffsetRange(ORDERS_1, 0, 15)]
    world.produce(5)
    world.produce(5, 1)
    run = world.start(max_records_per_batch=1, max_bytes_per_batch=1, max_rate_per_partition=3, interval_s=0.5)
    run.run("latest")
    assert run.story.batches[0].ranges == tuple(planned)
    assert set(run.story.sizes[1:]) == {1}
    world.once(25)


def test_a_restart_that_owns_one_of_the_planned_partitions_repeats_that_one(world: World) -> None:
    world.die_at(Phase.AFTER_WRITE, max_records_per_batch=30)
    for shard in ("static:1/2", "static:0/2"):
        run = world.start(assignment=shard)
        run.run("latest")
        assert len(run.story.batches[0].ranges) == 1
        assert len(run.story.batches[0].ranges[0]) == 15
    world.once()


def test_a_bound_inside_a_planned_range_does_not_cut_it(world: World) -> None:
    world.die_at(Phase.AFTER_WRITE, max_records_per_batch=30)
    run = world.start()
    run.run({ORDERS_0: 7, ORDERS_1: 18})
    assert run.next_offsets() == {ORDERS_0: 15, ORDERS_1: 18}


@pytest.mark.parametrize("step", ["plan", "begin", "advance", "commit"])
def test_a_batch_that_fails_for_a_moment_is_repeated_exactly_though_more_has_come(world: World, step: str) -> None:
    run = world.start()
    run.store.failures[step] = [StoreUnavailable("away")]
    run.story.on[Phase.AFTER_PREPARE] = lambda: world.produce(1) if not run.story.retries else None
    run.at(5.0, run.stop)
    run.run()
    assert run.story.batches[0].ranges == (OffsetRange(ORDERS_0, 0, 20), OffsetRange(ORDERS_1, 0, 20))
    assert [r.until_offset for r in sorted(world.files)] == [20, 21, 20]


def test_a_plan_that_took_effect_without_an_answer_is_not_taken_for_somebody_elses(world: World) -> None:
    run = world.start()
    plan = run.store.plan

    def lose_the_answer(claim: Any) -> None:
        run.store.plan = plan  # type: ignore[method-assign]
        plan(claim)
        world.produce(5)
        raise StoreUnavailable("the connection broke")

    run.store.plan = lose_the_answer  # type: ignore[method-assign]
    run.at(5.0, run.stop)
    run.run()
    assert sorted(world.files) == [
        OffsetRange(ORDERS_0, 0, 20),
        OffsetRange(ORDERS_0, 20, 25),
        OffsetRange(ORDERS_1, 0, 20),
    ]


@pytest.mark.parametrize("answer", ["before", "after"])
def test_an_unknown_commit_of_a_planned_range_is_settled(world: World, answer: str) -> None:
    run = world.start(max_records_per_batch=7)
    run.store.lost_answers = [answer, answer]
    run.run("latest")
    world.once()


def test_a_failing_prepare_leaves_no_plan_behind(world: World) -> None:
    def prepare(batch: Batch) -> Batch:
        raise SinkUnavailable("the lookup is down")

    run = world.start(prepare=prepare)
    run.story.on[Phase.AFTER_FETCH] = lambda: run.stop() if run.story.retries else None
    run.run()
    assert {position.planned_until for position in world.process().positions("s").values()} == {None}


def test_a_plan_is_not_repeated_by_a_sink_of_another_kind(world: World) -> None:
    world.die_at(Phase.AFTER_WRITE)
    run = world.start(sink=lambda batch, transaction: pytest.fail("its results would be there twice"))
    with pytest.raises(OutstandingPlan, match=r"orders\[0\] \[0, 20\).*start it with that sink again"):
        run.run("latest")


def test_a_store_that_keeps_no_plans_is_not_asked_for_one(world: World) -> None:
    run = world.start(guarantee="at-least-once")
    run.store.inner = WithoutPlans(run.store.inner)
    run.run("latest")
    world.once()


def test_only_batches_with_records_are_planned(world: World) -> None:
    world.kafka.skip("orders", 0, 5)
    run = world.start()
    run.run("latest")
    world.kafka.skip("orders", 0, 5)
    planned: list[PlanKind] = []
    run = world.start()
    begin = run.store.begin

    def watched(claim: Claim) -> Any:
        planned.append(claim.plan_kind)
        return begin(claim)

    run.store.begin = watched  # type: ignore[method-assign]
    run.run("latest")
    assert planned == [PlanKind.TRANSACTION]


# ------------------------------------------------------------------------------------------------------ records gone


def test_planned_records_that_are_gone_stop_the_stream(world: World) -> None:
    world.die_at(Phase.AFTER_WRITE)
    world.kafka.delete_records("orders", 0, 10)
    with pytest.raises(OffsetOutOfRange):
        world.start().run("latest")
    assert world.process().positions("s")[ORDERS_0].planned_until == 20


def test_going_on_elsewhere_discards_what_was_written_of_the_plan(world: World) -> None:
    world.die_at(Phase.AFTER_WRITE)
    world.kafka.delete_records("orders", 0, 10)
    world.produce(5)
    run = world.start(on_data_loss="earliest")
    run.run("latest")
    assert world.rows() == [("orders", 0, n) for n in range(10, 25)] + [("orders", 1, n) for n in range(20)]
    assert run.next_offsets() == {ORDERS_0: 25, ORDERS_1: 20}


def test_a_plan_that_ends_beyond_a_truncated_log_is_data_loss(world: World) -> None:
    world.die_at(Phase.AFTER_PLAN)
    world.kafka.truncate("orders", 0, 12)
    with pytest.raises(LogTruncated, match="below offset 20"):
        world.start().run("latest")


# ----------------------------------------------------------------------------------------------------------- prepare


def test_user_code_sees_each_range_by_itself_and_other_sinks_see_the_whole_batch() -> None:
    world, store = FilesWorld(), MemoryOffsetStore()
    seen: list[tuple[OffsetRange, ...]] = []

    def prepare(batch: Batch) -> Batch:
        seen.append(batch.ranges)
        return batch

    files, function = world.sink(lambda records: None), FunctionSink(lambda prepared, transaction: None)
    processor = BatchProcessor(store=store, prepare=prepare, sinks=[files, function], listeners=Listeners([]))
    ranges = (OffsetRange(ORDERS_0, 0, 5), OffsetRange(ORDERS_1, 0, 5))
    batch = Batch(ranges, {ORDERS_0: [record(1)], ORDERS_1: []})
    by_range, whole = processor.prepare(batch).values
    assert by_range == {ranges[0]: [("orders", 0, 1)]}
    assert whole is batch
    assert sorted(seen) == [ranges[:1], ranges]
    alone = BatchProcessor(store=store, prepare=prepare, sinks=[files], listeners=Listeners([]))
    seen.clear()
    alone.prepare(batch)
    assert seen == [ranges[:1]]
    for one in (processor, alone):
        one.close()


def test_the_sink_takes_over_before_anything_is_read(world: World) -> None:
    taken: list[Any] = []
    sink = world.sink(lambda records: None)
    sink.take_over = lambda stream, owner, partitions: taken.append((stream, owner, list(partitions), world.rows()))
    run = world.start(sink=sink)
    run.run("latest")
    assert taken == [("s", run.owner, [ORDERS_0, ORDERS_1], [])]
    assert isinstance(run.owner, Owner)
