"""Rows into files, one per partition and range, which a repeat replaces."""

from sinks.files.sink import FileSink

__all__ = ["FileSink"]
