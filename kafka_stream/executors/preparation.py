"""The pure part of a batch's way: the user's ``prepare``, then each sink's own. Here, or in a worker's process."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kafka_stream.batch import Batch
from kafka_stream.callables import name_of
from kafka_stream.protocols import RangeSink
from kafka_stream.types import OffsetRange
from kafka_stream.user_results import Untouched, awaited, check_prepared, description_of, prepared_by


class EventLoops(threading.local):
    """The event loop of each thread that prepares, for an ``async def prepare``; usually there is one."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()

    def run(self, awaitable: Any) -> Any:
        """What it gives."""
        return self._runner.run(awaited(awaitable))

    def close(self) -> None:
        """Close that of this thread."""
        self._runner.close()


class Preparation:
    """What each sink takes of a batch. What user code raises comes through as it is.

    ``by_range`` says of each sink whether it keeps whole ranges, where the sinks cannot be asked: what is sent to a
    worker in a sink's place has ``prepare`` alone.
    """

    def __init__(
        self,
        prepare: Callable[[Any], Any] | None,
        sinks: Sequence[Any],
        by_range: Sequence[bool] | None = None,
        loops: EventLoops | None = None,
    ) -> None:
        self._prepare = prepare
        self._sinks = tuple(sinks)
        self._by_range = [isinstance(sink, RangeSink) for sink in sinks] if by_range is None else list(by_range)
        self._is_shared = prepare is not None and len(self._sinks) > 1
        self._loops = EventLoops() if loops is None else loops

    @property
    def by_range(self) -> Sequence[bool]:
        """Of each sink, whether it keeps whole ranges."""
        return self._by_range

    def close(self) -> None:
        """Close the event loop of an ``async def prepare``, on the thread that it was on."""
        self._loops.close()

    def values(self, batch: Batch) -> Sequence[Any]:
        """What each sink takes of a batch that has records, as it is; nothing of one without.

        A sink that keeps whole ranges takes ``{range: prepared}``.
        """
        if not len(batch):
            return ()
        whole = None if all(self._by_range) else self.given(batch, len(self._sinks) - sum(self._by_range))
        parts = self._given_by_range(batch) if any(self._by_range) else {}
        return self.for_sinks(whole, parts)

    def given(self, batch: Any, takers: int) -> Any:
        """What the user's function gives of a batch, or of what stands for one, for so many sinks."""
        if self._prepare is None:
            return batch
        prepared = self._prepare(batch)
        if inspect.isawaitable(prepared):
            prepared = self._loops.run(prepared)
        check_prepared(prepared, name_of(self._prepare), takers)
        return prepared

    def _given_by_range(self, batch: Batch) -> dict[OffsetRange, Any]:
        """Each range by itself: what a sink keeps of it must not depend on what else was in the batch."""
        parts = ((r, batch.partition(r.topic_partition)) for r in batch.ranges)
        return {r: self.given(part, sum(self._by_range)) for r, part in parts if len(part)}

    def for_sinks(self, whole: Any, parts: Mapping[OffsetRange, Any]) -> Sequence[Any]:
        """What each sink takes of what was given of all, or, if it keeps whole ranges, of each range."""
        given = [whole, *parts.values()]
        untouched = Untouched(given) if self._is_shared else None
        results: list[Any] = []
        for sink, each_range in zip(self._sinks, self._by_range, strict=True):
            if untouched is not None:
                untouched.check(description_of(sink))
            by_range = {r: prepared_by(sink, part) for r, part in parts.items()} if each_range else None
            results.append(prepared_by(sink, whole) if by_range is None else by_range)
        if untouched is not None:
            self._check_kept(results, given, untouched)
        return results

    def _check_kept(self, results: Sequence[Any], given: Sequence[Any], untouched: Untouched) -> None:
        """What a sink is to write as it was given, the ``prepare`` of a later one may have emptied."""
        shared = {id(value) for value in given}
        for sink, result, each_range in zip(self._sinks, results, self._by_range, strict=True):
            if any(id(value) in shared for value in (result.values() if each_range else (result,))):
                untouched.check(description_of(sink))


__all__ = ["EventLoops", "Preparation"]
