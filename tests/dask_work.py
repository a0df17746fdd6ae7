"""Work for Dask's workers that needs no Kafka; tasks and the test tell each other things by files in a folder."""

from __future__ import annotations

import os
import pickle
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kafka_stream.errors import ConfigurationError, FailedElsewhere, TransientError
from kafka_stream.executors.packing import unpacked
from kafka_stream.protocols import PositionLost
from kafka_stream.protocols.executors import Outcome, PositionGone, Slice, Work
from kafka_stream.types import OffsetRange, TopicPartition

SECRET = "hunter2"
ORDERS = TopicPartition("orders", 0)


def work(prepare: Callable[[Any], Any], folder: Path | str = "") -> Work:
    """What ``run`` makes of it: ``prepare`` is called with the task's folder and slices."""
    return Work("orders", {"sasl.password": SECRET, "folder": str(folder)}, prepare, (), (), 1)


def part(from_offset: int, until_offset: int) -> Slice:
    """A slice of the one partition that there is."""
    return Slice(OffsetRange(ORDERS, from_offset, until_offset))


def run(packed_work: bytes, slices: Sequence[Slice]) -> Outcome:
    """Stands for ``kafka_stream.executors.worker.run``."""
    given = unpacked(packed_work)
    assert given.prepare is not None
    value = given.prepare((Path(given.kafka["folder"]), slices))
    records = [it.range.until_offset - it.range.from_offset for it in slices]
    return Outcome(records, [0] * len(slices), [None] * len(slices), pickle.dumps(value), str(os.getpid()), 0.0, 0.0)


def offsets(task: Any) -> list[int]:
    """All offsets of the slices."""
    _, slices = task
    return [offset for it in slices for offset in range(it.range.from_offset, it.range.until_offset)]


def squares(task: Any) -> list[int]:
    """Another work of the same slices."""
    return [offset**2 for offset in offsets(task)]


def dies_once(task: Any) -> list[int]:
    """The first worker that has it is killed amid it."""
    folder, _ = task
    if _is_first(folder / "died"):
        os.kill(os.getpid(), signal.SIGKILL)
    return offsets(task)


def dies(task: Any) -> None:
    """Each worker that has it is killed amid it."""
    os.kill(os.getpid(), signal.SIGKILL)


def waits(task: Any) -> list[int]:
    """Says that it has begun, and ends when it is told to."""
    folder, slices = task
    (folder / f"began-{slices[0].range.from_offset}").write_text(str(os.getpid()))
    while not (folder / "go").exists():
        time.sleep(0.01)
    return offsets(task)


def hangs_once(task: Any) -> list[int]:
    """The first that is begun never ends."""
    folder, _ = task
    if _is_first(folder / "hung"):
        while True:
            time.sleep(0.01)
    return offsets(task)


def lost(task: Any) -> None:
    """The broker does not have it."""
    raise PositionGone("the records are gone", lost=PositionLost(ORDERS, 3, truncated=False, reason="out of range"))


def fails(task: Any) -> None:
    """User code fails, with more text than Dask lets through."""
    raise FailedElsewhere("x" * 20_000)


def cannot_load(task: Any) -> None:
    """The worker does not have the user's module."""
    raise ConfigurationError("the module shop.orders cannot be imported")


def silent(task: Any) -> None:
    """What the worker needs does not answer."""
    raise TransientError("the broker does not answer")


class Unpicklable(Exception):
    """Cannot be made again from its arguments."""

    def __init__(self, *, needed: int) -> None:
        super().__init__("never told")
        self.needed = needed


def raises_the_unpicklable(task: Any) -> None:
    """What ``run`` should not let through."""
    raise Unpicklable(needed=1)


def exits(task: Any) -> None:
    """As a careless library does."""
    raise SystemExit("enough")


def _is_first(path: Path) -> bool:
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
