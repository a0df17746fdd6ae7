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
    schema = pa.schema(
        [
            ("topic", pa.string()),
            ("partition", pa.int32()),
            ("offset", pa.int64()),
            ("timestamp", pa.timestamp("ms", tz="UTC")),
            ("key", pa.binary()),
            ("value", pa.binary()),
        ]
    )
    types = [field.type for field in schema]
    batches = []
    for tp, messages in records.items():
        columns: list[list[Any]] = [
            [tp.topic] * len(messages),
            [tp.partition] * len(messages),
            [*map(Message.offset, messages)],
            [*map(_timestamp, messages)],
            [*map(Message.key, messages)],
            [*map(Message.value, messages)],
        ]
        arrays = [pa.array(column, kind) for column, kind in zip(columns, types, strict=True)]
        batches.append(pa.RecordBatch.from_arrays(arrays, schema=schema))
    return pa.Table.from_batches(batches, schema)


def _timestamp(message: Message) -> int | None:
    kind, milliseconds = message.timestamp()
    return None if kind == TIMESTAMP_NOT_AVAILABLE else milliseconds


__all__ = ["table_of"]
