"""Quix Streams, with librdkafka tuned as everybody's.

Measured from the first record that it deserializes until ``run()`` is back, some milliseconds after the last commit.
"""

from __future__ import annotations

from typing import Any, Literal

from quixstreams import Application, message_context
from quixstreams.models import BytesDeserializer
from quixstreams.sinks.community.postgresql import PostgreSQLSink
from sqlalchemy.engine import make_url

from benchmarks import tables, topics
from benchmarks.measurement import Outcome, Stopwatch, Task
from benchmarks.records import PRODUCER

BATCH = 20_000
_CONSUMER = {"queued.min.messages": 200_000, "fetch.queue.backoff.ms": 2, "log_level": 2}


def into_postgres(task: Task) -> Outcome:
    """Its PostgreSQL sink: a transaction per partition and checkpoint, and then the offsets, in Kafka.

    A checkpoint holds a batch per partition, so that each transaction is as large as everybody's. A crash in between
    repeats records; the primary key and ON CONFLICT DO NOTHING keep them from becoming rows.
    """
    tables.create(task.database)
    watch = Stopwatch(task)
    sink = sink_into(task, tables.RESULTS.name, on_conflict_do_nothing=True)
    app = application(task, "at-least-once", BATCH * task.partitions)
    frame = app.dataframe(input_of(app, task, watch))
    frame = frame.apply(_row, metadata=True)
    frame.sink(sink)
    app.run(count=task.records, collect=False)
    watch.last()
    return watch.outcome(tables.found(task.database))


def into_kafka(task: Task) -> Outcome:
    """``processing_guarantee="exactly-once"``: records and offsets in one Kafka transaction per checkpoint."""
    output = topics.create_output(task)
    watch = Stopwatch(task)
    app = application(task, "exactly-once", BATCH)
    frame = app.dataframe(input_of(app, task, watch))
    frame.to_topic(app.topic(output, value_serializer="bytes", key_serializer="bytes"))
    app.run(count=task.records, collect=False)
    watch.last()
    return watch.outcome(topics.found(task, output))


def sink_into(task: Task, table: str, **options: Any) -> PostgreSQLSink:
    """Its PostgreSQL sink, for a table that is there."""
    url = make_url(task.database)
    return PostgreSQLSink(
        host=url.host or "",
        port=url.port or 0,
        dbname=url.database or "",
        user=url.username or "",
        password=str(url.password),
        table_name=table,
        schema_auto_update=False,
        include_metadata=False,
        **options,
    )


class _Watched(BytesDeserializer):
    """Tells the stopwatch when the first record is in hand."""

    def __init__(self, watch: Stopwatch) -> None:
        super().__init__()
        self._first = watch.first

    def __call__(self, value: bytes, ctx: Any) -> bytes:
        self._first()
        return value


def application(
    task: Task, guarantee: Literal["at-least-once", "exactly-once"], checkpoint: int, **options: Any
) -> Application:
    """One that commits after so many records."""
    settings: dict[str, Any] = {"auto_create_topics": False, **options}
    return Application(
        broker_address=task.bootstrap_servers,
        consumer_group=f"quix-{task.topic}-{int(task.started_at * 1000)}",
        auto_offset_reset="earliest",
        processing_guarantee=guarantee,
        commit_every=checkpoint,
        commit_interval=60.0,  # seconds: so that the number of records decides
        consumer_extra_config=dict(_CONSUMER),
        producer_extra_config={**PRODUCER, "log_level": 2},
        state_dir=f"{task.directory}/state",
        loglevel="WARNING",
        **settings,
    )


def input_of(app: Application, task: Task, watch: Stopwatch) -> Any:
    """The topic; the first record that is deserialized starts the clock."""
    return app.topic(task.topic, value_deserializer=_Watched(watch), key_deserializer="bytes")


def _row(value: bytes, key: bytes, timestamp: int, headers: Any) -> dict[str, Any]:
    context = message_context()
    return {"partition": context.partition, "record_offset": context.offset, "key": key, "value": value}
