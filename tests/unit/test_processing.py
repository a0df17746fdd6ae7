"""One batch through user code and the store's transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from kafka_stream.batch import Batch
from kafka_stream.engine.processing import BatchDropped
from kafka_stream.errors import (
    CommitOutcomeUnknown,
    KafkaStreamError,
    OwnershipLost,
    ProcessingError,
    RecordError,
    SinkUnavailable,
    StoreUnavailable,
    TransactionEscaped,
)
from kafka_stream.failures.results import Results
from kafka_stream.progress import Listeners, StreamListener
from kafka_stream.protocols import Sink
from kafka_stream.types import OffsetRange, Phase, TopicPartition, Writes
from kafka_stream.user_code import FunctionSink
from tests.fakes import ORDERS_0, record
from tests.processing_bench import (
    BATCH,
    CLAIM,
    EMPTY,
    Bench,
    DatabaseGone,
    OverlappingStorySink,
    StorySink,
    Transaction,
)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.processor.close()


def test_claim_first_advance_last_and_every_phase_told(bench: Bench) -> None:
    bench.run()
    assert bench.story == [
        "begin",
        "after_claim",
        "write sink",
        "after_write",
        "advance",
        "after_advance",
        "commit",
        "after_commit",
    ]


def test_an_empty_batch_moves_without_user_code(bench: Bench) -> None:
    bench.uses(prepare=lambda batch: 1 / 0)
    bench.run(EMPTY)
    assert bench.story == [
        "begin",
        "after_claim",
        "after_write",
        "advance",
        "after_advance",
        "commit",
        "after_commit",
    ]


def test_the_next_batch_is_gone_on_with_when_this_one_is_claimed(bench: Bench) -> None:
    bench.run()
    assert bench.gone_on[0] == "after_claim"


def test_a_sink_that_knows_when_the_server_is_at_work_says_when(bench: Bench) -> None:
    bench.uses(sinks=[OverlappingStorySink(bench, "copy")])
    bench.run()
    assert bench.gone_on[0] == "write copy"


def test_what_no_sink_has_gone_on_with_is_gone_on_with_before_the_offsets_advance(bench: Bench) -> None:
    bench.run(EMPTY)
    assert bench.gone_on == ["after_claim"]


def test_each_sink_takes_what_it_prepared_in_the_order_given(bench: Bench) -> None:
    one, two = StorySink(bench, "one"), StorySink(bench, "two")
    bench.uses(prepare=lambda batch: [m.value() for m in batch], sinks=[one, two])
    bench.run()
    assert [step for step in bench.story if step.startswith("write")] == ["write one", "write two"]
    assert (one.written, two.written) == ([("one", [b"a", b"b"])], [("two", [b"a", b"b"])])


def test_without_prepare_the_sink_gets_the_batch(bench: Bench) -> None:
    got: list[Any] = []
    bench.uses(sinks=[FunctionSink(lambda prepared, transaction: got.append((prepared, transaction)))])
    bench.run()
    assert got == [(BATCH, bench.transaction)]


def test_a_function_is_described_by_its_name() -> None:
    def write_orders(prepared: Any, transaction: Any) -> None:
        raise NotImplementedError

    sink = FunctionSink(write_orders)
    assert sink.describe().endswith("write_orders")
    assert (sink.writes, sink.needs) == (Writes.THROUGH_TRANSACTION, None)
    assert isinstance(sink, Sink)


def test_an_async_prepare_runs_on_one_loop_across_batches(bench: Bench) -> None:
    loops = []

    async def prepare(batch: Batch) -> list[Any]:
        await asyncio.sleep(0)
        loops.append(asyncio.get_running_loop())
        return [m.value() for m in batch]

    bench.uses(prepare=prepare)
    assert bench.processor.prepare(BATCH).values == [("sink", [b"a", b"b"])]
    assert bench.processor.prepare(BATCH).values == [("sink", [b"a", b"b"])]
    assert loops[0] is loops[1], "clients that belong to a loop go on working"


def test_an_async_prepare_is_complete_before_the_transaction_opens(bench: Bench) -> None:
    async def prepare(batch: Batch) -> Batch:
        await asyncio.sleep(0)
        bench.story.append("enriched")
        return batch

    bench.uses(prepare=prepare)
    bench.run()
    assert bench.story[:2] == ["enriched", "begin"]


def test_a_failing_prepare_opens_no_transaction_and_chains_its_cause(bench: Bench) -> None:
    async def prepare(batch: Batch) -> None:
        raise ZeroDivisionError("by zero")

    bench.uses(prepare=prepare)
    with pytest.raises(
        ProcessingError,
        match=r"^prepare failed on orders\[0\] \[0, 5\): ZeroDivisionError: by zero; nothing of the batch was commi",
    ) as caught:
        bench.run()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert bench.story == []


def test_a_failing_sink_rolls_back_names_itself_and_chains_its_cause(bench: Bench) -> None:
    bench.uses(sinks=[bench.sink("one"), bench.sink("two", KeyError("price")), bench.sink("three")])
    with pytest.raises(ProcessingError, match=r"^two failed on orders\[0\] \[0, 5\): KeyError: 'price'") as caught:
        bench.run()
    assert isinstance(caught.value.__cause__, KeyError)
    assert bench.story[-3:] == ["write one", "write two", "rollback"]


def test_many_ranges_are_named_by_the_first_three(bench: Bench) -> None:
    ranges = tuple(OffsetRange(TopicPartition("orders", n), 0, 5) for n in range(5))
    bench.uses(prepare=lambda batch: 1 / 0)
    with pytest.raises(
        ProcessingError, match=r"on orders\[0\] \[0, 5\), orders\[1\] .*, orders\[2\] \[0, 5\), …: Zero"
    ):
        bench.processor.prepare(Batch(ranges, {ORDERS_0: [record(0)]}))


@pytest.mark.parametrize(
    "error",
    [RecordError("no price", topic="orders", partition=0, offset=3), SinkUnavailable("x"), TransactionEscaped("x")],
    ids=lambda error: type(error).__name__,
)
def test_what_user_code_says_in_our_own_words_stays_as_it_is(bench: Bench, error: KafkaStreamError) -> None:
    bench.uses(sinks=[bench.sink("sink", error)])
    with pytest.raises(type(error)) as caught:
        bench.run()
    assert caught.value is error
    assert bench.story[-1] == "rollback"


def test_what_the_store_knows_as_its_own_is_transient(bench: Bench) -> None:
    bench.uses(sinks=[bench.sink("sink", DatabaseGone())])
    with pytest.raises(StoreUnavailable) as caught:
        bench.run()
    assert isinstance(caught.value.__cause__, DatabaseGone)


def test_a_sink_that_returns_an_awaitable_is_refused_and_rolled_back(bench: Bench) -> None:
    async def write(prepared: Any, transaction: Any) -> None:
        raise NotImplementedError

    bench.uses(sinks=[FunctionSink(lambda prepared, transaction: write(prepared, transaction))])
    with pytest.raises(ProcessingError, match=r"returned an awaitable, which nobody awaits: do async work in prepare"):
        bench.run()
    assert bench.story[-1] == "rollback"


def test_so_is_one_whose_overlapping_write_does(bench: Bench) -> None:
    async def write() -> None:
        raise NotImplementedError

    bench.uses(sinks=[OverlappingStorySink(bench, "copy", returns=write())])
    with pytest.raises(ProcessingError, match=r"^copy returned an awaitable, which nobody awaits"):
        bench.run()
    assert bench.story[-1] == "rollback"


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("advance", TransactionEscaped("x")),
        ("advance", OwnershipLost("x")),
        ("commit", StoreUnavailable("x")),
        ("commit", CommitOutcomeUnknown("x")),
    ],
)
def test_what_the_store_says_at_the_end_rolls_back(bench: Bench, step: str, error: Exception) -> None:
    bench.transaction.failures[step] = error
    with pytest.raises(type(error)):
        bench.run()
    assert bench.story[-2:] == [step, "rollback"]
    assert "after_commit" not in bench.story


def test_a_claim_that_is_refused_reaches_no_sink(bench: Bench) -> None:
    bench.transaction.failures["begin"] = OwnershipLost("x")
    with pytest.raises(OwnershipLost):
        bench.run()
    assert bench.story == ["begin"]


def test_a_batch_whose_time_ran_out_is_rolled_back_before_it_advances(bench: Bench) -> None:
    with pytest.raises(BatchDropped, match="the stop's time ran out"):
        bench.run(may_commit=lambda: False)
    assert bench.story[-3:] == ["write sink", "after_write", "rollback"]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("phase", [Phase.AFTER_CLAIM, Phase.AFTER_WRITE, Phase.AFTER_ADVANCE])
def test_what_is_no_exception_is_not_held_back_and_rolls_back(bench: Bench, phase: Phase) -> None:
    class Killing(StreamListener):
        def on_phase(self, at: Phase, ranges: tuple[OffsetRange, ...]) -> None:
            if at is phase:
                raise Killed

    bench.processor._listeners = Listeners([Killing()])
    with pytest.raises(Killed):
        bench.run()
    assert bench.story[-1] == "rollback"


def test_of_many_pieces_the_next_batch_is_looked_for_at_the_first_alone(bench: Bench) -> None:
    bench.uses(sinks=[StorySink(bench, "sink")])
    bench.processor.commit(Results(BATCH, pieces=[[n] for n in range(50)]), CLAIM, bench.go_on, _always, bench.again)
    assert bench.story.count("write sink") == 50
    assert len(bench.gone_on) == 2  # and once behind all writes


def _always() -> bool:
    return True


def test_durations_are_of_their_parts(bench: Bench) -> None:
    seconds = {"begin": 1.0, "write": 2.0, "advance": 4.0, "commit": 8.0}

    class Ticking(Transaction):
        def _step(self, name: str) -> None:
            bench.time += seconds[name]

    bench.transaction = Ticking(bench.story)
    bench.uses(sinks=[FunctionSink(lambda p, t: t._step("write"))])
    prepared = bench.processor.prepare(BATCH)
    timings = bench.processor.commit(prepared, CLAIM, bench.go_on, lambda: True, bench.again)
    assert (timings.prepare_s, timings.claim_s, timings.write_s, timings.commit_s) == (0.0, 1.0, 2.0, 12.0)
