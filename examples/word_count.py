"""The word count of Spark's ``updateStateByKey``, both ways.

``word_counts`` is kept by ``StateSink``: a function of the new records and the row that there was, which may do
anything with it. ``merged_word_counts`` is kept by ``Merge``: the database adds, and no row is read.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from confluent_kafka import Message
from sqlalchemy import BigInteger, Column, MetaData, String, Table

from kafka_stream import Batch, DirectStream
from kafka_stream.sinks.sql import Add, Merge, SqlSink, StateSink

metadata = MetaData()
word_counts = Table(
    "word_counts", metadata, Column("word", String(40), primary_key=True), Column("count", BigInteger, nullable=False)
)
merged_word_counts = Table(
    "merged_word_counts",
    metadata,
    Column("word", String(40), primary_key=True),
    Column("count", BigInteger, nullable=False),
)


def prepare(batch: Batch) -> list[tuple[Message, str]]:
    return [(message, word) for message, text in batch.decoded(json.loads) for word in text["line"].split()]


def update(word: str, words: Sequence[str], row: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"count": len(words) + (0 if row is None else row["count"])}


def to_rows(words: list[tuple[Message, str]]) -> Iterator[dict[str, Any]]:
    for _, word in words:
        yield {"word": word, "count": 1}


stream = DirectStream(
    name="word_count",
    topics=["lines"],
    kafka={"bootstrap.servers": os.environ.get("KAFKA_STREAM_KAFKA__BOOTSTRAP_SERVERS", "localhost:9092")},
    store=os.environ.get("KAFKA_STREAM_STORE", "sqlite:///orders.db"),
    prepare=prepare,
    sink=[
        StateSink(word_counts, key=lambda word: word, update=update),
        SqlSink(merged_word_counts, to_rows, on_conflict=Merge(count=Add)),
    ],
)
