"""Rows into a table of the database that keeps the offsets, in the same transaction."""

from sinks.sql.rows import Delete
from sinks.sql.sink import SqlSink

__all__ = ["Delete", "SqlSink"]
