"""``kafka-stream offsets mirror`` into another group, and what is done where one topic of several is hidden."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as ClientTopicPartition

from integration_tests.secured_kafka import STREAM, SecuredKafka
from integration_tests.servers import KafkaServer, random_name
from kafka_stream.offset_stores.sql import SqlOffsetStore
from tests.command_line import Invoke, in_directory

WAIT_S = 30.0


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Invoke]:
    with in_directory(tmp_path, capsys, monkeypatch) as invoke:
        yield invoke


def stored(directory: Path, stream: str, *topics: str) -> str:
    """Where a stopped stream has its offsets: two of each topic's only partition."""
    url = f"sqlite:///{directory}/orders.db"
    store = SqlOffsetStore(url)
    store.open()
    for topic in topics:
        store.initialise(stream, topic, {0: 2}, None)
    store.close()
    return url


def test_another_groups_offsets_are_shown_and_overwritten_when_that_is_said(
    kafka: KafkaServer, run: Invoke, tmp_path: Path
) -> None:
    topic, stream, other = kafka.create_topic(partitions=1), random_name("stream"), random_name("other")
    kafka.produce(topic, ["a", "b", "c"])
    command = ["offsets", "mirror", "--store", stored(tmp_path, stream, topic), "--stream", stream, "--group", other]
    command += ["--kafka", f"bootstrap.servers={kafka.bootstrap_servers}"]

    def offset_of(group: str) -> int:
        with Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": group}) as consumer:
            (found,) = consumer.committed([ClientTopicPartition(topic, 0)], WAIT_S)
        return found.offset

    planned = run(*command)
    assert (planned.status, planned.err) == (0, "")
    assert f"plan for group {other}" in planned.out
    assert planned.out.endswith("Nothing was changed; add --execute to do it.\n")
    assert offset_of(other) < 0
    rows = json.loads(run(*command, "--output", "json").out)
    assert rows == [{"topic": topic, "partition": 0, "from_offset": None, "to_offset": 2}]
    done = run(*command, "--execute", "--yes")
    assert (done.status, done.out.splitlines()[-1]) == (0, f"1 offset(s) were written to group {other!r}.")
    assert offset_of(other) == 2
    assert offset_of(stream) < 0, "its own is left as it was"


def test_one_hidden_topic_of_several_is_marked_and_left_out_of_the_mirror(
    secured_kafka: SecuredKafka,
    run: Invoke,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen, hidden = (secured_kafka.create_topic(partitions=1) for _ in range(2))
    stream = random_name("stream")
    secured_kafka.produce(seen, ["a", "b", "c"])
    secured_kafka.grant(STREAM, "topic", seen, "read")
    secured_kafka.grant(STREAM, "group", stream, "read")
    for key, value in secured_kafka.credentials(STREAM).items():
        monkeypatch.setenv(f"KAFKA_STREAM_KAFKA__{key.upper().replace('.', '_')}", str(value))
    where = ("--store", stored(tmp_path, stream, seen, hidden), "--stream", stream)
    described = run("offsets", "describe", *where, "--output", "json")
    assert described.status == 0, described.err
    rows = {row["topic"]: row for row in json.loads(described.out)}
    assert rows[seen]["lag"] == 1
    assert "topic hidden" not in rows[seen]["marks"]
    assert (rows[hidden]["lag"], rows[hidden]["end_offset"]) == (None, None)
    assert "topic hidden" in rows[hidden]["marks"]
    mirrored = run("offsets", "mirror", *where)  # the broker may be as new as its groups' topic
    assert (mirrored.out, mirrored.status) == (f"1 offset(s) were written to group {stream!r}.\n", 0), mirrored.err
    assert re.search(
        f"the offsets of topic '{hidden}' are not mirrored: .* refused access to topics {hidden} ", caplog.text
    )
