"""``ZooKeeperSink``: what becomes of a function's operations before anything is sent."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from kafka_stream.batch import Batch
from kafka_stream.errors import ProcessingError
from kafka_stream.offset_stores.zookeeper import ZooKeeperTransaction
from kafka_stream.sinks.zookeeper import Create, Delete, Put, Remove, Set, ZooKeeperSink
from kafka_stream.testing.sink_backend import OLDER, P0, STREAM
from kafka_stream.testing.sink_contract import SinkFunctionContract, SinkOf, TransactionSinkContract
from kafka_stream.testing.store_backend import claim_of
from tests.zookeeper_ensemble import Ensemble, Znode


class MemoryBackend:
    """A znode a record; the batches' claims are of a partition of their own."""

    def __init__(self) -> None:
        self._ensemble = Ensemble({"/results": Znode(b"")})
        self._store = self._ensemble.store()
        self._taken = self._store.take_over(STREAM, OLDER, [P0], {})
        self._next = 0

    def sink(self) -> ZooKeeperSink:
        return ZooKeeperSink(self._operations)

    def _operations(self, batch: Batch) -> Iterator[Create]:
        for m in batch.messages:
            if (value := m.value()) is not None:
                yield Create(f"/results/{m.partition()}-{m.offset():06d}", value)

    @contextmanager
    def transaction(self) -> Iterator[ZooKeeperTransaction]:
        with self._store.begin(claim_of(OLDER, {P0: (self._next, self._next + 1)}, self._taken)) as transaction:
            yield transaction

    def commit(self, transaction: ZooKeeperTransaction) -> None:
        transaction.advance()
        transaction.commit()
        self._next += 1

    def results(self) -> Sequence[int]:
        znodes = self._ensemble.znodes
        return [int(znodes[path].data) for path in sorted(znodes) if path.startswith("/results/")]

    def secrets(self) -> Collection[str]:
        return []


class TestZooKeeperSink(TransactionSinkContract, SinkFunctionContract):
    @pytest.fixture
    def backend(self) -> MemoryBackend:
        return MemoryBackend()

    @pytest.fixture
    def sink_of(self) -> SinkOf:
        def build(to_operations: Callable[[Any], Any]) -> ZooKeeperSink:
            return ZooKeeperSink(to_operations)

        return build


def prepared(*operations: Any) -> Sequence[Any]:
    return ZooKeeperSink(lambda _: operations).prepare(None)


def test_only_the_last_of_the_values_at_a_path_is_sent_in_the_place_of_the_first() -> None:
    assert prepared(Put("/a", b"1"), Put("/a/b", b"1"), Put("/a", b"2"), Put("/a/b", b"2")) == [
        Put("/a", b"2"), Put("/a/b", b"2"),
    ]  # fmt: skip


@pytest.mark.parametrize("between", [Remove("/a"), Delete("/a"), Create("/a", b"x"), Set("/a", b"x")])
def test_values_are_not_folded_over_another_operation_at_their_path(between: Any) -> None:
    operations = [Put("/a", b"1"), between, Put("/a", b"2"), Put("/a", b"3")]
    assert prepared(*operations) == [Put("/a", b"1"), between, Put("/a", b"3")]


def test_operations_are_values() -> None:
    assert Put("/a", b"1") == Put("/a", b"1")
    assert len({Remove("/a"), Remove("/a"), Delete("/a")}) == 2
    with pytest.raises(AttributeError):
        Put("/a", b"1").path = "/b"  # type: ignore[misc]


@pytest.mark.parametrize("kind", [Put, Create, Set])
def test_a_value_that_is_not_bytes_is_refused_with_its_path(kind: Callable[[str, Any], object]) -> None:
    for value in ("text", None, 7):
        with pytest.raises(ValueError, match=f"/a.*{type(value).__name__}.*bytes"):
            kind("/a", value)


@pytest.mark.parametrize("path", ["a", "", None, b"/a"])
def test_what_is_no_path_is_refused(path: Any) -> None:
    operations: list[Callable[[], object]] = [
        lambda: Put(path, b""), lambda: Remove(path), lambda: Create(path), lambda: Set(path, b""), lambda: Delete(path)
    ]  # fmt: skip
    for build in operations:
        with pytest.raises(ValueError, match="slash"):
            build()


def test_what_is_no_operation_is_refused_with_its_place() -> None:
    with pytest.raises(ProcessingError, match="tuple as operation 1"):
        prepared(Put("/a", b""), ("/a", b""))
