"""When it is enough: retry strategies, the order of keys and its limit; what settings are refused."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from kafka_stream import Batch, DeadLetters, FixedDelay, NoRetry
from kafka_stream.errors import (
    ConfigurationError,
    HandlerUnavailable,
    RetriesExhausted,
    TooManyDeadLetters,
    UnsupportedGuarantee,
)
from kafka_stream.protocols import LetterStatus
from kafka_stream.testing import MemoryKafka, MemoryOffsetStore
from tests.fragile_streams import failing, letters, stream
from tests.simulation import ResultsStore


@pytest.mark.parametrize(("retry", "attempts"), [(NoRetry(), 1), (FixedDelay(0.0, 3), 3)], ids=str)
def test_a_strategy_that_ends_stops_the_stream_and_says_how_often_it_was_tried(
    kafka: MemoryKafka, store: MemoryOffsetStore, retry: Any, attempts: int
) -> None:
    calls: list[int] = []

    def write(batch: Batch, transaction: Any) -> None:
        calls.append(1)
        raise ConnectionError("away")

    with pytest.raises(RetriesExhausted, match=rf"gave up after {attempts} attempt.*ConnectionError.*away") as raised:
        stream(kafka, store, sink=write, retry=retry, transient_errors=[ConnectionError]).run(until="latest")
    assert (len(calls), raised.value.attempts) == (attempts, attempts)
    assert isinstance(raised.value.__cause__, HandlerUnavailable)


def test_the_order_of_a_key_is_kept_over_batches_and_until_its_letters_are_gone(store: MemoryOffsetStore) -> None:
    kafka = MemoryKafka({"orders": 1})
    limits = DeadLetters(keep_key_order=True)
    for number, key in enumerate("abab"):
        kafka.produce("orders", str(number), key=key)
    options = {"sink": failing(0), "dead_letters": limits, "max_records_per_batch": 2}
    stream(kafka, store, **options).run(until="latest")
    assert (store.rows, letters(store)) == ([1, 3], [0, 2])
    first, second = store.letters("s")
    assert second.error.type == "after another"
    assert second.error.message == "waits for an earlier record with the same key"
    store.mark_letters("s", [first.id, second.id], LetterStatus.WAITING, LetterStatus.DISCARDED)
    for number, key in enumerate("abc", start=4):
        kafka.produce("orders", str(number), key=key)
    stream(kafka, store, **options).run(until="latest")
    assert (store.rows, letters(store)) == ([1, 3, 4, 5, 6], [0, 2])


def test_a_key_may_have_so_many_that_wait_and_not_more(store: MemoryOffsetStore) -> None:
    kafka = MemoryKafka({"orders": 1})
    for number in range(10):
        kafka.produce("orders", str(number), key="a" if number else "b")
    limits = DeadLetters(keep_key_order=True, max_per_key=8)
    with pytest.raises(TooManyDeadLetters, match="max_per_key=8 records of one key of orders"):
        stream(kafka, store, sink=failing(1), dead_letters=limits).run(until="latest")
    assert letters(store) == []


def test_a_log_line_says_where_and_what_and_no_value(
    kafka: MemoryKafka, store: MemoryOffsetStore, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "kafka_stream"):
        stream(kafka, store, sink=failing(17, 18)).run(until="latest")
    (record,) = (record for record in caplog.records if "set aside" in record.message)
    assert record.message == "stream 's': 2 record(s) set aside as dead letters; the first: orders[0]@17 (ValueError)"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"dead_letters": DeadLetters(), "on_error": "stop"}, 'dead_letters has no effect with on_error="stop"'),
        ({"on_error": "ignore"}, "on_error"),
        ({"retry": "often"}, "retry is a str; give FixedDelay"),
        ({"dead_letters": {"max_ratio": 1}}, "dead_letters is a dict; give DeadLetters"),
        ({"transient_errors": ["TimeoutError"]}, "classes of exceptions"),
        ({"transient_errors": [Exception]}, "every failure would be retried for ever"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_refused(
    kafka: MemoryKafka, store: MemoryOffsetStore, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        stream(kafka, store, sink=failing(), **options)


def test_a_store_that_keeps_no_letters_is_refused(kafka: MemoryKafka) -> None:
    plain: Any = ResultsStore(MemoryOffsetStore())
    with pytest.raises(UnsupportedGuarantee, match='on_error="dead-letter" sets records aside'):
        stream(kafka, plain, sink=failing())
