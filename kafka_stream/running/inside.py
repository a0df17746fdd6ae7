"""Which code runs inside of a run: user code that it calls, on whichever of its threads.

``stop()`` waits for the run to end, which must not be waited for inside of it. A thread's identity would not do:
prepare has a thread of its own, an ``async def`` may hand over to others, librdkafka calls back from the consumer's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_runs: ContextVar[tuple[Inside, ...]] = ContextVar("kafka_stream_runs", default=())


class Inside:
    """The inside of one run; runs may be nested."""

    def is_here(self) -> bool:
        """Whether whoever asks is called by the run."""
        return any(run is self for run in _runs.get())

    @contextmanager
    def entered(self) -> Iterator[None]:
        """What is called meanwhile, in this context and copies of it, is inside."""
        token = _runs.set((*_runs.get(), self))
        try:
            yield
        finally:
            _runs.reset(token)

    def around(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A client's settings, with their callbacks inside."""
        return {key: self._called(value) if callable(value) else value for key, value in config.items()}

    def _called(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(callback, updated=())
        def called(*arguments: Any) -> Any:
            with self.entered():
                return callback(*arguments)

        return called


__all__ = ["Inside"]
