"""Whoever orders gets a mail, exactly once: one handler leaves it in an outbox; a wrong one sends it itself.

``kafka_stream.testing.assert_exactly_once`` tells them apart (docs/how-to/test-your-handler.md): a batch that is rolled
back, or whose process dies, takes the outbox's rows with it, and not the mails.
"""

import json
import os

from sqlalchemy import BigInteger, Column, MetaData, Table, Text, insert

from kafka_stream import Batch, DirectStream
from kafka_stream.offset_stores.sql import SqlTransaction

metadata = MetaData()
outbox = Table("outbox", metadata, Column("order_id", BigInteger), Column("customer", Text))
sent: list[int] = []
"""Stands for the mail server: the orders that it was told of."""


def write(batch: Batch, transaction: SqlTransaction) -> None:
    rows = [{"order_id": order["id"], "customer": order["customer"]} for _, order in batch.decoded(json.loads)]
    transaction.connection.execute(insert(outbox), rows)


def write_and_send(batch: Batch, transaction: SqlTransaction) -> None:
    write(batch, transaction)
    sent.extend(order["id"] for _, order in batch.decoded(json.loads))


stream = DirectStream(
    name="mailed-orders",
    topics=["orders"],
    kafka={"bootstrap.servers": os.environ.get("KAFKA_STREAM_KAFKA__BOOTSTRAP_SERVERS", "localhost:9092")},
    store=os.environ.get("KAFKA_STREAM_STORE", "sqlite:///orders.db"),
    sink=write,
)
wrong_stream = stream.replace(sink=write_and_send)
