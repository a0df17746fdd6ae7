"""Stores, brokers and a sink by range, for tests of the admin library."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from kafka_stream.admin.actions import new_action
from kafka_stream.errors import TopicNotFound
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.protocols import ActionKind, AdministeredStore, Change, OffsetAt, TopicInfo
from kafka_stream.testing import MemoryOffsetStore
from kafka_stream.testing.store_backend import claim_of
from kafka_stream.types import OffsetRange, Owner, PlanKind, TopicPartition, Writes
from tests.fakes import ORDERS_0, ORDERS_1, ORDERS_2

ME = Owner("me-1f3a", "here", "v1")
OTHER = Owner("other-9c2e", "elsewhere")
STREAM = "orders"
KINDS = ("memory", "sqlite")

NewStore = Callable[[], AdministeredStore]


class Brokers:
    """``admin.reset.Broker`` with three partitions of "orders", which counts what it is asked."""

    def __init__(self) -> None:
        self.infos = {"orders": TopicInfo(3, "id-1")}
        self.ends = {
            OffsetAt.EARLIEST: {ORDERS_0: 10, ORDERS_1: 0, ORDERS_2: 0},
            OffsetAt.LATEST: {ORDERS_0: 90, ORDERS_1: 50, ORDERS_2: 0},
            OffsetAt.HIGH_WATERMARK: {ORDERS_0: 100, ORDERS_1: 50, ORDERS_2: 0},
        }
        self.after: dict[TopicPartition, int] = {ORDERS_0: 33}
        self.asked = 0

    def topics(self, names: Sequence[str]) -> Mapping[str, TopicInfo]:
        self.asked += 1
        for name in names:
            if name not in self.infos:
                raise TopicNotFound(f"topic {name!r} does not exist")
        return {name: self.infos[name] for name in names}

    def offsets(self, partitions: Sequence[TopicPartition], at: OffsetAt) -> Mapping[TopicPartition, int]:
        self.asked += 1
        return {tp: self.ends[at][tp] for tp in partitions}

    def first_offsets_after(self, partitions: Sequence[TopicPartition], at: datetime) -> Mapping[TopicPartition, int]:
        self.asked += 1
        return {tp: self.after[tp] for tp in partitions if tp in self.after}


class Files:
    """A sink by range that remembers what it was told to discard."""

    def __init__(self) -> None:
        self.discarded: list[OffsetRange] = []
        self.failures: list[Exception] = []

    writes = Writes.IDEMPOTENT_BY_RANGE
    needs = None

    def describe(self) -> str:
        return "files"

    def prepare(self, prepared: Any) -> Any:
        return prepared

    def write(self, prepared: Any, transaction: object) -> None:
        raise NotImplementedError

    def take_over(self, stream: str, owner: Owner, partitions: Sequence[TopicPartition]) -> None:
        raise NotImplementedError

    def discard(self, planned: OffsetRange) -> None:
        if self.failures:
            raise self.failures.pop()
        self.discarded.append(planned)


class NumberedMemory(MemoryOffsetStore):
    """Two of them are two stores for people, too."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def describe(self) -> str:
        return f"memory {self._number}"


@contextmanager
def new_stores(kind: str, directory: Path) -> Iterator[NewStore]:
    """A function that makes one more store."""
    made: list[AdministeredStore] = []
    with ExitStack() as stack:

        def make() -> AdministeredStore:
            store: AdministeredStore = NumberedMemory(len(made))
            if kind == "sqlite":
                store = SqlOffsetStore(f"sqlite:///{directory}/{len(made)}.db")
                stack.callback(store.close)
            made.append(store)
            return store

        yield make


def started(store: AdministeredStore) -> AdministeredStore:
    """With the stream at 40 in two of three partitions."""
    store.open()
    store.initialise(STREAM, "orders", {0: 40, 1: 40}, "id-1")
    return store


def plan_a_range(store: AdministeredStore, until: int = 50) -> None:
    """A sink by range has planned [40, until) of the first partition, and its owner is gone."""
    taken = store.take_over(STREAM, ME, [ORDERS_0], {})
    store.plan(replace(claim_of(ME, {ORDERS_0: (40, until)}, taken), plan_kind=PlanKind.RANGE))


def execute_change(store: AdministeredStore, changes: Sequence[Change]) -> None:
    """Whatever is stored."""
    partitions = [change.topic_partition for change in changes]
    store.change(STREAM, partitions, new_action(ActionKind.RESET), lambda _: changes)


__all__ = [
    "KINDS",
    "ME",
    "OTHER",
    "STREAM",
    "Brokers",
    "Files",
    "NewStore",
    "NumberedMemory",
    "execute_change",
    "new_stores",
    "plan_a_range",
    "started",
]
