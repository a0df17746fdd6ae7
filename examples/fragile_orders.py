"""Records that fail: this handler breaks on some orders, on purpose, and the stream goes on without them.

What cannot be decoded, what the handler chokes on, and what the database refuses is found, and set aside in the batch's
own transaction: ``kafka-stream dead-letters list --app examples.fragile_orders:stream``. Mend the handler (take
``ACCEPTS_REFUNDS = True``), and put them back: ``kafka-stream dead-letters replay …``.
"""

import json
import os
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Column, MetaData, Table, Text

from kafka_stream import Batch, DeadLetters, DirectStream
from kafka_stream.sinks.sql import SqlSink

ACCEPTS_REFUNDS = False

metadata = MetaData()
orders = Table(
    "fragile_orders",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("customer", Text, nullable=False),
    Column("amount", BigInteger, CheckConstraint("amount <> 13", name="no_unlucky_amounts")),
)


def prepare(batch: Batch) -> list[dict[str, Any]]:
    rows = []
    for message, order in batch.decoded(json.loads):
        if order["customer"] == "test":
            batch.reject(message, "an order of the test shop")
            continue
        rows.append(row_of(order))
    return rows


def row_of(order: dict[str, Any]) -> dict[str, Any]:
    if order["amount"] < 0 and not ACCEPTS_REFUNDS:
        raise ValueError("nobody thought of refunds")
    return {"id": order["id"], "customer": order["customer"], "amount": order["amount"]}


stream = DirectStream(
    name="fragile-orders",
    topics=["fragile_orders"],
    kafka={"bootstrap.servers": os.environ.get("KAFKA_STREAM_KAFKA__BOOTSTRAP_SERVERS", "localhost:9092")},
    store=os.environ.get("KAFKA_STREAM_STORE", "sqlite:///orders.db"),
    prepare=prepare,
    sink=SqlSink(orders, lambda rows: rows, on_conflict="ignore"),
    on_error="dead-letter",
    dead_letters=DeadLetters(max_ratio=0.2),
)
