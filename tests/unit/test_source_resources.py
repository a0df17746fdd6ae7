"""What a source opens it closes: no descriptor and no thread of the operating system waits for Python's collector."""

from __future__ import annotations

import gc
import logging
import os
import time
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Producer

from kafka_stream.source.kafka_source import KafkaSource
from kafka_stream.source.limits import SourceLimits
from kafka_stream.testing.source_reader import Reader
from kafka_stream.types import TopicPartition

CYCLES = 20
CYCLES_IN_A_GROUP = 2  # the mock cluster takes three seconds to let somebody in
WAIT_S = 60.0
P0 = TopicPartition("orders", 0)


@pytest.fixture(scope="module")
def servers() -> Iterator[str]:
    config = {"bootstrap.servers": "none", "test.mock.num.brokers": 1, "log_level": 0}
    producer = Producer(config, logger=logging.getLogger("mock"))
    producer.produce("orders", "one", partition=0)
    assert producer.flush(30) == 0
    brokers = producer.list_topics(timeout=30).brokers.values()
    yield ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
    producer.close()


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def opened() -> tuple[int, int]:
    """Descriptors and threads of this process."""
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))


def settles_at_most(limits: tuple[int, int]) -> bool:
    """Whether there come to be no more than so many; the mock cluster closes its ends a little later."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        descriptors, threads = opened()
        if descriptors <= limits[0] and threads <= limits[1]:
            return True
        time.sleep(0.05)
    return False


def as_group_member(reader: Reader) -> None:
    reader.source.subscribe()
    reader.until(lambda: reader.assigned)


def without_group(reader: Reader) -> None:
    reader.assign([P0])
    reader.read({P0: 0}, {P0: 1})


@pytest.mark.parametrize(("use", "cycles"), [(without_group, CYCLES), (as_group_member, CYCLES_IN_A_GROUP)])
def test_start_and_stop_leave_nothing_open(
    servers: str, no_collector: None, use: Callable[[Reader], None], cycles: int
) -> None:
    def cycle(number: int) -> None:
        config = {"bootstrap.servers": servers, "log_level": 0}
        source = KafkaSource(config, f"{use.__name__}-{number}", ["orders"], SourceLimits())
        source.open(30)
        use(Reader(source))
        source.begin_look({P0: 0})
        source.close()

    cycle(0)
    before = opened()
    for number in range(cycles):
        cycle(1 + number)
    assert settles_at_most(before), f"from {before} to {opened()} after {cycles} starts and stops"


def test_a_start_that_failed_leaves_nothing_open(no_collector: None) -> None:
    def cycle() -> None:
        source = KafkaSource({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}, "group", ["orders"], SourceLimits())
        with pytest.raises(Exception, match="no Kafka broker answered"):
            source.open(0.05)

    cycle()
    before = opened()
    for _ in range(CYCLES):
        cycle()
    assert settles_at_most(before), f"from {before} to {opened()} after {CYCLES} starts that failed"
