"""What a driver logs beside an error that it raises: psycopg tells of each failed ``executemany`` twice."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_psycopg = logging.getLogger("psycopg")


class _Aftermath(logging.Filter):
    """Keeps one thread's lines about a pipeline that ends with an error out of the log: who gets the error knows."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is to be logged."""
        return record.thread != self._thread or not record.module.startswith("_pipeline")


@contextmanager
def errors_told_once() -> Iterator[None]:
    """On this thread, for the block: a search for records that fail would log dozens of lines."""
    aftermath = _Aftermath()
    _psycopg.addFilter(aftermath)
    try:
        yield
    finally:
        _psycopg.removeFilter(aftermath)


__all__ = ["errors_told_once"]
