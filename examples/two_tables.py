"""Two tables from one topic: a basket and its lines are in both, or in neither."""

import json
import os
from collections.abc import Iterator
from typing import Any

from sqlalchemy import BigInteger, Column, ForeignKey, Integer, MetaData, Table, Text

from kafka_stream import Batch, DirectStream
from kafka_stream.sinks.sql import SqlSink

metadata = MetaData()
baskets = Table("baskets", metadata, Column("id", BigInteger, primary_key=True), Column("customer", Text))
lines = Table(
    "basket_lines",
    metadata,
    Column("basket_id", ForeignKey(baskets.c.id), primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("sku", Text),
    Column("quantity", Integer),
)


def prepare(batch: Batch) -> list[dict[str, Any]]:
    return [basket for _, basket in batch.decoded(json.loads)]


def to_basket_rows(found: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    return ({"id": basket["id"], "customer": basket["customer"]} for basket in found)


def to_line_rows(found: list[dict[str, Any]]) -> Iterator[tuple[int, int, str, int]]:
    for basket in found:
        for number, line in enumerate(basket["lines"], start=1):
            yield basket["id"], number, line["sku"], line["quantity"]


stream = DirectStream(
    name="two-tables",
    topics=["baskets"],
    kafka={"bootstrap.servers": os.environ.get("KAFKA_STREAM_KAFKA__BOOTSTRAP_SERVERS", "localhost:9092")},
    store=os.environ.get("KAFKA_STREAM_STORE", "sqlite:///orders.db"),
    prepare=prepare,
    sink=[SqlSink(baskets, to_basket_rows, on_conflict="ignore"), SqlSink(lines, to_line_rows, on_conflict="ignore")],
)
