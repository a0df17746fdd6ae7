"""Process starts that are processes: each imports the stream anew, and is killed by SIGKILL."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kafka_stream.errors import ConfigurationError
from kafka_stream.testing.exactly_once.feeds import MemoryFeed
from kafka_stream.testing.exactly_once.findings import StreamStopped
from kafka_stream.testing.exactly_once.here import Look, until_of
from kafka_stream.testing.exactly_once.records import Record
from kafka_stream.testing.exactly_once.starts import Start
from kafka_stream.testing.exactly_once.worlds import World
from kafka_stream.types import Phase

_TIMEOUT_S = 120.0
_LONGEST_TOLD = 2_000


@dataclass(frozen=True)
class Job:
    """What a process start is told, by its standard input: a Kafka in memory is made anew of ``records`` there."""

    stream: str
    import_path: list[str]
    options: Mapping[str, Any]
    kafka: Mapping[str, Any] | None
    records: list[Record]
    until: Any
    kill_at: str | None
    kill_after_s: float | None
    undone_at: Phase | None


class ProcessesElsewhere:
    """Each start is a process that imports ``module:name``; the results are looked at when it has ended."""

    anywhen = True
    random_kills = 6

    def __init__(self, stream: str) -> None:
        self._stream = stream

    def run(self, world: World, start: Start, look: Look) -> bool:
        """Whether it was killed, before the records had come to their end.

        Raises:
            StreamStopped: it ended with an error, or did not end.
        """
        command = [sys.executable, "-m", "kafka_stream.testing.exactly_once.process"]
        try:
            done = subprocess.run(  # noqa: S603 - our own module
                command, input=self._job(world, start), capture_output=True, timeout=_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise StreamStopped(f"the process had not ended after {_TIMEOUT_S:g} s") from error
        if done.returncode not in (0, -signal.SIGKILL):
            told = done.stderr.decode(errors="replace").strip()[-_LONGEST_TOLD:]
            raise StreamStopped(f"the stream stopped by itself, with exit status {done.returncode}:\n{told}")
        return done.returncode != 0

    def _job(self, world: World, start: Start) -> bytes:
        stream = world.make()
        options = world.options(stream, start.batch_records)
        if not isinstance(options["store"], str):
            raise ConfigurationError(
                "another process cannot write into a store of this one: give store= as a URL, or the stream itself "
                f"instead of {self._stream!r}"
            )
        feed = world.feed
        job = Job(
            stream=self._stream,
            import_path=sys.path,
            options=options,
            kafka=None if isinstance(feed, MemoryFeed) else feed.kafka(),
            records=feed.records if isinstance(feed, MemoryFeed) else [],
            until=until_of(world, start),
            kill_at=None if start.kill_at is None else f"{start.kill_at}:{start.nth}",
            kill_after_s=start.kill_after_s,
            undone_at=start.undone_at,
        )
        return pickle.dumps(job)


__all__ = ["Job", "ProcessesElsewhere"]
