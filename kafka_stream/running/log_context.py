"""Whose log records are whose: each that is made for a stream says so in its field ``stream``.

A stream's run sets it for its thread; threads that are begun for the run take it over (``contextvars.copy_context``).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

LOGGERS = ("", ".stream", ".run", ".source", ".librdkafka", ".zookeeper", ".dask")
"""The tree below ``kafka_stream``; a logger's filter does not see what is logged below it."""

_STREAM: ContextVar[str] = ContextVar("stream")


def _name_stream(record: logging.LogRecord) -> bool:
    if not hasattr(record, "stream") and (stream := _STREAM.get(None)) is not None:
        record.stream = stream
    return True


for _name in LOGGERS:
    logging.getLogger(f"kafka_stream{_name}").addFilter(_name_stream)


@contextmanager
def logged_as(stream: str) -> Iterator[None]:
    """What is logged meanwhile, here and on threads that are begun with this context, is this stream's."""
    token = _STREAM.set(stream)
    try:
        yield
    finally:
        _STREAM.reset(token)


__all__ = ["LOGGERS", "logged_as"]
