"""Streams of stores on real servers in a terminal: ``kafka-stream top``, and so the page of ``ui``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration_tests.pairings import store_url
from integration_tests.servers import KafkaServer, random_name
from kafka_stream import Batch, DirectStream
from tests.command_line import Invoke, in_directory

STORES = ("postgres", "mariadb", "kafka", "zookeeper")


@pytest.fixture
def invoke(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Invoke]:
    with in_directory(tmp_path, capsys, monkeypatch) as run:
        yield run


def _nothing(batch: Batch, transaction: Any) -> None:
    pass


@pytest.mark.parametrize("store", STORES)
def test_a_stream_of_each_store(
    kafka: KafkaServer, store: str, tmp_path: Path, request: pytest.FixtureRequest, invoke: Invoke
) -> None:
    url = store_url(store, tmp_path, request)
    topic, name = kafka.create_topic(partitions=2), random_name("stream")
    kafka.produce(topic, ["one"] * 10, 0)
    servers = {"bootstrap.servers": kafka.bootstrap_servers}
    stream = DirectStream(name=name, topics=[topic], kafka=servers, store=url, sink=_nothing, assignment="static")
    stream.run(until="latest")
    kafka.produce(topic, ["two"] * 5, 1)
    brokers = f"bootstrap.servers={kafka.bootstrap_servers}"
    ended = invoke("top", "--store", url, "--stream", name, "--kafka", brokers, "--once")
    assert ended.status == 0, ended.err
    lines = ended.out.splitlines()
    assert not [line for line in lines if line.startswith(("▲", "✕"))], ended.out
    assert [line.split()[:2] for line in lines if line.strip().startswith(topic)] == [
        [f"{topic}[0]", "0"],
        [f"{topic}[1]", "5"],
    ]
    assert any(line.startswith("lag 5 ") for line in lines)
