"""Totals per customer, computed in columns: pyarrow reads the JSON and adds up, without a Python object per order.

DuckDB and Polars take the same table: ``duckdb.sql("SELECT … FROM orders")``, ``polars.from_arrow(orders)``.
"""

import io
import os

import pyarrow as pa
from pyarrow import json
from sqlalchemy import BigInteger, Column, MetaData, Table, Text
from sqlalchemy.dialects import postgresql, sqlite

from kafka_stream import Batch, DirectStream
from kafka_stream.offset_stores.sql import SqlTransaction

metadata = MetaData()
totals = Table("arrow_totals", metadata, Column("customer", Text, primary_key=True), Column("amount", BigInteger))

SCHEMA = pa.schema([("customer", pa.string()), ("amount", pa.int64())])
OPTIONS = json.ParseOptions(explicit_schema=SCHEMA, unexpected_field_behavior="ignore", newlines_in_values=True)


def prepare(batch: Batch) -> pa.Table:
    values = batch.to_arrow().column("value").drop_null()
    if not len(values):
        return SCHEMA.empty_table()
    orders = json.read_json(io.BytesIO(b"\n".join(values.to_pylist())), parse_options=OPTIONS)
    return orders.group_by("customer").aggregate([("amount", "sum")]).sort_by("customer")


def write(sums: pa.Table, transaction: SqlTransaction) -> None:
    rows = [{"customer": row["customer"], "amount": row["amount_sum"]} for row in sums.to_pylist()]
    if not rows:
        return
    connection = transaction.connection
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(totals)
    added = totals.c.amount + statement.excluded.amount
    connection.execute(statement.on_conflict_do_update(index_elements=["customer"], set_={"amount": added}), rows)


stream = DirectStream(
    name="arrow-totals",
    topics=["orders"],
    kafka={"bootstrap.servers": os.environ.get("KAFKA_STREAM_KAFKA__BOOTSTRAP_SERVERS", "localhost:9092")},
    store=os.environ.get("KAFKA_STREAM_STORE", "sqlite:///orders.db"),
    prepare=prepare,
    sink=write,
)
