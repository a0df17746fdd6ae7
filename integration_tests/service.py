"""A consumer service as a process of its own: the tests start it, kill it, freeze it and deploy its second version.

Its result table has no unique key, so that a record whose effect happens twice is there twice.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from integration_tests import fragile
from integration_tests.service_settings import ServiceSettings
from integration_tests.service_sinks import PREPARED, SINKS
from integration_tests.soak.inside import Inside
from integration_tests.stateful import app as stateful
from kafka_stream import Batch, DeadLetters, DirectStream
from kafka_stream.errors import KafkaStreamError
from kafka_stream.offset_stores.sql import SqlTransaction
from kafka_stream.offset_stores.zookeeper import ZooKeeperOffsetStore
from kafka_stream.progress import StreamListener
from kafka_stream.protocols import BatchProgress, OffsetStore
from kafka_stream.testing.crash_points import KillAt, PauseAt
from kafka_stream.types import Guarantee, TopicPartition

# One statement and one parameter per column: fast enough that the table keeps up with 200,000 records.
INSERT = sa.text(
    "INSERT INTO results (partition, record_offset, key, value, code_version, pid) "
    "SELECT *, :code_version, :pid FROM unnest(CAST(:partitions AS integer[]), CAST(:offsets AS bigint[]), "
    "CAST(:keys AS text[]), CAST(:values AS text[]))"
)
INSERT_2 = sa.text(
    "INSERT INTO results (partition, record_offset, key, value, value_length, code_version, pid) "
    "SELECT *, :code_version, :pid FROM unnest(CAST(:partitions AS integer[]), CAST(:offsets AS bigint[]), "
    "CAST(:keys AS text[]), CAST(:values AS text[]), CAST(:lengths AS integer[]))"
)
TOTALS = sa.text("INSERT INTO totals (records, value_bytes) VALUES (:records, :value_bytes)")
LINGER = sa.text("SELECT pg_sleep(:seconds)")


def columns_of(batch: Batch) -> dict[str, Any]:
    """The batch by columns."""
    return {
        "partitions": [message.partition() for message in batch],
        "offsets": [message.offset() for message in batch],
        "keys": [_text(message.key()) for message in batch],
        "values": [_text(message.value()) for message in batch],
        "pid": os.getpid(),
    }


def _text(data: str | bytes | None) -> str | None:
    return data.decode() if isinstance(data, bytes) else data


@dataclass(frozen=True)
class RowWriter:
    """Version 1: everything happens in the sink. With ``linger_s`` the transaction stays open for that long."""

    linger_s: float = 0.0

    def __call__(self, batch: Batch, transaction: SqlTransaction) -> None:
        transaction.connection.execute(INSERT, {**columns_of(batch), "code_version": "1"})
        if self.linger_s:
            transaction.connection.execute(LINGER, {"seconds": self.linger_s})


def enrich(batch: Batch) -> dict[str, Any]:
    """Version 2 prepares its rows ahead, with a column that version 1 did not know."""
    columns = columns_of(batch)
    return {**columns, "lengths": [len(value or "") for value in columns["values"]]}


@dataclass(frozen=True)
class EnrichedRowWriter:
    """Version 2, of another class and with another statement."""

    linger_s: float = 0.0

    def __call__(self, columns: dict[str, Any], transaction: SqlTransaction) -> None:
        if self.linger_s:
            transaction.connection.execute(LINGER, {"seconds": self.linger_s})
        transaction.connection.execute(INSERT_2, {**columns, "code_version": "2"})


def write_totals(batch: Batch, transaction: SqlTransaction) -> None:
    """One row per batch: for a backlog that is about memory, not about rows."""
    total = {"records": len(batch), "value_bytes": sum(map(len, batch))}
    transaction.connection.execute(TOTALS, total)


Handler = tuple[Callable[[Any], Any] | None, Any, str]


def handler_of(settings: ServiceSettings) -> Handler:
    """``prepare``, ``sink`` and code version."""
    if settings.handler in SINKS:
        return None, SINKS[settings.handler](settings.target), "1"
    if settings.handler in PREPARED:
        prepare, sink = PREPARED[settings.handler]
        return prepare, sink(settings.target), "1"
    if settings.handler == "stateful":
        options = stateful.Options.of(settings.target)
        return stateful.decode, stateful.Sinks(options).all(), str(options.version)
    handlers: dict[str, Handler] = {
        "fragile": (fragile.Fragile.from_environment(), fragile.sink_of(settings.target), "1"),
        "mended": (fragile.Mended.from_environment(), fragile.sink_of(settings.target), "2"),
        "rows": (None, RowWriter(settings.linger_s), "1"),
        "enriched": (enrich, EnrichedRowWriter(settings.linger_s), "2"),
        "totals": (None, write_totals, "1"),
    }
    return handlers[settings.handler]


class Announcer(StreamListener):
    """Prints one line where something happens that a test waits for."""

    def on_positions(self, positions: Mapping[TopicPartition, int]) -> None:
        say("positions", {str(tp): offset for tp, offset in positions.items()})

    def on_batch(self, progress: BatchProgress) -> None:
        if progress.records:
            say("batch", progress.records)

    def on_retry(self, error: Exception, delay_s: float) -> None:
        say("retry", type(error).__name__)


def say(what: str, value: Any = None) -> None:
    """One line of output that ``RunningService`` can wait for."""
    print(f"{what} {json.dumps(value, default=str)}", flush=True)


def store_of(settings: ServiceSettings) -> OffsetStore | str:
    """Where positions are kept: what the URL says, on ZooKeeper with sessions as short as the settings want them."""
    if settings.zookeeper_session_s is None:
        return settings.store
    hosts = settings.store.removeprefix("zookeeper://")
    return ZooKeeperOffsetStore(hosts, session_timeout_s=settings.zookeeper_session_s)


def build(settings: ServiceSettings) -> DirectStream:
    """The stream, as a service's module would have it."""
    prepare, sink, version = handler_of(settings)
    letters: dict[str, Any] = {"dead_letters": DeadLetters(keep_key_order=settings.keep_key_order)}
    asked_for = (KillAt.from_env(), PauseAt.from_env(), stateful.SignalInTick.from_env(), Inside.from_env())
    injected = [listener for listener in asked_for if listener is not None]
    return DirectStream(
        name=settings.stream,
        topics=[settings.topic],
        kafka={"bootstrap.servers": settings.bootstrap_servers, "log_level": 3, **settings.kafka},
        store=store_of(settings),
        prepare=prepare,
        sink=sink,
        start=settings.start,
        assignment=settings.assignment,
        group_protocol=settings.group_protocol,
        group_instance_id=settings.group_instance_id,
        guarantee=Guarantee(settings.guarantee),
        max_records_per_batch=settings.max_records_per_batch,
        code_version=version,
        on_error=settings.on_error,
        on_data_loss=settings.on_data_loss,
        executor=settings.executor,
        **(letters if settings.on_error == "dead-letter" else {}),
        listeners=[Announcer(), *injected],
    )


def peak_memory_bytes() -> int:
    """The most memory this process has had resident; unlike getrusage's figure it does not include its parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def main() -> int:
    """Run until stopped; say how it ended."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    settings = ServiceSettings.from_environment()
    stream = build(settings)
    say("ready", datetime.now().isoformat())
    try:
        summary = stream.run(until=settings.until)
    except KafkaStreamError as error:
        logging.getLogger("service").exception("stopped")
        say("failed", {"type": type(error).__name__, "message": str(error)})
        return 1
    say("done", {"records": summary.records, "peak_memory_bytes": peak_memory_bytes()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
