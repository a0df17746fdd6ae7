"""Totals per customer: ``prepare`` adds up a batch before its transaction opens, ``write`` adds that to the table.

Adding is not idempotent: a repeated batch would be counted twice. Here none is, since the sums and the offsets commit
together.
"""

import json
import os
from collections import Counter

from sqlalchemy import BigInteger, Column, MetaData, Table, Text
from sqlalchemy.dialects import postgresql, sqlite

from kafka_stream import Batch, DirectStream
from kafka_stream.offset_stores.sql import SqlTransaction

metadata = MetaData()
totals = Table("totals", metadata, Column("customer", Text, primary_key=True), Column("amount", BigInteger))


def prepare(batch: Batch) -> Counter[str]:
    amounts: Counter[str] = Counter()
    for _, order in batch.decoded(json.loads):
        amounts[order["customer"]] += order["amount"]
    return amounts


def write(amounts: Counter[str], transaction: SqlTransaction) -> None:
    connection = transaction.connection
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(totals)
    added = totals.c.amount + statement.excluded.amount
    # Sorted, so that several copies of this service lock the rows in one order.
    rows = [{"customer": customer, "amount": amount} for customer, amount in sorted(amounts.items())]
    connection.execute(statement.on_conflict_do_update(index_elements=["customer"], set_={"amount": added}), rows)


stream = DirectStream(
    name="totals",
    topics=["orders"],
    kafka={"bootstrap.servers": os.environ.get("KAFKA_STREAM_KAFKA__BOOTSTRAP_SERVERS", "localhost:9092")},
    store=os.environ.get("KAFKA_STREAM_STORE", "sqlite:///orders.db"),
    prepare=prepare,
    sink=write,
)
