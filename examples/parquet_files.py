"""Orders as Parquet files, with the offsets in ZooKeeper: each range of records is one file, and a repeat replaces it.

A file and a znode share no transaction. The range is stored before its file is written, and a restart writes that very
file again: every order is in the files once, which is called effectively-once.
"""

import json
import os
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from kafka_stream import Batch, DirectStream
from kafka_stream.sinks.files import FileSink

SCHEMA = pa.schema([("id", pa.int64()), ("customer", pa.string()), ("amount", pa.int64())])


def to_rows(batch: Batch) -> Iterator[dict[str, Any]]:
    return (order for _, order in batch.decoded(json.loads))


stream = DirectStream(
    name="parquet-files",
    topics=["orders"],
    kafka={"bootstrap.servers": os.environ.get("KAFKA_STREAM_KAFKA__BOOTSTRAP_SERVERS", "localhost:9092")},
    store=os.environ.get("KAFKA_STREAM_STORE", "zookeeper://localhost:2181/kafka-stream"),
    sink=FileSink(os.environ.get("ORDERS_DIRECTORY", "orders"), to_rows, format="parquet", schema=SCHEMA),
    guarantee="effectively-once",
)
