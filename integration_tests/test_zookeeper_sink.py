"""``ZooKeeperSink`` on a server: the sinks' contract, and what becomes of each operation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from kazoo.security import OPEN_ACL_UNSAFE

from kafka_stream.batch import Batch
from kafka_stream.errors import ProcessingError
from kafka_stream.offset_stores.zookeeper import ZooKeeperOffsetStore, ZooKeeperTransaction
from kafka_stream.sinks.zookeeper import Create, Delete, Put, Remove, Set, ZooKeeperSink
from kafka_stream.testing.sink_backend import OLDER, P0, STREAM, numbers_of
from kafka_stream.testing.sink_contract import SinkFunctionContract, SinkOf, TransactionSinkContract
from kafka_stream.testing.store_backend import claim_of
from tests.zookeeper_backend import ZooKeeperBackend

PASSWORD = "s3cret-word"


class ZooKeeperSinkBackend:
    """A znode a record, named after its offset; the batches' claims are of a partition of their own."""

    def __init__(self, zookeeper: ZooKeeperBackend) -> None:
        self._zookeeper = zookeeper
        self.store = ZooKeeperOffsetStore(zookeeper.address, auth=("digest", f"user:{PASSWORD}"), acl=OPEN_ACL_UNSAFE)
        self.store.open()
        self._taken = self.store.take_over(STREAM, OLDER, [P0], {})
        self._next = 0

    def sink(self) -> ZooKeeperSink:
        return ZooKeeperSink(self._operations)

    def _operations(self, batch: Batch) -> Iterator[Create]:
        numbers = iter(numbers_of(batch))
        for m in batch.messages:
            if m.value() is not None:
                yield Create(f"/results/{m.partition()}-{m.offset():06d}", str(next(numbers)).encode())

    @contextmanager
    def transaction(self) -> Iterator[ZooKeeperTransaction]:
        claim = claim_of(OLDER, {P0: (self._next, self._next + 1)}, self._taken)
        with self.store.begin(claim) as transaction:
            yield transaction

    def commit(self, transaction: ZooKeeperTransaction) -> None:
        transaction.advance()
        transaction.commit()
        self._next += 1

    def results(self) -> Sequence[int]:
        client, path = self._zookeeper.client, f"{self._zookeeper.layout.chroot}/results"
        return [int(client.get(f"{path}/{name}")[0]) for name in sorted(client.get_children(path))]

    def secrets(self) -> Collection[str]:
        return [PASSWORD]


@pytest.fixture
def zookeeper_backend(zookeeper: str) -> Iterator[ZooKeeperBackend]:
    found = ZooKeeperBackend(zookeeper)
    yield found
    found.close()


@pytest.fixture
def sink_backend(zookeeper_backend: ZooKeeperBackend) -> Iterator[ZooKeeperSinkBackend]:
    found = ZooKeeperSinkBackend(zookeeper_backend)
    yield found
    found.store.close()


class TestZooKeeperSink(TransactionSinkContract, SinkFunctionContract):
    """The contract."""

    @pytest.fixture
    def backend(self, sink_backend: ZooKeeperSinkBackend) -> ZooKeeperSinkBackend:
        return sink_backend

    @pytest.fixture
    def sink_of(self) -> SinkOf:
        def build(to_operations: Callable[[Any], Any]) -> ZooKeeperSink:
            return ZooKeeperSink(to_operations)

        return build


class Znodes:
    """Batches of operations one after the other, and what is there after them."""

    def __init__(self, backend: ZooKeeperBackend) -> None:
        self._backend = backend
        self._store = backend.store()
        self._store.open()
        self._taken = self._store.take_over(STREAM, OLDER, [P0], {})
        self._batches = 0

    def do(self, *operations: Any) -> None:
        sink = ZooKeeperSink(lambda _: operations)
        claim = claim_of(OLDER, {P0: (self._batches, self._batches + 1)}, self._taken)
        with self._store.begin(claim) as transaction:
            sink.write(sink.prepare(None), transaction)
            transaction.advance()
            transaction.commit()
        self._batches += 1

    def there(self, path: str = "/results") -> dict[str, bytes]:
        client, chroot = self._backend.client, self._backend.layout.chroot
        found = {path: client.get(chroot + path)[0]}
        for name in client.get_children(chroot + path):
            found |= self.there(f"{path}/{name}")
        return found

    @property
    def offset(self) -> int:
        return self._store.positions(STREAM)[P0].next_offset

    def close(self) -> None:
        self._store.close()


@pytest.fixture
def znodes(zookeeper_backend: ZooKeeperBackend) -> Iterator[Znodes]:
    found = Znodes(zookeeper_backend)
    yield found
    found.close()


def test_the_latest_value_of_each_key_is_put_with_the_znodes_above_it(znodes: Znodes) -> None:
    znodes.do(Put("/results/eu/a", b"1"), Put("/results/eu/b", b"1"), Put("/results/eu/a", b"2"))
    znodes.do(Put("/results/eu/a", b"3"), Put("/results/us/a", b"1"), Put("/results/eu", b"top"))
    assert znodes.there() == {
        "/results": b"", "/results/eu": b"top", "/results/eu/a": b"3", "/results/eu/b": b"1", "/results/us": b"",
        "/results/us/a": b"1",
    }  # fmt: skip


def test_what_is_removed_may_be_gone_already(znodes: Znodes) -> None:
    znodes.do(Put("/results/a", b"1"), Remove("/results/b"))
    znodes.do(Remove("/results/a"), Remove("/results/a"))
    znodes.do(Remove("/results/a"), Put("/results/c", b"1"), Remove("/results/c"))
    assert znodes.there() == {"/results": b""}
    znodes.do(Remove("/results/a"), Put("/results/a", b"2"))
    assert znodes.there() == {"/results": b"", "/results/a": b"2"}


def test_operations_are_done_in_their_order(znodes: Znodes) -> None:
    znodes.do(Create("/results/a", b"1"), Create("/results/a/b"), Set("/results/a", b"2", 0), Put("/results/a/b", b"3"))
    assert znodes.there() == {"/results": b"", "/results/a": b"2", "/results/a/b": b"3"}
    znodes.do(Delete("/results/a/b"), Delete("/results/a", 1), Create("/results/a", b"new"))
    assert znodes.there() == {"/results": b"", "/results/a": b"new"}


@pytest.mark.parametrize(
    ("operation", "match"),
    [
        (Create("/results/there"), "create the znode /results/there: there is such a znode already"),
        (Create("/results/gone/below"), "create the znode /results/gone/below: there is no such znode"),
        (Set("/results/gone", b""), "set the znode /results/gone: there is no such znode"),
        (Set("/results/there", b"", 7), "set the znode /results/there: it has another version"),
        (Delete("/results/gone"), "delete the znode /results/gone: there is no such znode"),
        (Delete("/results/there", 7), "delete the znode /results/there: it has another version"),
        (Delete("/results/there"), "delete the znode /results/there: there are znodes below it"),
        (Remove("/results/there"), "delete the znode /results/there: there are znodes below it"),
    ],
    ids=str,
)
def test_an_operation_that_does_not_apply_is_named_and_nothing_is_committed(
    znodes: Znodes, operation: Any, match: str
) -> None:
    znodes.do(Put("/results/there/child", b"1"))
    with pytest.raises(ProcessingError, match=match):
        znodes.do(Put("/results/first", b"1"), operation, Put("/results/last", b"1"))
    assert znodes.there() == {"/results": b"", "/results/there": b"", "/results/there/child": b"1"}
    assert znodes.offset == 1
    znodes.do(Put("/results/there", b"2"))
    assert znodes.offset == 2


@pytest.mark.parametrize(
    "path", ["/", "/results//a", "/results/", "/results/../a", "/a\0", "/kafka_stream", "/kafka_stream/orders/orders/0"]
)
def test_what_is_no_place_for_results_is_refused(znodes: Znodes, path: str) -> None:
    with pytest.raises(ProcessingError, match="path"):
        znodes.do(Put(path, b"1"))
    assert znodes.offset == 0
