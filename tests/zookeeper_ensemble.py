"""An ensemble in memory whose followers lag as much as ZooKeeper allows: they see what others did only after a sync."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from kazoo.exceptions import (
    BadVersionError,
    KazooException,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    RolledBackError,
    RuntimeInconsistency,
)
from kazoo.protocol.serialization import CheckVersion, Create, Delete, SetData
from kazoo.protocol.states import ZnodeStat
from kazoo.security import ACL, OPEN_ACL_UNSAFE

from kafka_stream.offset_stores.zookeeper import ZooKeeperOffsetStore
from kafka_stream.offset_stores.zookeeper.errors import mapped
from kafka_stream.offset_stores.zookeeper.operations import Operation
from kafka_stream.offset_stores.zookeeper.positions import Positions
from kafka_stream.offset_stores.zookeeper.requests import DEFAULT_MAX_REQUEST_BYTES, check_size


@dataclass(frozen=True)
class Znode:
    data: bytes
    version: int = 0

    @property
    def stat(self) -> ZnodeStat:
        return ZnodeStat(0, 0, 0, 0, self.version, 0, 0, 0, len(self.data), 0, 0)


Tree = dict[str, Znode]


@dataclass
class Ensemble:
    """What the leader has; one write at a time."""

    znodes: Tree = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    requests: list[str] = field(default_factory=list)

    def store(self) -> ZooKeeperOffsetStore:
        """A store whose connection leads here."""
        store = ZooKeeperOffsetStore("127.0.0.1:2181")
        store._connection = FollowerConnection(self)  # type: ignore[assignment]
        store._positions = Positions(store._connection, store._positions.layout)
        return store

    def multi(self, operations: Sequence[Operation]) -> list[object]:
        with self.lock:
            tree = dict(self.znodes)
            results: list[object] = []
            for number, operation in enumerate(operations):
                try:
                    results.append(_applied(operation, tree))
                except KazooException as error:
                    left = len(operations) - number - 1
                    return [*(RolledBackError() for _ in results), error, *[RuntimeInconsistency()] * left]
            self.znodes = tree
            return results


class FollowerConnection:
    """As ``kafka_stream.offset_stores.zookeeper.connection.Connection``, for a session with a follower that lags."""

    where = "zookeeper://memory"
    acl: Sequence[ACL] = OPEN_ACL_UNSAFE
    max_request_bytes = DEFAULT_MAX_REQUEST_BYTES

    def __init__(self, ensemble: Ensemble) -> None:
        self.ensemble = ensemble
        self.sessions_lost = 0
        self._seen: Tree = {}
        self._ephemeral: set[str] = set()

    def connect(self) -> None:
        """It is."""

    def close(self) -> None:
        """The session is over, and with it its ephemeral znodes."""
        with self.ensemble.lock:
            self.ensemble.znodes = {p: z for p, z in self.ensemble.znodes.items() if p not in self._ephemeral}

    @contextmanager
    def mapping(self, doing: str) -> Iterator[None]:
        try:
            yield
        except KazooException as error:
            raise mapped(error, doing, self.where) from error

    def sync(self) -> None:
        self.ensemble.requests.append("sync")
        self._seen = dict(self.ensemble.znodes)

    def read(self, paths: Iterable[str]) -> list[tuple[bytes, ZnodeStat] | None]:
        self.ensemble.requests.append("read")
        return [(found.data, found.stat) if (found := self._seen.get(path)) else None for path in paths]

    def read_what_we_may(self, paths: Iterable[str]) -> list[tuple[bytes, ZnodeStat] | None]:
        return self.read(paths)

    def acl_like(self, path: str) -> Sequence[ACL]:
        return self.acl

    def exist(self, paths: Iterable[str]) -> list[ZnodeStat | None]:
        self.ensemble.requests.append("exist")
        return [found.stat if (found := self._seen.get(path)) else None for path in paths]

    def children(self, paths: Iterable[str]) -> list[list[str]]:
        self.ensemble.requests.append("children")
        above = [each.rpartition("/") for each in self._seen]
        return [[name for parent, _, name in above if parent == path] for path in paths]

    def create_missing(self, path: str, like: str | None = None) -> None:
        for end in [end for end, character in enumerate(path + "/") if character == "/" and end > 0]:
            if path[:end] not in self._seen:
                self.multi([Create(path[:end], b"", self.acl, 0)])
                self._seen.setdefault(path[:end], Znode(b""))  # there, as the answer says; its value may lag

    def multi(self, operations: Sequence[Operation]) -> list[object]:
        check_size(operations, self.max_request_bytes, self.where)
        self.ensemble.requests.append("multi")
        results = self.ensemble.multi(operations)
        if not isinstance(results[0], KazooException):
            self._ephemeral |= {each.path for each in operations if isinstance(each, Create) and each.flags}
            self._seen = dict(self.ensemble.znodes)  # a session sees its own writes, and so all that came before
        return results


def _applied(operation: Operation, tree: Tree) -> object:
    path = operation.path
    above = path.rpartition("/")[0]
    if isinstance(operation, Create):
        if path in tree:
            raise NodeExistsError
        if above and above not in tree:
            raise NoNodeError
        tree[path] = Znode(operation.data)
        return path
    if path not in tree:
        raise NoNodeError
    if operation.version not in (-1, tree[path].version):
        raise BadVersionError
    if isinstance(operation, SetData):
        tree[path] = replace(tree[path], data=operation.data, version=tree[path].version + 1)
        return tree[path].stat
    if isinstance(operation, Delete):
        if any(each.startswith(f"{path}/") for each in tree):
            raise NotEmptyError
        del tree[path]
    assert isinstance(operation, Delete | CheckVersion)
    return True
