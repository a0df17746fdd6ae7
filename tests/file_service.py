"""A service that writes files from a Kafka in memory, in a process of its own that can be killed anywhere.

Every process has the same log: what a restart reads is what the one before it read.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from kafka_stream import Batch, DirectStream
from kafka_stream.protocols import TopicInfo
from kafka_stream.sinks.files import FileSink
from kafka_stream.testing import MemoryKafka
from kafka_stream.testing.crash_points import KillAt, PauseAt

ROOT = Path(__file__).parents[1]
TOPIC = "orders"
PARTITIONS = 3
RECORDS = 90

Record = tuple[int, int, str]


class SameKafka(MemoryKafka):
    """The same topic in every process: committed records, and gaps where aborted ones and markers are."""

    def __init__(self) -> None:
        super().__init__({TOPIC: PARTITIONS})
        self.committed: list[Record] = []
        for partition in range(PARTITIONS):
            for number in range(RECORDS):
                if number % 20 == 7:
                    self.open_transaction(TOPIC, ["aborted"] * 3, partition=partition).abort()
                if number % 30 == 11:
                    self.skip(TOPIC, partition, 5)
                offset = self.produce(TOPIC, f"value {number}", partition=partition)
                self.committed.append((partition, offset, f"value {number}"))

    def topics(self, names: Sequence[str]) -> Mapping[str, TopicInfo]:
        return {name: TopicInfo(info.partitions, f"id of {name}") for name, info in super().topics(names).items()}


@dataclass(frozen=True)
class Settings:
    """What a restart may change, and where it may not: the directory and the store."""

    directory: str
    store: str
    code: str = "1"
    format: Literal["jsonl", "parquet"] = "jsonl"
    assignment: str = "static"
    max_records: int = 10

    def start(self, **environment: str) -> subprocess.Popen[str]:
        """A process that runs to the end of the log."""
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.file_service", json.dumps(asdict(self))],
            cwd=ROOT,
            env={**os.environ, **environment},
            stderr=subprocess.PIPE,
            text=True,
        )

    def stream(self, kafka: MemoryKafka, **options: Any) -> DirectStream:
        """The stream with these settings."""

        def to_rows(batch: Batch) -> Iterator[dict[str, Any]]:
            for message in batch:
                value = (message.value() or b"").decode()
                yield {"partition": message.partition(), "offset": message.offset(), "value": value, "code": self.code}

        given: dict[str, Any] = {"store": self.store, **options}
        return DirectStream(
            name="orders",
            topics=[TOPIC],
            kafka=kafka,
            sink=FileSink(self.directory, to_rows, self.format),
            assignment=self.assignment,
            guarantee="effectively-once",
            max_records_per_batch=self.max_records,
            code_version=self.code,
            **given,
        )


def fault(kind: str) -> None:
    """Make the nth call of a system call send a signal to this process, before (or ``after_``) it takes effect."""
    name, nth, number = kind.split(":")
    when, _, call = name.partition("_")
    original: Callable[..., Any] = getattr(os, call)
    seen = 0

    def faulty(*arguments: Any) -> Any:
        nonlocal seen
        seen += 1
        result = original(*arguments) if when == "after" else None
        if seen == int(nth):
            os.kill(os.getpid(), signal.Signals[number])
        return result if when == "after" else original(*arguments)

    setattr(os, call, faulty)


def main() -> None:
    """Run with the settings that are given as JSON."""
    settings = Settings(**json.loads(sys.argv[1]))
    if kind := os.environ.get("FILE_SERVICE_FAULT"):
        fault(kind)
    listeners = [listener for listener in (KillAt.from_env(), PauseAt.from_env()) if listener is not None]
    settings.stream(SameKafka(), listeners=listeners).run(until="latest")


if __name__ == "__main__":
    main()
