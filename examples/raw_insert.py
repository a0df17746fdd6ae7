"""Every order becomes a row, exactly once: a plain function writes in the transaction that also moves the offsets."""

import json
import os

from sqlalchemy import BigInteger, Column, MetaData, Table, Text, insert

from kafka_stream import Batch, DirectStream
from kafka_stream.offset_stores.sql import SqlTransaction

metadata = MetaData()
orders = Table("orders", metadata, Column("id", BigInteger), Column("customer", Text), Column("amount", BigInteger))


def write(batch: Batch, transaction: SqlTransaction) -> None:
    rows = [order for _, order in batch.decoded(json.loads)]
    transaction.connection.execute(insert(orders), rows)


stream = DirectStream(
    name="raw-insert",
    topics=["orders"],
    kafka={"bootstrap.servers": os.environ.get("KAFKA_STREAM_KAFKA__BOOTSTRAP_SERVERS", "localhost:9092")},
    store=os.environ.get("KAFKA_STREAM_STORE", "sqlite:///orders.db"),
    sink=write,
)
