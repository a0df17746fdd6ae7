"""Registers a sink with each stream that writes through it, until that is known to be durable."""

from __future__ import annotations

from typing import Any

from kafka_stream.protocols import StateDescription
from kafka_stream.sinks.sql.stateful.registry import register
from kafka_stream.sinks.sql.stateful.transaction import StatefulTransaction


class Registration:
    """Once per stream and process; what other transactions say nothing of is left out."""

    def __init__(self, described: StateDescription) -> None:
        self._described = described
        self._last: dict[str, StatefulTransaction] = {}
        self._registered: set[str] = set()

    def through(self, transaction: Any) -> None:
        """Register in this transaction, if it is one of a store that keeps the register, and that was not done."""
        stream = getattr(getattr(transaction, "claimed", None), "stream", None)
        if stream is None or stream in self._registered or not isinstance(transaction, StatefulTransaction):
            return
        last = self._last.pop(stream, None)
        if last is not None and last is not transaction and last.is_committed:
            self._registered.add(stream)
            return
        register(transaction, self._described)
        if not transaction.in_attempt:  # else it may be undone
            self._last[stream] = transaction


__all__ = ["Registration"]
