"""A record's size is what librdkafka counts, by the client itself."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from kafka_stream.offset_stores.kafka.record_size import size_of

LIMIT = 2_000


@pytest.fixture(scope="module")
def client() -> Producer:
    """One that finds no broker, and refuses what is larger before it looks for one."""
    return Producer({"bootstrap.servers": "127.0.0.1:1", "message.max.bytes": LIMIT, "log_level": 0})


@pytest.mark.parametrize("key", [None, b"", b"abc", "é" * 70])
@pytest.mark.parametrize(
    "headers",
    [
        None,
        [],
        {"a": b"1", "b": None},
        [("a", b"")] * 5,
        [("a" * 63, b"x" * 63)],
        [("a" * 64, b"x" * 64)],
        [("é" * 50, "é" * 300)],
    ],
)
def test_the_largest_record_that_fits_is_known(client: Producer, key: Any, headers: Any) -> None:
    room = LIMIT - size_of(b"", key, headers)
    client.produce("t", b"x" * room, key, headers=headers)
    client.purge()
    client.poll(0)
    with pytest.raises(KafkaException) as refused:
        client.produce("t", b"x" * (room + 1), key, headers=headers)
    assert refused.value.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE
