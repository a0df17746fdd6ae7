"""Rows into a table of the database that keeps the offsets, in the same transaction."""

from kafka_stream.sinks.sql.rows import Delete
from kafka_stream.sinks.sql.sink import SqlSink

__all__ = ["Delete", "SqlSink"]
