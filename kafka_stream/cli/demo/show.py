"""The demo's plot: orders flow, the service is killed in the middle of things, new code takes over, all is counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from kafka_stream.cli.demo.display import Board, Display, Mark
from kafka_stream.cli.demo.kills import Kill, Script
from kafka_stream.cli.demo.ledger import Ledger, Verdict
from kafka_stream.cli.demo.orders import OrderProducer
from kafka_stream.cli.demo.service import ServiceProcess
from kafka_stream.errors import KafkaStreamError
from kafka_stream.protocols import OffsetStore
from kafka_stream.running.stream_log import thousands
from kafka_stream.types import Phase

TICK_S = 0.05
COUNT_INTERVAL_S = 0.4
PATIENCE_S = 45.0


class DemoFailed(KafkaStreamError):
    """The demo could not be carried through; that says nothing about the orders."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What there was to see."""

    verdict: Verdict
    kills: tuple[Kill, ...]
    batches: int
    duration_s: float


class Services(Protocol):
    """Starts a version of the service."""

    def __call__(self, version: int) -> ServiceProcess:
        """A new process of it."""


class Show:
    """One run of the demo. ``close`` ends every process it has started, whatever has happened."""

    def __init__(
        self,
        *,
        board: Board,
        display: Display,
        ledger: Ledger,
        store: OffsetStore,
        stream: str,
        producer: OrderProducer,
        services: Services,
        script: Script,
    ) -> None:
        self._board = board
        self._display = display
        self._ledger = ledger
        self._store = store
        self._stream = stream
        self._producer = producer
        self._services = services
        self._script = script
        self._running: list[ServiceProcess] = []
        self._kills: list[Kill] = []
        self._batches = 0
        self._scene = 0
        self._counted_at = 0.0

    # ----------------------------------------------------------------------------------------------------- the plot

    def play(self) -> Outcome:
        """All of it; the figures of the outcome are counted in the database.

        Raises:
            DemoFailed: a process did not do its part in time.
        """
        started_at = time.monotonic()
        points_1, points_2 = self._script.points()
        self._producer.start()
        service = self._start(1, "It reads orders and stores them, a batch at a time.")
        for point in points_1:
            self._next_scene()
            self._kill(service, point)
            service = self._restart(1)
        self._next_scene()
        service = self._take_over(service)
        for point in points_2:
            self._next_scene()
            self._kill(service, point)
            service = self._restart(2)
        self._finish(service)
        self._display.say(Mark.NOTE, "now the table is counted, against what Kafka has acknowledged")
        verdict = self._ledger.verdict(self._producer.acknowledged)
        return Outcome(verdict, tuple(self._kills), self._batches, time.monotonic() - started_at)

    def close(self) -> None:
        """Kill what still runs, by its process id, and end the producer."""
        self._producer.close()
        for service in self._running:
            service.kill()
        self._running.clear()

    # --------------------------------------------------------------------------------------------------- the scenes

    def _release(self, part: float) -> None:
        """Let the producer go on to this part of the scene.

        Whoever waits for a batch releases orders after it has begun to wait, so that there is one, however slow or
        fast the machine is.
        """
        scenes = self._script.kills + 3
        self._producer.allow(int(self._producer.records * (self._scene + part) / scenes))

    def _next_scene(self) -> None:
        """Let the orders of this scene flow, then go on to the next."""
        self._release(1.0)
        self._wait_until(lambda: self._producer.is_waiting, "the producer to go on")
        self._scene += 1

    def _start(self, version: int, why: str) -> ServiceProcess:
        service = self._launch(version)
        self._release(1.0)
        self._display.say(Mark.START, f"version {version} of the service starts (process {service.pid})", why)
        self._wait_for_batches(service)
        return service

    def _launch(self, version: int) -> ServiceProcess:
        service = self._services(version)
        self._running.append(service)
        self._board.service = f"version {version}, process {service.pid}, starting"
        return service

    def _kill(self, service: ServiceProcess, point: Phase | None) -> None:
        if point is None:
            self._release(0.25)
            instant = time.monotonic() + self._script.random.uniform(0.1, 0.8)
            self._wait_until(lambda: time.monotonic() >= instant, "a random instant", service)
        else:
            service.hold_at(point)
            self._release(0.25)
            self._wait_until(lambda: service.observed.held, f"a batch at {point}", service)
            self._count()
        held_rows = self._board.rows
        service.kill()
        self._running.remove(service)
        self._batches += service.observed.batches
        self._board.kills += 1
        self._board.service = f"version {service.version} is dead"
        seen = service.observed
        rows, offsets = self._settled_rows_and_offsets()
        self._kills.append(Kill(service.version, seen.phase, point is None, seen.phase_records))
        self._display.say(Mark.KILL, f"kill -9 {self._kills[-1].where()}")
        if rows != offsets or (point is not None and rows != held_rows):
            words = f"{thousands(held_rows)} rows before, {thousands(rows)} after, the offsets say {thousands(offsets)}"
            self._display.say(Mark.WRONG, words)
            return
        batch = {Phase.AFTER_COMMIT: "stored", None: "consistent"}.get(point, "rolled back")
        self._display.say(
            Mark.CHECK, f"{batch}: the table has {thousands(rows)} rows, the offsets say {thousands(offsets)}"
        )

    def _restart(self, version: int) -> ServiceProcess:
        service = self._launch(version)
        self._release(1.0)
        self._wait_until(lambda: bool(service.observed.positions), "the service to read its offsets", service)
        self._display.say(Mark.START, f"restarted: resumes at {_positions(service.observed.positions)}")
        self._wait_for_batches(service)
        return service

    def _take_over(self, old: ServiceProcess) -> ServiceProcess:
        self._ledger.add_size_column()
        new = self._launch(2)
        self._release(0.25)
        self._display.say(
            Mark.CHANGE,
            "version 2 is deployed while version 1 runs: a new column, other classes",
            "No checkpoint, nothing pickled: progress is a few numbers in a table.",
        )
        self._wait_until(lambda: bool(new.observed.positions), "version 2 to take over", new)
        self._release(1.0)
        self._display.say(Mark.START, f"version 2 resumes at {_positions(new.observed.positions)}")
        self._wait_until(lambda: old.exit_status is not None, "version 1 to notice", new)
        status = old.wait()
        self._running.remove(old)
        self._batches += old.observed.batches
        self._display.say(
            Mark.CHECK,
            f"version 1 was refused its next batch, and left ({old.observed.error}, exit {status})",
        )
        self._wait_for_batches(new)
        return new

    def _finish(self, service: ServiceProcess) -> None:
        self._producer.allow(self._producer.records)
        self._wait_until(lambda: self._producer.has_ended, "the producer to end", service)
        if self._producer.failure is not None:
            raise DemoFailed(self._producer.failure)
        self._display.say(
            Mark.NOTE, f"the producer has ended: {thousands(self._producer.produced)} orders acknowledged"
        )
        ends = self._producer.ends()
        self._wait_until(lambda: self._stored_offsets() == ends, "the service to come to the end", service)
        status = service.stop()
        self._running.remove(service)
        self._batches += service.observed.batches
        self._board.service = "stopped"
        self._count()
        self._display.say(Mark.CHECK, f"the service has read everything, and stops on SIGTERM (exit {status})")

    # --------------------------------------------------------------------------------------------- watching, waiting

    def _wait_for_batches(self, service: ServiceProcess) -> None:
        self._wait_until(lambda: service.observed.batches > 0, "the service to commit a batch", service)

    def _wait_until(self, condition: Callable[[], bool], what: str, service: ServiceProcess | None = None) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if service is not None and service.exit_status is not None:
                raise DemoFailed(
                    f"version {service.version} of the service ended by itself (exit {service.exit_status}) while the "
                    f"demo waited for {what}; it said:\n{service.last_words()}"
                )
            if self._producer.failure is not None:
                raise DemoFailed(self._producer.failure)
            if time.monotonic() > deadline:
                said = f"; the service said:\n{service.last_words()}" if service is not None else ""
                raise DemoFailed(f"the demo waited {PATIENCE_S:g} s in vain for {what}{said}")
            self._watch()
            time.sleep(TICK_S)

    def _watch(self) -> None:
        self._board.produced = self._producer.produced
        if self._running and (seen := self._running[-1].observed).positions:
            service = self._running[-1]
            self._board.service = (
                f"version {service.version}, process {service.pid}, {thousands(seen.batches)} batches committed"
            )
        if time.monotonic() - self._counted_at >= COUNT_INTERVAL_S:
            self._count()
        self._display.refresh()

    def _count(self) -> None:
        self._board.rows, self._board.repeated = self._ledger.rows_and_repeats()
        self._board.produced = self._producer.produced
        self._counted_at = time.monotonic()

    def _stored_offsets(self) -> Mapping[int, int]:
        positions = self._store.positions(self._stream)
        return {tp.partition: stored.next_offset for tp, stored in positions.items() if stored.next_offset}

    def _settled_rows_and_offsets(self) -> tuple[int, int]:
        """Both figures when they agree; a commit that a dead service had sent may still be under way."""
        deadline = time.monotonic() + 3.0
        while True:
            offsets = sum(self._stored_offsets().values())
            self._count()
            if self._board.rows == offsets or time.monotonic() > deadline:
                return self._board.rows, offsets
            time.sleep(TICK_S)


def _positions(positions: Mapping[int, int]) -> str:
    return "offsets " + " · ".join(thousands(positions[partition]) for partition in sorted(positions))


__all__ = ["DemoFailed", "Outcome", "Services", "Show"]
