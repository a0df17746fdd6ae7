"""Streams and services as most tests want them: one topic, static, rows into the result table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from integration_tests.engine import wait_until
from integration_tests.results import ResultTable
from integration_tests.running_service import RunningService
from integration_tests.servers import KafkaServer, PostgresDatabase, random_name
from integration_tests.service import RowWriter
from integration_tests.service_settings import ServiceSettings
from kafka_stream import DirectStream, TopicPartition
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.progress import StreamState

WAIT_S = 60.0
SHORT_SESSIONS: Mapping[str, Any] = {"session.timeout.ms": 1500, "heartbeat.interval.ms": 300}
"""So that a group notices soon that a member is gone."""


def topic_of(server: KafkaServer, *, aborted: int, committed: int) -> str:
    """A topic of four partitions, with an aborted transaction before one that is committed, and markers at its ends."""
    name = server.create_topic(partitions=4)
    server.transaction(name, [(f"key-{n % 97}", f"aborted {n}") for n in range(aborted)], outcome="abort")
    server.transaction(name, [(f"key-{n % 97}", f"committed {n}") for n in range(committed)])
    wait_for_stable_end(server, name)
    return name


def stream_of(
    server: KafkaServer, database: PostgresDatabase, topic: str, client: Mapping[str, Any] | None = None, **options: Any
) -> DirectStream:
    """A stream of one topic into ``results``; ``client`` are settings of librdkafka."""
    kafka = {"bootstrap.servers": server.bootstrap_servers, "log_level": 0, **(client or {})}
    defaults = {"name": random_name("stream"), "sink": RowWriter(), "assignment": "static"}
    store = SqlOffsetStore(database.url)
    return DirectStream(**{"topics": [topic], "kafka": kafka, "store": store, **defaults, **options})


def settings_of(
    server: KafkaServer, database: PostgresDatabase, topic: str, client: Mapping[str, Any] | None = None, **options: Any
) -> ServiceSettings:
    """The same for the service that runs as a process."""
    servers = {"bootstrap_servers": server.bootstrap_servers, "store": database.url}
    return ServiceSettings(
        **{"topic": topic, "stream": random_name("stream"), "kafka": dict(client or {}), **servers, **options}
    )


def stored_offsets(stream: DirectStream) -> dict[TopicPartition, int]:
    """What is stored for a stream that does not run; no plan may be outstanding."""
    try:
        positions = stream.store.positions(stream.name)
    finally:
        stream.store.close()
    assert all(position.planned_until is None for position in positions.values())
    return {tp: position.next_offset for tp, position in positions.items()}


def wait_for_rows(table: ResultTable, rows: int, *streams: DirectStream | RunningService) -> None:
    """Wait until the table has that many rows; a stream that ends before is an error."""
    wait_until(lambda: table.count() >= rows or not all(map(_is_running, streams)), WAIT_S)
    assert table.count() >= rows, (table.count(), *map(_report, streams))


def _is_running(stream: DirectStream | RunningService) -> bool:
    if isinstance(stream, RunningService):
        return stream.is_running()
    return stream.status().state not in (StreamState.FAILED, StreamState.STOPPED)


def _report(stream: DirectStream | RunningService) -> object:
    return stream.report() if isinstance(stream, RunningService) else stream.status()


def wait_for_stable_end(server: KafkaServer, topic: str) -> dict[int, int]:
    """The end offsets, once no transaction is open: one that was ended writes its markers a little later."""

    def is_stable() -> bool:
        return server.end_offsets(topic, committed=True) == server.end_offsets(topic, committed=False)

    assert wait_until(is_stable, WAIT_S), f"a transaction is still open in {topic}"
    return server.end_offsets(topic)


def assert_exactly_once(server: KafkaServer, topic: str, table: ResultTable) -> None:
    """The table holds what an independent read-committed consumer reads, every record once."""
    wait_for_stable_end(server, topic)
    findings = table.check(server.read_committed(topic))
    assert findings.are_exactly_once, findings
