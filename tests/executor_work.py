"""User code that workers import, and the work that is made of it."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kafka_stream.batch import Batch
from kafka_stream.errors import RecordError
from kafka_stream.protocols.executors import Work


class Keeping:
    """A sink as a worker sees it: it prepares, and keeps nothing."""

    def prepare(self, prepared: Any) -> Any:
        return prepared


def work_of(
    prepare: Callable[[Any], Any] | None,
    *,
    kafka: Mapping[str, Any] | None = None,
    sinks: int = 1,
    by_range: bool = False,
    piece_bytes: int = 2**20,
) -> Work:
    return Work("orders", kafka or {}, prepare, [Keeping()] * sinks, [by_range] * sinks, piece_bytes)


def values(batch: Batch) -> list[bytes | None]:
    return [message.value() for message in batch]


def offsets(batch: Batch) -> list[int | None]:
    return [message.offset() for message in batch]


async def values_later(batch: Batch) -> list[bytes | None]:
    await asyncio.sleep(0)
    return values(batch)


def rejecting(batch: Batch) -> list[bytes | None]:
    batch.reject(batch.messages[0], "it is the first")
    return values(batch)


def failing(batch: Batch) -> None:
    raise ValueError("no such price")


def failing_at_a_record(batch: Batch) -> None:
    raise RecordError.of(batch.messages[0], "no such price")


def exiting(batch: Batch) -> None:
    raise SystemExit(3)


def lazily(batch: Batch) -> Any:
    return (message.value() for message in batch)


def locks(batch: Batch) -> Any:
    return [{"a": threading.Lock()}]


def process_of(batch: Batch) -> int:
    return os.getpid()


def ending_its_process(batch: Batch) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def ending_its_process_once(flag: str, batch: Batch) -> int:
    path = Path(flag)
    if not path.exists():
        path.touch()
        os._exit(7)
    return os.getpid()


def hanging(begun: str, batch: Batch) -> None:
    Path(begun).write_text(str(os.getpid()))
    while True:
        time.sleep(1)


def large(batch: Batch) -> bytes:
    return b"x" * 20_000_000


def signals_are_ignored(batch: Batch) -> list[bool]:
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(os.getpid(), number)
    return [signal.getsignal(number) is signal.SIG_IGN for number in (signal.SIGINT, signal.SIGTERM)]


class Loaded:
    """A callable that loads something once in a process."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, batch: Batch) -> int:
        self.times += 1
        return self.times


def hanging_at(path: Path) -> Callable[[Any], Any]:
    return functools.partial(hanging, str(path))
