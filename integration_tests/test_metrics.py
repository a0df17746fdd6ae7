"""A stream on real servers, scraped over HTTP while its handler is stuck, and after."""

from __future__ import annotations

import signal
import urllib.error
import urllib.request
from threading import Event
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.parser import text_string_to_metric_families

from integration_tests.command_line import RECORDS, TIMEOUT_S, CommandLine, Orders, ended
from integration_tests.engine import wait_until
from integration_tests.servers import KafkaServer, PostgresDatabase, free_port, random_name
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


def _answer(url: str) -> tuple[int, bytes] | None:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except urllib.error.URLError:
        return None  # it does not listen yet, or not any more


def test_probes_and_metrics_of_a_run(command_line: CommandLine, orders: Orders) -> None:
    address = f"127.0.0.1:{free_port()}"
    process = command_line.start("run", "app:stream", "--http", address)
    assert wait_until(lambda: _answer(f"http://{address}/ready") == (200, b"ok\n"), TIMEOUT_S), "it to be ready"
    assert wait_until(lambda: orders.stored() == RECORDS, TIMEOUT_S), "the records to be stored"
    assert _answer(f"http://{address}/live") == (200, b"ok\n")
    assert f"4 partitions of {orders.topic}".encode() in (_answer(f"http://{address}/") or (0, b""))[1]
    records = f'kafka_stream_records_total{{stream="{orders.topic}"}} {RECORDS:.1f}'.encode()
    assert wait_until(lambda: records in (_answer(f"http://{address}/metrics") or (0, b""))[1], TIMEOUT_S), records
    process.send_signal(signal.SIGTERM)
    found = ended(process)
    assert found.status == 0, found.err
    assert _answer(f"http://{address}/live") is None
