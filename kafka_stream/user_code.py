"""What a user hands over to be called: refused when a stream is built, if calling it cannot be what is meant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kafka_stream.callables import deferring_kind, name_of, refused_arguments
from kafka_stream.protocols import FilteringSink, RangeSink, Sink
from kafka_stream.types import Writes

_MEMBERS = ("writes", "needs", "describe", "prepare", "write")
_CALLED = ("describe", "write", "write_overlapping", "take_over", "discard")


@dataclass(frozen=True, slots=True)
class AsPrepared:
    """What a function as a sink leaves to workers: what ``prepare`` gave, or the batch, goes to it as it is."""

    def prepare(self, prepared: Any) -> Any:
        """Nothing to do."""
        return prepared


@dataclass(frozen=True, slots=True)
class FunctionSink:
    """A plain ``write(prepared, transaction)``; its contract is that it writes through the transaction only."""

    function: Callable[[Any, Any], Any]

    @property
    def writes(self) -> Writes:
        """Through the transaction, by contract."""
        return Writes.THROUGH_TRANSACTION

    @property
    def needs(self) -> str | None:
        """Whatever transaction the store offers."""
        return None

    def describe(self) -> str:
        """The function's name."""
        return f"function {name_of(self.function)}"

    def prepare(self, prepared: Any) -> Any:
        """Nothing to do."""
        return prepared

    @property
    def work_changed(self) -> int:
        """See ``ConvertingSink``: there is nothing to find out."""
        return 0

    def for_workers(self) -> AsPrepared:
        """See ``ConvertingSink``: the function is called where the transaction is, and need not be sent."""
        return AsPrepared()

    def write(self, prepared: Any, transaction: Any) -> Any:
        """Call the function; what it returns is passed on, since an awaitable is a mistake that must not pass."""
        return self.function(prepared, transaction)


def checked_sinks(sink: Any) -> Any:
    """A sink, a function, or a list of them, as it was given.

    Raises:
        ValueError: one of them cannot be a sink.
    """
    for one in members_of(sink):
        if one is not None:
            _check_sink(one)
    if isinstance(sink, list | tuple) and not sink:
        raise ValueError("sink is an empty list; give at least one")
    return sink


def members_of(given: Any) -> Sequence[Any]:
    """The sinks as they were given, each by itself."""
    return given if isinstance(given, list | tuple) else [given]


def sinks_of(given: Any) -> tuple[Sink, ...]:
    """What a stream writes to, of what ``checked_sinks`` lets pass: one that filters stands for those behind it.

    Raises:
        ConfigurationError: a sink cannot be behind one that filters.
    """
    sinks: tuple[Sink, ...] = ()
    for one in reversed(members_of(given)):
        sink = one if isinstance(one, Sink) else FunctionSink(one)
        sinks = (sink.before(sinks),) if isinstance(sink, FilteringSink) else (sink, *sinks)
    return sinks


def check_prepare(prepare: Callable[[Any], Any] | None, sink: Any) -> None:
    """Raise ``ValueError`` if ``prepare`` cannot be called with a batch, or gives what these sinks cannot share."""
    if prepare is None:
        return
    if (refusal := refused_arguments(prepare, "batch")) is not None:
        raise ValueError(f"prepare is called with the batch, and {refusal}")
    kind = deferring_kind(prepare)
    if kind == "an async generator function":
        raise ValueError(
            f"{name_of(prepare)} is {kind}, and no sink can read what it gives: collect it, and return a list"
        )
    if kind == "a generator function" and (takers := most_takers(members_of(sink))) > 1:
        raise ValueError(one_shot(name_of(prepare), kind, takers))


def most_takers(sinks: Sequence[Any]) -> int:
    """How many sinks get one and the same value of ``prepare``: those by range get another one than the others."""
    by_range = sum(isinstance(sink, RangeSink) for sink in sinks)
    return max(by_range, len(sinks) - by_range)


def one_shot(prepare: str, what: str, takers: int) -> str:
    """Why something that can be read only once is no result of ``prepare``."""
    return (
        f"{prepare} gives what can be read only once ({what}) to {takers} sinks: the first would get the records, the "
        "others nothing; return a list, or batch.decoded(…), which can be read again"
    )


def _check_sink(one: Any) -> None:
    if isinstance(one, type):
        raise ValueError(f"sink is the class {one.__qualname__}; give an object of it, or a function")
    for name in _CALLED:
        _refuse_deferring(getattr(one, name, None), f"{type(one).__qualname__}.{name}")
    if isinstance(one, Sink):
        if (kind := deferring_kind(one.prepare)) not in (None, "a generator function"):
            _refuse_deferring(one.prepare, f"{type(one).__qualname__}.prepare ({kind})")
        _refuse_arguments(one.write)
    elif callable(one):
        _refuse_deferring(one, name_of(one))
        _refuse_arguments(one)
    else:
        missing = [name for name in _MEMBERS if not hasattr(one, name)]
        almost = f"; {type(one).__qualname__} lacks {', '.join(missing)}" if len(missing) < len(_MEMBERS) else ""
        raise ValueError(f"sink must be a function write(prepared, transaction), a sink, or a list of sinks{almost}")


def _refuse_deferring(function: Any, name: str) -> None:
    kind = deferring_kind(function)
    if kind is None:
        return
    if "async" in kind:
        raise ValueError(
            "a sink cannot be async: it writes in the store's transaction, on one thread; do async work in "
            f"prepare (async def prepare(batch)), which runs to completion before the transaction opens ({name})"
        )
    raise ValueError(
        f"{name} is {kind}, of which a call runs nothing: write with plain calls, without yield (or, if a decorator "
        "runs it to its end, in a plain function that calls it)"
    )


def _refuse_arguments(write: Any) -> None:
    if (refusal := refused_arguments(write, "prepared", "transaction")) is not None:
        raise ValueError(f"sink must be a function write(prepared, transaction), and {refusal}")


__all__ = ["FunctionSink", "check_prepare", "checked_sinks", "members_of", "most_takers", "one_shot", "sinks_of"]
