"""Pure: what a record takes by librdkafka's own count, so that one that it would refuse is known before it is sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_OVERHEAD = 36
"""The most that a record takes without key, value and headers, in version 2 of Kafka's format."""


def size_of(value: Any, key: Any, headers: Any) -> int:
    """In bytes, as ``message.max.bytes`` counts."""
    pairs: Iterable[tuple[Any, Any]] = headers.items() if isinstance(headers, Mapping) else headers or ()
    return _OVERHEAD + _length(value) + _length(key) + sum(_part(name) + _part(each) for name, each in pairs)


def _length(data: Any) -> int:
    if data is None:
        return 0
    return len(data.encode()) if isinstance(data, str) and not data.isascii() else len(data)


def _part(data: Any) -> int:
    """With its length before it, as a zigzag varint."""
    length = _length(data)
    return length + (max((2 * length).bit_length(), 1) + 6) // 7


__all__ = ["size_of"]
