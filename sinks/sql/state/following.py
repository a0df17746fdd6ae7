"""The sinks that get what ``update`` emits, in the same transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kafka_stream.callables import deferred, deferring_kind, discard, name_of, refused_arguments
from kafka_stream.errors import ConfigurationError, ProcessingError
from kafka_stream.protocols import FilteringSink, Sink, TickingSink
from kafka_stream.types import Writes


class Following:
    """Sinks, or functions ``write(rows, transaction)``, that write through the batch's SQL transaction.

    Raises:
        ConfigurationError: one of them does not, or is no sink.
    """

    def __init__(self, sinks: Any, where: str) -> None:
        if not isinstance(sinks, tuple | list):
            raise ConfigurationError(f"then of {where} is a {type(sinks).__name__}, not a list of sinks")
        for sink in sinks:
            _check(sink, where)
        self._where = where
        self.sinks: Sequence[Any] = tuple(sinks)

    def __bool__(self) -> bool:
        return bool(self.sinks)

    def write(self, rows: Sequence[Any], transaction: Any) -> None:
        """Give them what was emitted, one after the other; nothing if there is nothing.

        Raises:
            ProcessingError: one of them has only given what would have to be run.
        """
        if not rows:
            return
        for sink in self.sinks:
            if isinstance(sink, Sink):
                outcome: Any = sink.write(sink.prepare(list(rows)), transaction)  # type: ignore[func-returns-value]
            else:
                outcome = sink(list(rows), transaction)
            if (what := deferred(outcome)) is not None:
                discard(outcome)
                raise ProcessingError(
                    f"{_described(sink)}, behind {self._where}, returned {what}, which nobody runs: write with plain "
                    "calls before it returns"
                )


def _check(sink: Any, where: str) -> None:
    if isinstance(sink, type) or not (isinstance(sink, Sink) or callable(sink)):
        raise ConfigurationError(f"then of {where} has {sink!r}, which is neither a sink nor a function")
    if not isinstance(sink, Sink):
        kind, refusal = deferring_kind(sink), refused_arguments(sink, "rows", "transaction")
        if kind is not None or refusal is not None:
            why = f"it is {kind}, of which a call runs nothing" if kind is not None else refusal
            raise ConfigurationError(
                f"then of {where} has {name_of(sink)}, which is to be a plain function write(rows, transaction): {why}"
            )
        return
    if sink.writes is not Writes.THROUGH_TRANSACTION or sink.needs not in (None, "sql"):
        raise ConfigurationError(
            f"then of {where} has {sink.describe()}, which does not write through the SQL transaction: rows that are "
            "emitted become durable with the state only where they are written in its transaction (by SqlSink, "
            "StateSink, or a function); write them to a table, and what needs them reads that"
        )
    if isinstance(sink, FilteringSink | TickingSink):
        raise ConfigurationError(
            f"then of {where} has {sink.describe()}, which has to be a sink of the stream itself: put it into the "
            "stream's list of sinks"
        )


def _described(sink: Any) -> str:
    return sink.describe() if isinstance(sink, Sink) else f"function {name_of(sink)}"
