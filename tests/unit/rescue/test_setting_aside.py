"""``on_error="dead-letter"``: what is set aside, what is not, and what is said."""

from __future__ import annotations

from typing import Any

import pytest

from kafka_stream import Batch, DeadLetters, RecordError
from kafka_stream.errors import (
    ProcessingError,
    TooManyDeadLetters,
    TransactionEscaped,
)
from kafka_stream.failures.search import most_attempts
from kafka_stream.progress import StreamListener
from kafka_stream.protocols import BatchProgress
from kafka_stream.testing import MemoryKafka, MemoryOffsetStore, batch_of
from kafka_stream.types import OffsetRange, Phase
from tests.fragile_streams import failing, letters, number_of, stream


def test_a_record_that_fails_is_set_aside_and_the_others_are_not(kafka: MemoryKafka, store: MemoryOffsetStore) -> None:
    calls = []
    write = failing(17)

    def counted(batch: Batch, transaction: Any) -> None:
        calls.append(len(batch))
        write(batch, transaction)

    summary = stream(kafka, store, sink=counted, code_version="v7").run(until="latest")
    assert store.rows == [n for n in range(100) if n != 17]
    (letter,) = store.letters("s")
    assert (letter.id.topic, letter.id.partition, letter.id.offset) == ("orders", 0, 17)
    assert (letter.error.type, letter.error.message, letter.code_version) == ("ValueError", "it cannot be", "v7")
    assert "in write" in letter.error.traceback
    assert letter.error.traceback.endswith("ValueError: it cannot be\n")
    assert (letter.payload.key, letter.payload.value, letter.attempts) == (b"7", b"17", 1)
    assert (summary.records, summary.dead_letters) == (100, 1)
    assert calls[0] == 100
    assert len(calls) <= 1 + most_attempts(100, 1)


def test_where_nothing_fails_there_is_one_transaction_and_call(kafka: MemoryKafka, store: MemoryOffsetStore) -> None:
    calls: list[int] = []
    phases: list[Phase] = []

    class Told(StreamListener):
        def on_phase(self, phase: Phase, ranges: tuple[OffsetRange, ...]) -> None:
            phases.append(phase)

    sink = lambda batch, transaction: calls.append(len(batch))  # noqa: E731
    stream(kafka, store, sink=sink, listeners=[Told()]).run(until="latest")
    assert calls == [100]
    assert phases.count(Phase.AFTER_CLAIM) == 1
    assert not {Phase.AFTER_ATTEMPT, Phase.AFTER_SET_ASIDE} & set(phases)


def test_a_record_that_is_named_is_not_searched_for(kafka: MemoryKafka, store: MemoryOffsetStore) -> None:
    calls = []

    def write(batch: Batch, transaction: Any) -> None:
        calls.append(len(batch))
        for message in batch:
            if number_of(message) == 60:
                raise RecordError.of(message, "no price")
            transaction.rows.append(number_of(message))

    stream(kafka, store, sink=write).run(until="latest")
    assert calls == [100, 60, 39]
    (letter,) = store.letters("s")
    assert (letter.error.type, letter.error.message) == ("kafka_stream.errors.RecordError", "no price")


@pytest.mark.parametrize("sinks", [1, 2])
def test_a_record_that_is_rejected_needs_no_exception(kafka: MemoryKafka, store: MemoryOffsetStore, sinks: int) -> None:
    calls = []

    def prepare(batch: Batch) -> list[int]:
        calls.append(len(batch))
        for message in batch:
            if number_of(message) == 3:
                batch.reject(message, "a test order")
                batch.reject(message, "twice")
        return [number_of(message) for message in batch if number_of(message) != 3]

    def write(numbers: list[int], transaction: Any) -> None:
        transaction.rows += numbers

    stream(kafka, store, prepare=prepare, sink=[write] * sinks).run(until="latest")
    assert sorted(store.rows) == sorted([n for n in range(100) if n != 3] * sinks)
    assert [letter.error.message for letter in store.letters("s")] == ["a test order"]
    assert len(calls) == sinks, "with several sinks it is prepared once more without that record"


def test_a_rejection_while_several_sinks_are_written_is_of_all_of_them(
    kafka: MemoryKafka, store: MemoryOffsetStore
) -> None:
    def first(batch: Batch, transaction: Any) -> None:
        transaction.rows += map(number_of, batch)

    def second(batch: Batch, transaction: Any) -> None:
        for message in batch:
            if number_of(message) == 42:
                batch.reject(message, "not for the second")

    stream(kafka, store, sink=[first, second]).run(until="latest")
    assert store.rows == [n for n in range(100) if n != 42]
    assert letters(store) == [42]


def test_without_dead_letters_a_rejection_stops_and_names_the_record(
    kafka: MemoryKafka, store: MemoryOffsetStore
) -> None:
    def write(batch: Batch, transaction: Any) -> None:
        batch.reject(batch.messages[5], "no price")

    with pytest.raises(RecordError, match=r"record orders\[0\]@5: no price"):
        stream(kafka, store, sink=write, on_error="stop").run(until="latest")
    assert store.rows == []


def test_a_rejection_is_of_a_record_of_the_batch() -> None:
    batch = batch_of(["a", "b"]).for_attempt()
    with pytest.raises(ValueError, match=r"topic\[0\]@7 is no record of this batch"):
        batch.reject(batch_of(["x"], offset=7).messages[0], "why")
    part = batch.partition(batch.ranges[0].topic_partition).topic("topic")
    part.reject(batch.messages[1], "why")
    assert [(error.offset, error.reason) for error in batch.rejected] == [(1, "why")]


def test_two_records_that_fail_only_together_stop_the_stream(kafka: MemoryKafka, store: MemoryOffsetStore) -> None:
    def write(batch: Batch, transaction: Any) -> None:
        if {20, 70} <= set(map(number_of, batch)):
            raise ValueError("they do not go together")

    with pytest.raises(ProcessingError, match=r"they do not go together.*No single record explains it: 2 parts"):
        stream(kafka, store, sink=write).run(until="latest")
    with pytest.raises(ProcessingError, match="No single record explains it"):
        stream(kafka, store, prepare=lambda batch: write(batch, None), sink=lambda rows, transaction: None).run(
            until="latest"
        )
    assert letters(store) == []


@pytest.mark.parametrize("where", ["prepare", "write"])
def test_a_handler_that_always_fails_makes_no_dead_letter(
    kafka: MemoryKafka, store: MemoryOffsetStore, where: str
) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("price")

    options = {"sink": broken} if where == "write" else {"prepare": broken, "sink": lambda rows, transaction: None}
    with pytest.raises(ProcessingError, match="Each of the batch's 100 records was tried by itself and failed"):
        stream(kafka, store, dead_letters=DeadLetters(max_ratio=1.0), **options).run(until="latest")
    with pytest.raises(TooManyDeadLetters, match="20 records in a row failed, more than max_in_a_row=19"):
        stream(kafka, store, dead_letters=DeadLetters(max_in_a_row=19), **options).run(until="latest")
    assert letters(store) == []
    assert store.positions("s")[next(iter(store.positions("s")))].next_offset == 0


def test_the_only_record_of_a_batch_is_set_aside_however_little_is_known(store: MemoryOffsetStore) -> None:
    kafka = MemoryKafka({"orders": 1})
    kafka.produce("orders", "1")
    stream(kafka, store, sink=failing(1)).run(until="latest")
    assert letters(store) == [1]


def test_a_tripped_breaker_leaves_the_batch_uncommitted(kafka: MemoryKafka, store: MemoryOffsetStore) -> None:
    limits = DeadLetters(max_ratio=0.05, window=100)
    with pytest.raises(TooManyDeadLetters, match=r"6 of the last \d+ records failed.*max_ratio=0.05 of window=100"):
        stream(kafka, store, sink=failing(*range(40, 50)), dead_letters=limits).run(until="latest")
    assert (store.rows, letters(store)) == ([], [])
    stream(kafka, store, sink=failing(40, 50, 60, 70, 80), dead_letters=limits).run(until="latest")
    assert letters(store) == [40, 50, 60, 70, 80]


def test_what_transient_errors_names_is_retried_and_no_record_is_blamed(
    kafka: MemoryKafka, store: MemoryOffsetStore
) -> None:
    attempts: list[int] = []
    seen: list[BatchProgress] = []

    class Told(StreamListener):
        def on_batch(self, progress: BatchProgress) -> None:
            seen.append(progress)

    def write(batch: Batch, transaction: Any) -> None:
        attempts.append(len(batch))
        if len(attempts) < 4:
            raise RuntimeError("what the client library makes of it") from ConnectionError("the API is away")
        failing(5)(batch, transaction)

    stream(kafka, store, sink=write, transient_errors=[ConnectionError], listeners=[Told()]).run(until="latest")
    assert attempts[:4] == [100] * 4
    assert letters(store) == [5]
    assert [(progress.attempt, progress.dead_letters) for progress in seen] == [(4, 1)]


def test_an_outage_amid_a_search_begins_the_batch_anew(kafka: MemoryKafka, store: MemoryOffsetStore) -> None:
    calls: list[int] = []

    def write(batch: Batch, transaction: Any) -> None:
        calls.append(len(batch))
        if len(calls) == 4:
            raise ConnectionError
        failing(5, 90)(batch, transaction)

    stream(kafka, store, sink=write, transient_errors=[ConnectionError]).run(until="latest")
    assert calls[4] == 100
    assert letters(store) == [5, 90]
    assert sorted(store.rows) == [n for n in range(100) if n not in (5, 90)]


def test_a_handler_that_ends_its_transaction_is_not_searched(kafka: MemoryKafka, store: MemoryOffsetStore) -> None:
    def write(batch: Batch, transaction: Any) -> None:
        transaction.advance()

    with pytest.raises(TransactionEscaped):
        stream(kafka, store, sink=write).run(until="latest")
    assert letters(store) == []


def test_what_is_rejected_does_not_explain_a_failure(kafka: MemoryKafka, store: MemoryOffsetStore) -> None:
    def write(batch: Batch, transaction: Any) -> None:
        for message in batch:
            if number_of(message) == 3:
                batch.reject(message, "a test order")
        if {20, 70} <= set(map(number_of, batch)):
            raise ValueError("they do not go together")

    with pytest.raises(ProcessingError, match="No single record explains it"):
        stream(kafka, store, sink=write).run(until="latest")
    assert letters(store) == []
