"""Rows into a table of the database that keeps the offsets, in the same transaction."""

from kafka_stream.sinks.sql.deduplication.sink import Deduplicate
from kafka_stream.sinks.sql.merging.aggregates import Add, Computed, Greatest, Latest, Least
from kafka_stream.sinks.sql.merging.merge import Merge
from kafka_stream.sinks.sql.rows import Delete
from kafka_stream.sinks.sql.sink import SqlSink
from kafka_stream.sinks.sql.state import UNCHANGED, CachedLookup, StateSink, lookup
from kafka_stream.sinks.sql.windows.event_time.aggregates import Count, Max, Mean, Min, Sum
from kafka_stream.sinks.sql.windows.event_time.definitions import Session, Sliding, Tumbling
from kafka_stream.sinks.sql.windows.sink import WindowSink

__all__ = [
    "UNCHANGED",
    "Add",
    "CachedLookup",
    "Computed",
    "Count",
    "Deduplicate",
    "Delete",
    "Greatest",
    "Latest",
    "Least",
    "Max",
    "Mean",
    "Merge",
    "Min",
    "Session",
    "Sliding",
    "SqlSink",
    "StateSink",
    "Sum",
    "Tumbling",
    "WindowSink",
    "lookup",
]
