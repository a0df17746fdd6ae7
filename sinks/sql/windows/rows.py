"""Closed windows as rows of the user's table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, TypeAlias

from kafka_stream.sinks.sql.stateful.moments import moment
from kafka_stream.sinks.sql.windows.tables import END, START, WindowTables

Row: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Closed:
    """A window of one key, with what is made of its records."""

    start_us: int
    end_us: int
    key: Any
    parts: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Corrections:
    """What late records have made of windows that were closed: those whose rows are others now, and new ones.

    ``gone`` are the keys and starts of sessions that are a part of others now, which may be open.
    """

    windows: Sequence[Closed] = ()
    gone: Sequence[tuple[Any, int]] = ()


def in_order(windows: Iterable[Closed]) -> list[Closed]:
    """Sorted by end and key; keys that have no order of their own go by their text."""
    found = list(windows)
    try:
        return sorted(found, key=attrgetter("end_us", "key"))
    except TypeError:
        return sorted(found, key=lambda one: (one.end_us, repr(one.key)))


def rows_of(windows: Iterable[Closed], tables: WindowTables) -> list[Row]:
    """Their rows, in order."""
    finals = tables.plan.finals.items()
    names = (*tables.key, START, END, *tables.plan.finals)
    found: list[Row] = []
    moments: dict[int, Any] = {}
    for one in in_order(windows):
        ends = [moments.get(us) or moments.setdefault(us, moment(us)) for us in (one.start_us, one.end_us)]
        values = (*tables.key_values(one.key), *ends, *(final(one.parts) for _, final in finals))
        found.append(dict(zip(names, values, strict=True)))
    return found
