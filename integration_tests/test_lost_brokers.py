"""Clients that have lost their brokers for good, as librdkafka's may (issue 5301): new ones take their place."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from integration_tests.engine import wait_until
from integration_tests.kafka_proxy import KafkaProxy
from integration_tests.kafka_store import Place
from integration_tests.results import ResultTable
from integration_tests.servers import KafkaServer, PostgresDatabase
from integration_tests.streams import SHORT_SESSIONS, WAIT_S, assert_exactly_once, stream_of, wait_for_rows
from kafka_stream.errors import StoreUnavailable
from kafka_stream.offset_stores.kafka import KafkaOffsetStore, group
from kafka_stream.protocols import StreamBinding
from kafka_stream.source import lost_brokers
from kafka_stream.testing.store_backend import OLDER

RECORDS = 300
FOR_GOOD = {"metadata.recovery.strategy": "none", "topic.metadata.refresh.interval.ms": 500}
"""Without this a client mostly finds its brokers again: it is a race between two of its threads."""


def lose_brokers(proxy: KafkaProxy, are_lost: Callable[[], bool]) -> None:
    """Have all clients forget their brokers, and answer every later one as ever."""
    proxy.forget_brokers()
    assert wait_until(are_lost, WAIT_S)
    proxy.remember_brokers()


@pytest.mark.parametrize("assignment", ["static", "group"])
def test_a_stream_goes_on_with_a_new_consumer(
    kafka: KafkaServer,
    kafka_proxy: KafkaProxy,
    postgres: PostgresDatabase,
    table: ResultTable,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    assignment: str,
) -> None:
    monkeypatch.setattr(lost_brokers, "_PATIENCE_S", 5.0)
    topic = kafka.create_topic()
    kafka.produce(topic, map(str, range(RECORDS)))
    client = {**SHORT_SESSIONS, **FOR_GOOD, "bootstrap.servers": kafka_proxy.bootstrap_servers}
    stream = stream_of(kafka, postgres, topic, client, assignment=assignment)
    with caplog.at_level(logging.WARNING, "kafka_stream.source"), stream:
        wait_for_rows(table, RECORDS, stream)
        lose_brokers(kafka_proxy, lambda: "brokers are down" in caplog.text)
        kafka.produce(topic, map(str, range(RECORDS)))
        wait_for_rows(table, 2 * RECORDS, stream)
    assert "lost its brokers for good" in caplog.text
    assert_exactly_once(kafka, topic, table)


def test_a_kafka_store_goes_on_with_new_clients(
    kafka: KafkaServer, kafka_proxy: KafkaProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group, "REQUEST_TIMEOUT_S", 2.0)
    with ExitStack() as stack:
        place = Place(kafka, stack)
        client = {**FOR_GOOD, "bootstrap.servers": kafka_proxy.bootstrap_servers}
        store = KafkaOffsetStore({})
        store.bind(StreamBinding(place.stream, place.stream, client, "static"))
        stack.callback(store.close)
        place.commit(store, place.claim(OLDER, place.take_over(store, OLDER, 0), {0: (0, 5)}), 1)
        assert place.stored() == {0: 5}

        def answers() -> bool:
            try:
                found = store.positions(place.stream)
                return place.stream in store.streams() and found[place.partitions[0]].next_offset == 5
            except StoreUnavailable:
                return False

        def have_lost() -> bool:
            """Whoever asks now is told of no broker. Its place a new client takes, perhaps at once."""
            answers()
            return kafka_proxy.forgotten > forgotten

        assert wait_until(answers, WAIT_S)
        forgotten = kafka_proxy.forgotten
        lose_brokers(kafka_proxy, have_lost)
        assert wait_until(answers, WAIT_S)
        place.commit(store, place.claim(OLDER, place.take_over(store, OLDER, 0), {0: (5, 9)}), 2)
        assert (place.results(), place.stored()) == ([1, 2], {0: 9})
