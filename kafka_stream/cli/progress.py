"""How a run shows a person that it is getting on: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

from kafka_stream.cli.exit_status import without_passwords
from kafka_stream.protocols import BatchProgress
from kafka_stream.running.stream_log import Fields, StreamLog, log_record, thousands
from kafka_stream.types import Guarantee, Owner

LINE_INTERVAL_S = 1.0


class LineProgress(StreamLog):
    """A stream's log, in which a batch is told at INFO, at most once a second, in place of summaries."""

    def __init__(
        self,
        about: Fields,
        *,
        write: Callable[[int, str, Fields], None] = log_record,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(about, every_s=float("inf"), write=write, clock=clock)
        self._written_at = float("-inf")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """There is nothing to tidy up."""

    def on_batch(self, progress: BatchProgress) -> None:
        """Say how far it has come, unless that was said less than a second ago."""
        if self._clock() - self._written_at < LINE_INTERVAL_S:
            super().on_batch(progress)
            return
        self._written_at = self._clock()
        self._totals.add(progress)
        self._say(logging.INFO, "batch", self._batch(progress), self._fields(progress))


class BarProgress(LineProgress):
    """The same on a terminal, with a bar towards the end of a bounded run."""

    def __init__(self, about: Fields, console: Console, *, total_is_lag: bool) -> None:
        super().__init__(about, write=self._print)
        self._console = console
        self._total_is_lag = total_is_lag
        self._bar = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("{task.fields[records]} records"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("connecting", total=None, records="0")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Take the bar off the terminal."""
        self._bar.stop()

    def on_start(self, stream: str, owner: Owner, guarantee: Guarantee) -> None:
        """As lines do; the bar gets its name."""
        super().on_start(stream, owner, guarantee)
        self._bar.update(self._task, description=stream)

    def on_batch(self, progress: BatchProgress) -> None:
        """Move the bar; its length is known once every partition's lag is."""
        self._totals.add(progress)
        lags = [lag for lag in progress.lag.values() if lag is not None]
        known = self._total_is_lag and len(lags) == len(progress.lag)
        self._bar.update(
            self._task,
            completed=self._totals.offsets,
            total=self._totals.offsets + sum(lags) if known else None,
            records=thousands(self._totals.records),
        )

    def _print(self, level: int, line: str, fields: Fields) -> None:
        self._console.print(without_passwords(line), highlight=False, markup=False, soft_wrap=True)


__all__ = ["BarProgress", "LineProgress"]
