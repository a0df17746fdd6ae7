"""Rows into files, one per partition and range, which a repeat replaces."""

from kafka_stream.sinks.files.sink import FileSink

__all__ = ["FileSink"]
