"""A stream of ten records in memory, for the console script to run."""

from __future__ import annotations

MEMORY_APP = """
import sqlalchemy as sa
from kafka_stream.stream import DirectStream
from kafka_stream.testing import MemoryKafka

results = sa.Table("results", sa.MetaData(), sa.Column("value", sa.Text))
kafka = MemoryKafka({"orders": 2})
for number in range(10):
    kafka.produce("orders", value=str(number), partition=number % 2)

def write(batch, transaction):
    results.create(transaction.connection, checkfirst=True)
    transaction.connection.execute(results.insert(), [{"value": m.value().decode()} for m in batch])

stream = DirectStream(
    name="orders", topics=["orders"], kafka=kafka, store="sqlite:///orders.db", sink=write, assignment="static"
)
"""
