"""Listeners that show a person how a run is getting on: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

from kafka_stream.cli.exit_status import without_passwords
from kafka_stream.progress import StreamListener
from kafka_stream.protocols import BatchProgress, WorkerShare
from kafka_stream.types import Guarantee, Owner

logger = logging.getLogger("kafka_stream.run")

LINE_INTERVAL_S = 1.0


def _log_line(line: str, fields: Mapping[str, object]) -> None:
    logger.info("%s", line, extra=fields)


def thousands(number: int) -> str:
    """``1 234 567``: readable, and the same in every locale."""
    return f"{number:,}".replace(",", " ")


class Totals:
    """What has been committed since the start, by the reports of the batches."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started_at = clock()
        self.batches = 0
        self.records = 0
        self.dead_letters = 0
        self.duplicates = 0
        self.offsets = 0
        self.workers: dict[str, WorkerShare] = {}

    def add(self, progress: BatchProgress) -> None:
        """Count one committed batch."""
        self.batches += 1
        self.records += progress.records
        self.dead_letters += progress.dead_letters
        self.duplicates += progress.duplicates
        self.offsets += sum(map(len, progress.ranges))
        for worker, share in progress.workers.items():
            self.workers[worker] = self.workers[worker] + share if worker in self.workers else share

    def sentence(self) -> str:
        """The totals, with the rate since the start."""
        duration_s = max(self._clock() - self._started_at, 1e-9)
        rate = round(self.records / duration_s)
        aside = f", {thousands(self.dead_letters)} of them set aside as dead letters" if self.dead_letters else ""
        kept_back = f", {thousands(self.duplicates)} of them duplicates" if self.duplicates else ""
        return (
            f"{thousands(self.records)} records in {thousands(self.batches)} batches{aside}{kept_back}, "
            f"{duration_s:.1f} s ({thousands(rate)} records/s)"
        )


class LineProgress(StreamListener):
    """A line at the start, at most one a second while batches are committed, and one at the stop.

    They are records of the logger ``kafka_stream.run``, with fields for programs: ``event``, ``stream`` and numbers.
    """

    def __init__(
        self,
        route: str,
        *,
        write: Callable[[str, Mapping[str, object]], None] = _log_line,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._route = route
        self._write = write
        self._clock = clock
        self._totals = Totals(clock)
        self._written_at = float("-inf")
        self._stream = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """There is nothing to tidy up."""

    def on_start(self, stream: str, owner: Owner, guarantee: Guarantee) -> None:
        """Say what runs, from where to where, as whom, and what is promised."""
        self._stream = stream
        fields = {"event": "started", "stream": stream, "owner": owner.id, "guarantee": str(guarantee)}
        self._write(f"{stream} started: {self._route}, owner {owner}, {guarantee}", fields)

    def on_batch(self, progress: BatchProgress) -> None:
        """Say how far it has come, unless that was said less than a second ago."""
        self._totals.add(progress)
        if self._clock() - self._written_at < LINE_INTERVAL_S:
            return
        self._written_at = self._clock()
        took = f"{progress.duration_s:.2f} s{_by(progress)}"
        self._write(
            f"{progress.stream} batch {progress.batch}: {thousands(progress.records)} records in {took}, "
            f"{thousands(self._totals.records)} in all, lag {_lag(progress)}",
            {
                "event": "batch",
                "stream": progress.stream,
                "batch": progress.batch,
                "records": progress.records,
                "duration_s": round(progress.duration_s, 6),
                "records_in_all": self._totals.records,
                "lag": _lag_in_all(progress),
                "ranges": [str(r) for r in progress.ranges],
            },
        )

    def on_retry(self, error: Exception, delay_s: float) -> None:
        """Nothing: the library logs its retries."""

    def on_stop(self, error: BaseException | None) -> None:
        """Say what was done in all."""
        for worker, share in sorted(self._totals.workers.items()):
            self._write(
                f"worker {worker}: {thousands(share.records)} records in {share.busy_s:.1f} s of its time",
                {"event": "worker", "worker": worker, "records": share.records, "busy_s": round(share.busy_s, 6)},
            )
        event = "stopped" if error is None else "failed"
        fields: dict[str, object] = {"event": event, "stream": self._stream, "batches": self._totals.batches}
        fields |= {"records": self._totals.records, "dead_letters": self._totals.dead_letters}
        if error is not None:
            fields["error"] = type(error).__name__
        self._write(f"{event} after {self._totals.sentence()}", fields)


class BarProgress(LineProgress):
    """The same on a terminal, with a bar towards the end of a bounded run."""

    def __init__(self, route: str, console: Console, *, total_is_lag: bool) -> None:
        super().__init__(route, write=self._print)
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

    def _print(self, line: str, fields: Mapping[str, object]) -> None:
        self._console.print(without_passwords(line), highlight=False, markup=False, soft_wrap=True)


def _by(progress: BatchProgress) -> str:
    """How many workers of an executor had a share in it."""
    count = len(progress.workers)
    return f" by {count} worker{'s' if count > 1 else ''}" if count else ""


def _lag(progress: BatchProgress) -> str:
    lag = _lag_in_all(progress)
    return "not known yet" if lag is None else thousands(lag)


def _lag_in_all(progress: BatchProgress) -> int | None:
    lags = [lag for lag in progress.lag.values() if lag is not None]
    return sum(lags) if lags else None


__all__ = ["BarProgress", "LineProgress", "Totals", "thousands"]
