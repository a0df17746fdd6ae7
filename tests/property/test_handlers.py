"""Whatever user code does with what it receives: every record reaches every sink exactly once, or the stream refuses.

Handlers that read in every way, consume what they read, defer what they do, or fail for a while; several of them on
what one ``prepare`` gives, whatever that is; batches cut anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from kafka_stream.batch import Batch
from kafka_stream.errors import ConfigurationError, ProcessingError, SinkUnavailable
from kafka_stream.testing import MemoryKafka, MemoryOffsetStore
from kafka_stream.types import OffsetRange, Owner, TopicPartition, Writes
from tests.handlers import HANDLERS, PREPARES, Place, consumes, listed, reads, reads_and_clears
from tests.simulation import ResultsStore, Simulation


class Recording:
    """A sink around a handler; the results of the n-th go where only they go."""

    number = 0

    def __init__(self, handler: Callable[[Any, Any], Any], fails_at: set[int]) -> None:
        self.handler, self.fails_at = handler, fails_at
        self.calls = 0

    def fail(self) -> None:
        self.calls += 1
        if self.calls in self.fails_at:
            raise SinkUnavailable("for a while")

    def add_to(self, transaction: Any) -> Callable[[Place], None]:
        return lambda place: transaction.rows.append((self.number, *place))

    def as_sink(self) -> Any:
        return self


class Function(Recording):
    """A plain function; what kind the handler is shows when it returns, or, as a decorator leaves it, before."""

    def __init__(self, handler: Callable[[Any, Any], Any], fails_at: set[int], shows: bool) -> None:
        super().__init__(handler, fails_at)
        self.shows = shows

    def as_sink(self) -> Any:
        def write(prepared: Any, transaction: Any) -> Any:
            self.fail()
            return self.handler(prepared, self.add_to(transaction))

        return wraps(self.handler)(write) if self.shows else write


class Preparing(Recording):
    """Reads what it gets in its own prepare, as most of our sinks do."""

    writes, needs = Writes.THROUGH_TRANSACTION, None

    def describe(self) -> str:
        return f"sink {self.number}"

    def prepare(self, prepared: Any) -> list[Place]:
        places: list[Place] = []
        self.handler(prepared, places.append)
        return places

    def write(self, prepared: list[Place], transaction: Any) -> None:
        self.fail()
        for place in prepared:
            self.add_to(transaction)(place)


class Files(Recording):
    """Results by range, in what stands for files."""

    writes, needs = Writes.IDEMPOTENT_BY_RANGE, None

    def __init__(self, handler: Callable[[Any, Any], Any], fails_at: set[int]) -> None:
        super().__init__(handler, fails_at)
        self.files: dict[OffsetRange, list[Place]] = {}

    def describe(self) -> str:
        return f"files {self.number}"

    def prepare(self, prepared: Any) -> list[Place]:
        places: list[Place] = []
        self.handler(prepared, places.append)
        return places

    def write(self, prepared: Mapping[OffsetRange, list[Place]], transaction: object) -> None:
        self.fail()
        self.files.update(prepared)

    def take_over(self, stream: str, owner: Owner, partitions: Sequence[TopicPartition]) -> None:
        """Nothing is left half written."""

    def discard(self, planned: OffsetRange) -> None:
        self.files.pop(planned, None)


FAILURES = st.sets(st.integers(1, 4), max_size=2)
READING = st.sampled_from([reads, consumes, reads_and_clears])
SINKS = st.lists(
    st.builds(Function, st.sampled_from(HANDLERS), FAILURES, st.booleans())
    | st.builds(Preparing, READING, FAILURES)
    | st.builds(Files, READING, FAILURES),
    min_size=1,
    max_size=3,
)


def _run(
    prepare: Callable[[Batch], Any] | None, sinks: list[Recording], records: list[int], batch_records: int
) -> tuple[str, list[list[Place]], dict[TopicPartition, int]]:
    """How it ended, what each sink has of what is committed, and how far that is."""
    for number, sink in enumerate(sinks):
        sink.number = number
    kafka, store = MemoryKafka({"orders": 3}), ResultsStore(MemoryOffsetStore())
    for partition in records:
        kafka.produce("orders", "v", partition=partition)
    given = [sink.as_sink() for sink in sinks]
    ended = "to the end"
    try:
        Simulation(kafka, store, prepare=prepare, sink=given, max_records_per_batch=batch_records).run("latest")
    except (ConfigurationError, ProcessingError) as error:
        ended = f"refused: {error}"
    committed = {tp: position.next_offset for tp, position in store.positions("s").items()}
    return ended, [_results(sink, store, committed) for sink in sinks], committed


def _results(sink: Recording, store: ResultsStore, committed: Mapping[TopicPartition, int]) -> list[Place]:
    if not isinstance(sink, Files):
        rows: list[Any] = list(store.rows)  # of a number here, where others write a topic
        return [(partition, offset) for number, partition, offset in rows if number == sink.number]
    ends = {tp.partition: end for tp, end in committed.items()}
    return [(p, offset) for places in sink.files.values() for p, offset in places if offset < ends.get(p, 0)]


@settings(max_examples=6 * settings().max_examples)
@example(listed, [Function(reads, set(), False), Preparing(consumes, set())], [0], 1)
@given(st.sampled_from(PREPARES), SINKS, st.lists(st.integers(0, 2), min_size=1, max_size=12), st.integers(1, 6))
def test_every_record_reaches_every_sink_exactly_once_or_the_stream_refuses(
    prepare: Callable[[Batch], Any] | None, sinks: list[Recording], records: list[int], batch_records: int
) -> None:
    ended, results, committed = _run(prepare, sinks, records, batch_records)
    event(ended.split(":")[0])
    expected = [(tp.partition, offset) for tp, end in sorted(committed.items()) for offset in range(end)]
    assert [sorted(result) for result in results] == [expected] * len(sinks), ended
    if ended == "to the end":
        assert len(expected) == len(records)
