"""State as rows of the user's own tables, in the batch's transaction: updated key by key, and looked up."""

from kafka_stream.sinks.sql.state.lookup import CachedLookup, lookup
from kafka_stream.sinks.sql.state.sink import StateSink
from kafka_stream.sinks.sql.state.typed_rows import UNCHANGED

__all__ = ["UNCHANGED", "CachedLookup", "StateSink", "lookup"]
