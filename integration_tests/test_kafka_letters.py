"""Dead letters of a stream whose offsets are in Kafka: the contract, and what a broker makes of it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from integration_tests.kafka_store import KafkaBackend
from integration_tests.servers import KafkaServer, random_name
from integration_tests.streams import wait_for_stable_end
from integration_tests.test_kafka_sink import headers_of
from kafka_stream import Batch, DeadLetters, DirectStream, RecordError
from kafka_stream.errors import ConfigurationError
from kafka_stream.offset_stores.kafka import KafkaOffsetStore
from kafka_stream.sinks.kafka import KafkaSink
from kafka_stream.testing.dead_letter_contract import DeadLetterContract


@pytest.mark.usefixtures("contract_topic")
class TestKafkaLetters(DeadLetterContract):
    @pytest.fixture
    def backend(self, kafka: KafkaServer) -> KafkaBackend:
        return KafkaBackend(kafka, keeps_letters=True)


LIMIT = 100_000
"""The results' topic takes no batch of records that is larger; the store's batches are smaller."""
RECORDS = 2_000
BAD = (0, 7, 999, 1_000, 1_999)


def results_of(batch: Batch) -> list[tuple[bytes, bytes]]:
    """A bad record's result is too large for the topic, though not for the client."""
    return [(str(m.offset()).encode(), Random(0).randbytes(2 * LIMIT) if m.value() == b"bad" else b"ok") for m in batch]


def test_records_whose_results_a_broker_refuses_are_found_and_set_aside_once(kafka: KafkaServer) -> None:
    source, name = kafka.create_topic(partitions=1), random_name("letters")
    results = kafka.create_topic(partitions=1, max_message_bytes=LIMIT)
    kafka.produce(source, [(str(n), "bad" if n in BAD else f"good {n}") for n in range(RECORDS)])
    stream = DirectStream(
        name=name,
        topics=[source],
        kafka={"bootstrap.servers": kafka.bootstrap_servers},
        store=KafkaOffsetStore({"batch.size": LIMIT // 2}),
        sink=KafkaSink(results, results_of),
        start="earliest",
        assignment="static",
        on_error="dead-letter",
    )
    stream.run(until="latest")
    written = [int(key or b"") for _, _, key, _ in _read(kafka, results)]
    assert sorted(written) == [n for n in range(RECORDS) if n not in BAD]
    letters = _read(kafka, f"{name}.dead-letters")
    assert [(key, value) for _, _, key, value in letters] == [(str(n).encode(), b"bad") for n in BAD]
    every: list[Any] = headers_of(kafka, f"{name}.dead-letters", 0)
    for headers, offset in zip(every, BAD, strict=True):
        found: dict[str, bytes] = dict(headers)
        assert found["kafka_dlt-original-topic"] == found["__connect.errors.topic"] == source.encode()
        assert struct.unpack(">iq", found["kafka_dlt-original-partition"] + found["kafka_dlt-original-offset"]) == (
            0, offset,
        )  # fmt: skip
        assert found["kafka_dlt-original-timestamp-type"] == b"CreateTime"
        assert found["kafka_dlt-original-consumer-group"] == name.encode()
        assert found["__connect.errors.offset"] == str(offset).encode()
        assert b"refused a record" in found["kafka_dlt-exception-message"]


@pytest.mark.parametrize("kind", ["CreateTime", "LogAppendTime"])
def test_a_letter_says_whose_its_time_is(kafka: KafkaServer, kind: str) -> None:
    source, name = kafka.create_topic(partitions=1, message_timestamp_type=kind), random_name("letters")
    kafka.produce(source, ["good", "bad"])
    _stream(kafka, name, source, lambda batch: [m.value() for m in batch], refuse=b"bad").run(until="latest")
    every: list[Any] = headers_of(kafka, f"{name}.dead-letters", 0)
    assert [dict(headers)["kafka_dlt-original-timestamp-type"] for headers in every] == [kind.encode()]


def test_a_record_without_a_key_that_a_compacted_topic_refuses_is_set_aside(kafka: KafkaServer) -> None:
    source, name = kafka.create_topic(partitions=1), random_name("letters")
    results = kafka.create_topic(partitions=1, cleanup_policy="compact")
    kafka.produce(source, [str(n) if n in (3, 4, 11) else (f"key-{n}", str(n)) for n in range(20)])
    _stream(kafka, name, source, lambda batch: [(m.key(), m.value()) for m in batch], into=results).run(until="latest")
    written = [int(value or b"") for *_, value in _read(kafka, results)]
    assert written == [number for number in range(20) if number not in (3, 4, 11)]
    letters = _read(kafka, f"{name}.dead-letters")
    assert [(key, value) for *_, key, value in letters] == [(None, b"3"), (None, b"4"), (None, b"11")]


@pytest.mark.parametrize("topic", ["no topic!", "x" * 250], ids=["name", "length"])
def test_a_topic_for_letters_that_cannot_be_created_is_said(kafka: KafkaServer, topic: str) -> None:
    source, name = kafka.create_topic(partitions=1), random_name("letters")
    kafka.produce(source, ["bad"])
    stream = _stream(kafka, name, source, lambda batch: [m.value() for m in batch]).replace(
        dead_letters=DeadLetters(topic=topic)
    )
    with pytest.raises(ConfigurationError, match=f"{topic}.*, which dead letters go to"):
        stream.run(until="latest")


def _read(kafka: KafkaServer, topic: str) -> Sequence[Any]:
    """What a reader sees once the last transaction's marker is written, which is a little after the commit."""
    wait_for_stable_end(kafka, topic)
    return kafka.read_committed(topic)


def _stream(
    kafka: KafkaServer,
    name: str,
    source: str,
    results_of: Any,
    *,
    into: str | None = None,
    refuse: bytes | None = None,
) -> DirectStream:
    def rows(batch: Batch) -> Any:
        for message in batch:
            if refuse is not None and message.value() == refuse:
                raise RecordError.of(message, "refused")
        return results_of(batch)

    return DirectStream(
        name=name,
        topics=[source],
        kafka={"bootstrap.servers": kafka.bootstrap_servers},
        store=KafkaOffsetStore(),
        sink=KafkaSink(kafka.create_topic(partitions=1) if into is None else into, rows),
        start="earliest",
        assignment="static",
        on_error="dead-letter",
        dead_letters=DeadLetters(max_ratio=1.0),
    )
