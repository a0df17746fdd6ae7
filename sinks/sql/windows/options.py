"""What a ``WindowSink`` may be told by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypedDict, get_args

from kafka_stream.errors import ConfigurationError
from kafka_stream.sinks.sql.stateful.durations import SECOND_US, duration_us, positive_us
from kafka_stream.sinks.sql.stateful.functions import checked_function
from kafka_stream.sinks.sql.windows.event_time.definitions import Duration

Late: TypeAlias = Literal["table", "dead-letter", "update"]
OnClose: TypeAlias = Callable[[list[dict[str, Any]], Any], object]
"""Called with the rows of the windows that close, and the transaction in which they do."""


class WindowOptions(TypedDict, total=False):
    """The options of ``WindowSink`` by name; what they mean is said there."""

    allowed_lateness: Duration
    late: Late
    on_close: OnClose | None
    idle_after: Duration
    retention: Duration | None
    name: str | None


@dataclass(frozen=True, slots=True)
class Options:
    """The same, checked; lengths of time in microseconds."""

    lateness_us: int
    late: Late
    on_close: OnClose | None
    idle_after_s: float
    retention_us: int | None
    name: str | None

    @classmethod
    def of(cls, given: Mapping[str, Any], where: str) -> Options:
        """What was given.

        Raises:
            ConfigurationError: an option is unknown, or cannot be as it is.
        """
        if unknown := [name for name in given if name not in WindowOptions.__annotations__]:
            raise ConfigurationError(
                f"{where} has no option {unknown[0]!r}; it has {', '.join(WindowOptions.__annotations__)}"
            )
        late = given.get("late", "table")
        if late not in get_args(Late):
            raise ConfigurationError(f"late={late!r} of {where} is unknown; choose 'table', 'dead-letter' or 'update'")
        on_close, retention, name = (given.get(it) for it in ("on_close", "retention", "name"))
        if late == "update" and retention is None:
            raise ConfigurationError(
                f'late="update" of {where} needs retention=…, for how long closed windows can still be corrected'
            )
        if name is not None and (not isinstance(name, str) or not 0 < len(name) <= 255):
            raise ConfigurationError(f"name={name!r} of {where} is no name; give a text of 1 to 255 characters")
        if on_close is not None:
            checked_function(on_close, f"on_close of {where}", "rows", "transaction")
        return cls(
            duration_us(given.get("allowed_lateness", "0s"), f"allowed_lateness of {where}"),
            late,
            on_close,
            positive_us(given.get("idle_after", "1 minute"), f"idle_after of {where}") / SECOND_US,
            None if retention is None else positive_us(retention, f"retention of {where}"),
            name,
        )
