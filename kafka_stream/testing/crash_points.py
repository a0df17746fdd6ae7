"""Listeners that kill or freeze their own process at a named point of a batch: for tests of the guarantee.

The crash is a real one: SIGKILL leaves no ``finally`` and no flush behind, as an out-of-memory kill would. Only
``CrashAt`` ends the run instead of the process. The idea of named crash points is that of failpoints (FreeBSD's
``fail(9)``), reduced to the points that a batch goes through.

Example:
    ``KAFKA_STREAM_TEST_KILL_AT=after_write:3 python -m orders``, where the service is built with
    ``listeners=[*filter(None, [KillAt.from_env()])]``, dies with its third batch written and not committed.
"""

from __future__ import annotations

import os
import signal
from typing import ClassVar, Self

from kafka_stream.progress import StreamListener
from kafka_stream.types import OffsetRange, Phase


class SimulatedCrash(BaseException):
    """Ends a run as a crash would, as far as one process can tell: nothing catches it, and nothing is committed."""


class _At(StreamListener):
    """Does something to its own process, or run, at a named point."""

    def __init__(self, phase: Phase | str, nth: int = 1) -> None:
        try:
            self.phase = Phase(phase)
        except ValueError:
            raise ValueError(f"{phase!r} is not a phase of a batch; those are {', '.join(Phase)}") from None
        if nth < 1:
            raise ValueError(f"nth is {nth}; the first batch is number 1")
        self.nth = nth
        self._seen = 0
        self._prepared: tuple[OffsetRange, ...] = ()

    def _strike(self) -> None:
        """The point is reached."""
        raise NotImplementedError

    def on_phase(self, phase: Phase, ranges: tuple[OffsetRange, ...]) -> None:
        """Count, and strike when it is time."""
        if phase is Phase.AFTER_PREPARE:
            self._prepared = ranges  # nothing is prepared for a batch without records
        if phase is not self.phase or (phase is not Phase.AFTER_FETCH and ranges != self._prepared):
            return
        self._seen += 1
        if self._seen == self.nth:
            self._strike()


class CrashAt(_At):
    """Ends the run with ``SimulatedCrash`` the ``nth`` time that a batch with records comes to ``phase``.

    The process goes on, and may begin the next run: a crash that costs milliseconds. What a real one would leave behind
    it leaves behind too, but for what ``finally`` blocks and context managers do. Counts as ``KillAt`` does.

    Raises:
        ValueError: there is no such phase, or ``nth`` is below 1.
    """

    def _strike(self) -> None:
        raise SimulatedCrash


class _SignalAt(_At):
    """Sends its own process a signal that cannot be caught, at a named point."""

    VARIABLE: ClassVar[str]
    _SIGNAL: ClassVar[signal.Signals]

    @classmethod
    def from_env(cls, variable: str | None = None) -> Self | None:
        """The listener that an environment variable asks for as ``phase`` or ``phase:nth``; None if it is not set.

        Raises:
            ValueError: the variable holds something else.
        """
        name = variable or cls.VARIABLE
        text = os.environ.get(name)
        if not text:
            return None
        phase, _, nth = text.partition(":")
        try:
            return cls(phase, int(nth or 1))
        except ValueError as error:
            raise ValueError(f"{name}={text} is not a phase and a number, such as after_write:3: {error}") from error

    def _strike(self) -> None:
        os.kill(os.getpid(), self._SIGNAL)


class KillAt(_SignalAt):
    """Kills its own process with SIGKILL the ``nth`` time that a batch with records comes to ``phase``.

    ``AFTER_FETCH`` counts every batch, since a listener cannot tell yet whether there are records in its ranges.

    Raises:
        ValueError: there is no such phase, or ``nth`` is below 1.
    """

    VARIABLE = "KAFKA_STREAM_TEST_KILL_AT"
    _SIGNAL = signal.SIGKILL


class PauseAt(_SignalAt):
    """Freezes its own process with SIGSTOP the ``nth`` time that a batch with records comes to ``phase``.

    Whatever the process holds then (connections, row locks) it keeps holding; SIGCONT from outside wakes it up as a
    zombie. Counts as ``KillAt`` does.

    Raises:
        ValueError: there is no such phase, or ``nth`` is below 1.
    """

    VARIABLE = "KAFKA_STREAM_TEST_PAUSE_AT"
    _SIGNAL = signal.SIGSTOP


__all__ = ["CrashAt", "KillAt", "PauseAt", "SimulatedCrash"]
