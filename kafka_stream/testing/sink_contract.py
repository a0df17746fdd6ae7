"""The promise of ``protocols.Sink`` as tests: every sink passes the class that fits its writes (needs pytest).

Subclass ``TransactionSinkContract`` (or ``RangeSinkContract`` of ``range_sink_contract``, or ``SinkContract`` for
other writes) and define the fixture ``backend``; for a sink that is given a function from a batch to its results, add
``SinkFunctionContract`` and define ``sink_of``.
"""
# ruff: noqa: D102 - a test's name says what it shows

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterator
from typing import Any, NoReturn

import pytest

from kafka_stream.batch import Batch
from kafka_stream.errors import ConfigurationError, ProcessingError, RecordError
from kafka_stream.protocols import Sink
from kafka_stream.testing.sink_backend import (
    P0,
    P1,
    P2,
    SinkBackend,
    batch_from,
    merged,
    numbers_of,
    prepared_for,
    write_and_commit,
)
from kafka_stream.types import Writes


class SinkContract:
    """Every sink passes this class."""

    @pytest.fixture
    def backend(self) -> SinkBackend:
        """The sink under test; subclasses define it."""
        raise NotImplementedError

    @pytest.fixture
    def sink(self, backend: SinkBackend) -> Sink:
        """The sink of the first process."""
        return backend.sink()

    # What it says of itself -----------------------------------------------------------------------------------------

    def test_it_is_a_sink(self, sink: Sink) -> None:
        assert isinstance(sink, Sink)
        assert isinstance(sink.writes, Writes)

    def test_what_it_says_of_itself_is_constant(self, backend: SinkBackend, sink: Sink) -> None:
        said = (sink.writes, sink.needs, sink.describe())
        write_and_commit(backend, sink, batch_from([1]))
        other = backend.sink()
        assert (sink.writes, sink.needs, sink.describe()) == said == (other.writes, other.needs, other.describe())

    def test_the_transaction_that_it_needs_has_a_name(self, sink: Sink) -> None:
        assert sink.needs is None or sink.needs.strip()

    def test_the_description_says_where_the_results_go_without_a_secret(self, backend: SinkBackend, sink: Sink) -> None:
        assert sink.describe().strip()
        assert "\n" not in sink.describe()
        shown = f"{sink.describe()} {sink} {sink!r}"
        assert [secret for secret in backend.secrets() if secret in shown] == []

    # Preparing ------------------------------------------------------------------------------------------------------

    def test_building_and_preparing_shows_nothing_outside(self, backend: SinkBackend, sink: Sink) -> None:
        assert backend.results() == []
        prepared_for(sink, batch_from([1, 2, 3]))
        assert backend.results() == []

    def test_preparing_again_gives_the_same_results_once(self, backend: SinkBackend, sink: Sink) -> None:
        batch = batch_from([1, 2, 3])
        for _ in range(3):
            prepared_for(sink, batch)
        write_and_commit(backend, sink, batch)
        assert backend.results() == [1, 2, 3]

    def test_the_next_batch_may_be_prepared_before_the_last_one_is_written(
        self, backend: SinkBackend, sink: Sink
    ) -> None:
        first, second = prepared_for(sink, batch_from([1, 2])), prepared_for(sink, batch_from([3, 4], from_offset=2))
        for prepared in (first, second):
            with backend.transaction() as transaction:
                sink.write(prepared, transaction)
                backend.commit(transaction)
        assert backend.results() == [1, 2, 3, 4]

    # Writing --------------------------------------------------------------------------------------------------------

    def test_batches_are_written_one_after_the_other(self, backend: SinkBackend, sink: Sink) -> None:
        for offset in range(0, 30, 3):
            write_and_commit(backend, sink, batch_from([offset, offset + 1, offset + 2], from_offset=offset))
        assert backend.results() == list(range(30))

    def test_results_keep_their_order_within_a_partition(self, backend: SinkBackend, sink: Sink) -> None:
        parts = {tp: range(start, start + 100) for tp, start in ((P0, 1_000), (P1, 2_000), (P2, 3_000))}
        write_and_commit(backend, sink, merged(*(batch_from(numbers, tp) for tp, numbers in parts.items())))
        results = backend.results()
        assert sorted(results) == [number for numbers in parts.values() for number in numbers]
        for numbers in parts.values():
            assert [number for number in results if number in numbers] == list(numbers)

    def test_a_batch_may_have_no_results(self, backend: SinkBackend, sink: Sink) -> None:
        write_and_commit(backend, sink, batch_from([None, None]), batch_from([7, None], from_offset=2))
        assert backend.results() == [7]

    def test_a_large_batch(self, backend: SinkBackend, sink: Sink) -> None:
        write_and_commit(backend, sink, batch_from(range(2_000)))
        assert backend.results() == list(range(2_000))

    def test_a_successor_writes_on(self, backend: SinkBackend, sink: Sink) -> None:
        write_and_commit(backend, sink, batch_from([1, 2]))
        write_and_commit(backend, backend.sink(), batch_from([3], from_offset=2))
        assert backend.results() == [1, 2, 3]


class TransactionSinkContract(SinkContract):
    """What is written through the transaction is durable with the offsets or not at all."""

    def test_it_writes_through_the_transaction_that_it_names(self, sink: Sink) -> None:
        assert sink.writes is Writes.THROUGH_TRANSACTION
        assert sink.needs

    def test_nothing_is_seen_before_the_commit(self, backend: SinkBackend, sink: Sink) -> None:
        prepared = prepared_for(sink, batch_from([1, 2]))
        with backend.transaction() as transaction:
            sink.write(prepared, transaction)
            assert backend.results() == []
            backend.commit(transaction)
        assert backend.results() == [1, 2]

    def test_a_transaction_that_is_rolled_back_leaves_nothing(self, backend: SinkBackend, sink: Sink) -> None:
        batch = batch_from([1, 2])
        for _ in range(2):
            with backend.transaction() as transaction:
                sink.write(prepared_for(sink, batch), transaction)
        assert backend.results() == []
        write_and_commit(backend, sink, batch)
        assert backend.results() == [1, 2]

    def test_a_failure_after_the_write_leaves_nothing(self, backend: SinkBackend, sink: Sink) -> None:
        def write_and_fail() -> NoReturn:
            with backend.transaction() as transaction:
                sink.write(prepared_for(sink, batch_from([1, 2])), transaction)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            write_and_fail()
        assert backend.results() == []

    def test_several_sinks_share_the_transaction(self, backend: SinkBackend, sink: Sink) -> None:
        other = backend.sink()
        with backend.transaction() as transaction:
            sink.write(prepared_for(sink, batch_from([1, 2])), transaction)
            other.write(prepared_for(other, batch_from([3], P1)), transaction)
            assert backend.results() == []
            backend.commit(transaction)
        assert sorted(backend.results()) == [1, 2, 3]


SinkOf = Callable[[Callable[[Any], Any]], Sink]


class SinkFunctionContract:
    """A sink's function from a batch to its results runs in the prepare phase, and its mistakes are named there."""

    @pytest.fixture
    def sink_of(self) -> SinkOf:
        """Builds the sink with a function that gives its results; subclasses define it."""
        raise NotImplementedError

    def test_the_function_has_run_when_it_is_prepared(self, sink_of: SinkOf) -> None:
        seen: list[Any] = []

        def results(batch: Batch) -> Iterator[Any]:
            seen.append(batch)
            yield from ()
            seen.append("end")

        batch = batch_from([1])
        sink_of(results).prepare(batch)
        assert seen == [batch, "end"]

    def test_it_takes_whatever_the_streams_prepare_gave(self, sink_of: SinkOf) -> None:
        seen: list[Any] = []

        def results(prepared: Any) -> list[Any]:
            seen.append(prepared)
            return []

        sink_of(results).prepare({"total": 3})
        assert seen == [{"total": 3}]

    def test_its_own_error_comes_out_as_it_is(self, sink_of: SinkOf) -> None:
        raised = RecordError("no price", topic="orders", partition=0, offset=7)

        def failing(batch: Batch) -> Iterator[Any]:
            yield from ()
            raise raised if numbers_of(batch) == [1] else ZeroDivisionError

        with pytest.raises(RecordError) as caught:
            sink_of(failing).prepare(batch_from([1]))
        assert caught.value is raised
        with pytest.raises(ZeroDivisionError):
            sink_of(failing).prepare(batch_from([2]))

    def test_an_async_function_is_refused_when_the_sink_is_built(self, sink_of: SinkOf) -> None:
        async def awaiting(batch: Batch) -> list[Any]:
            return []

        async def generating(batch: Batch) -> Any:
            yield None

        class Awaiting:
            async def __call__(self, batch: Batch) -> list[Any]:
                return []

        for function in (awaiting, generating, Awaiting()):
            with pytest.raises(ConfigurationError, match="prepare"):
                sink_of(function)

    def test_an_awaitable_is_refused(self, sink_of: SinkOf) -> None:
        async def results() -> list[Any]:
            return []

        class Later(Awaitable[Any]):
            def __await__(self) -> Generator[Any, Any, Any]:
                yield

        for function in (lambda _: results(), lambda _: Later()):
            with pytest.raises(ProcessingError, match="prepare"):
                sink_of(function).prepare(batch_from([1]))

    @pytest.mark.parametrize("function", [None, 7, "rows"])
    def test_what_is_no_function_is_refused_when_the_sink_is_built(self, sink_of: SinkOf, function: Any) -> None:
        with pytest.raises(ConfigurationError, match=type(function).__name__):
            sink_of(function)

    @pytest.mark.parametrize("given", [None, 7, "text", b"bytes"])
    def test_what_is_no_iterable_is_refused(self, sink_of: SinkOf, given: Any) -> None:
        with pytest.raises(ProcessingError, match=type(given).__name__):
            sink_of(lambda _: given).prepare(batch_from([1]))

    def test_what_is_no_result_is_refused(self, sink_of: SinkOf) -> None:
        with pytest.raises(ProcessingError, match="object"):
            sink_of(lambda _: [object()]).prepare(batch_from([1]))


__all__ = ["SinkContract", "SinkFunctionContract", "SinkOf", "TransactionSinkContract"]
