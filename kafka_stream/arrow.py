"""Records as an Arrow table. pyarrow is imported only when a table is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message

from kafka_stream.errors import MissingExtra
from kafka_stream.types import TopicPartition


def table_of(records: Mapping[TopicPartition, Sequence[Message]]) -> Any:
    """See ``Batch.to_arrow``."""
    try:
        import pyarrow as pa
    except ModuleNotFoundError as error:
        raise MissingExtra("Batch.to_arrow() needs pyarrow: pip install 'kafka-stream[parquet]'") from error
    when = pa.timestamp("ms", tz="UTC")
    schema = pa.schema(
        [
            ("topic", pa.string()),
            ("partition", pa.int32()),
            ("offset", pa.int64()),
            ("timestamp", when),
            ("key", pa.binary()),
            ("value", pa.binary()),
        ]
    )
    batches = []
    for tp, messages in records.items():
        arrays = [
            pa.repeat(pa.scalar(tp.topic, pa.string()), len(messages)),
            pa.repeat(pa.scalar(tp.partition, pa.int32()), len(messages)),
            pa.array([*map(Message.offset, messages)], pa.int64()),
            # As integers, which pyarrow converts three times as fast as times.
            pa.array(_timestamps(messages), pa.int64()).view(when),
            pa.array([*map(Message.key, messages)], pa.binary()),
            pa.array([*map(Message.value, messages)], pa.binary()),
        ]
        batches.append(pa.RecordBatch.from_arrays(arrays, schema=schema))
    return pa.Table.from_batches(batches, schema)


def _timestamps(messages: Sequence[Message]) -> Sequence[int | None]:
    """In milliseconds."""
    return [None if kind == TIMESTAMP_NOT_AVAILABLE else at for kind, at in map(Message.timestamp, messages)]


__all__ = ["table_of"]
