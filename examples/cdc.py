"""Change data capture: a table follows a compacted topic, rows for values and deletes for tombstones."""

import json
import os
from collections.abc import Iterator
from typing import Any

from sqlalchemy import BigInteger, Column, MetaData, Table, Text

from kafka_stream import Batch, DirectStream, RecordError
from kafka_stream.sinks.sql import Delete, SqlSink

metadata = MetaData()
customers = Table(
    "customers", metadata, Column("id", BigInteger, primary_key=True), Column("name", Text), Column("city", Text)
)


def to_rows(batch: Batch) -> Iterator[dict[str, Any] | Delete]:
    for message, row in batch.decoded(json.loads):
        key = message.key()
        if key is None:
            raise RecordError.of(message, "it has no key, so nothing says which customer changed")
        yield {"id": int(key), **row} if row is not None else Delete(int(key))


stream = DirectStream(
    name="cdc",
    topics=["customers"],
    kafka={"bootstrap.servers": os.environ.get("KAFKA_STREAM_KAFKA__BOOTSTRAP_SERVERS", "localhost:9092")},
    store=os.environ.get("KAFKA_STREAM_STORE", "sqlite:///orders.db"),
    sink=SqlSink(customers, to_rows, on_conflict="update"),
)
