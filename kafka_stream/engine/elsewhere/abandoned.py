"""Tasks that were abandoned while they ran: one that never comes back would keep its worker from all others."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future

from kafka_stream.protocols import Outcome, Workers


class AbandonedTasks:
    """Lets go of tasks whose batches were dropped, and ends those that run on for longer than a task may take."""

    def __init__(self, longest_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._longest_s = longest_s
        self._clock = clock
        self._since: dict[Future[Outcome], float] = {}

    def add(self, workers: Workers, task: Future[Outcome]) -> None:
        """It is not begun, if it was not; else it may come to its end."""
        workers.abandon(task)
        if not task.done():
            self._since[task] = self._clock()

    def end_hanging(self, workers: Workers) -> None:
        """Those that were given their time, and did not use it."""
        now = self._clock()
        late = [task for task, since in self._since.items() if not task.done() and now - since >= self._longest_s]
        self._since = {task: since for task, since in self._since.items() if not task.done() and task not in late}
        for task in late:
            workers.abandon(task, hangs=True)


__all__ = ["AbandonedTasks"]
