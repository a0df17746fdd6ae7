"""A stream on real servers, scraped over HTTP while its handler is stuck, and after."""

from __future__ import annotations

import urllib.request
from threading import Event
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.parser import text_string_to_metric_families

from integration_tests.engine import wait_until
from integration_tests.servers import KafkaServer, PostgresDatabase, random_name
from integration_tests.streams import WAIT_S
from kafka_stream import Batch, DirectStream
from kafka_stream.observe.prometheus import PrometheusListener

Scraped = dict[tuple[str, str | None], float]


def _scrape(port: int) -> Scraped:
    """By name, and by state or partition where a sample has one."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    return {
        (sample.name, sample.labels.get("state") or sample.labels.get("partition")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_stream_is_scraped_while_it_is_stuck(kafka: KafkaServer, postgres: PostgresDatabase) -> None:
    registry = CollectorRegistry()
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    goes_on = Event()
    topic = kafka.create_topic(partitions=2)
    for number in range(2):
        kafka.produce(topic, [f"{number}"] * 10, partition=number)

    def write(batch: Batch, transaction: Any) -> None:
        goes_on.wait(WAIT_S)

    def scrape() -> Scraped:
        return _scrape(server.server_port)

    stream = DirectStream(
        name=random_name("stream"),
        topics=[topic],
        kafka={"bootstrap.servers": kafka.bootstrap_servers},
        store=postgres.url,
        sink=write,
        assignment="static",
        listeners=[PrometheusListener(registry)],
    )
    try:
        with stream:
            in_hand = ("kafka_stream_batch_in_hand_seconds", None)
            assert wait_until(lambda: scrape().get(in_hand, 0) > 0, WAIT_S), scrape()
            assert scrape()["kafka_stream_records_total", None] == 0
            goes_on.set()
            assert wait_until(lambda: scrape()["kafka_stream_records_total", None] == 20, WAIT_S), scrape()
            assert wait_until(lambda: scrape().get(("kafka_stream_lag_records", "1")) == 0, WAIT_S), scrape()
            assert scrape()["kafka_stream_state", "running"] == 1
        assert scrape()["kafka_stream_state", "stopped"] == 1
    finally:
        goes_on.set()
        server.shutdown()
        server.server_close()
        thread.join()
