"""A stream by its name: what commands, and tests whose processes import it, are given as ``MODULE:STREAM``."""

from kafka_stream.loading.streams import load_stream

__all__ = ["load_stream"]
