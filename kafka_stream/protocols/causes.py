"""Pure: what an error was raised from, as stores' ``classify`` and ``blames_records`` look at it, and what it says."""

from __future__ import annotations

from collections.abc import Iterator


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised ``from``; what was merely being handled meanwhile did not cause it."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__


def said(error: BaseException) -> str:
    """What an error is, and what it says, if it says anything."""
    return ": ".join(filter(None, (type(error).__name__, str(error))))


__all__ = ["causes", "said"]
