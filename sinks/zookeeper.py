"""``ZooKeeperSink``: the ensemble that keeps the offsets as the place where results go, in the same ``multi``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from kafka_stream.errors import ConfigurationError, ProcessingError
from kafka_stream.sinks.functions import async_belongs, refuse_awaitable
from kafka_stream.types import Writes

_ANY_VERSION = -1
_ASYNC_BELONGS = async_belongs("ZooKeeperSink(a_plain_function)")


class ZooKeeperTransaction(Protocol):
    """What this sink needs of a transaction: that its operations are done with the offsets, in order, or not at all."""

    def create(self, path: str, value: bytes = b"") -> None:
        """Create a znode that is not there, below one that is."""

    def set(self, path: str, value: bytes, version: int = -1) -> None:
        """Set the value of a znode that is there."""

    def delete(self, path: str, version: int = -1) -> None:
        """Delete a znode that is there."""

    def put(self, path: str, value: bytes) -> None:
        """Set a znode's value, whether it is there or not."""

    def remove(self, path: str) -> None:
        """Delete a znode, if it is there."""


@dataclass(frozen=True, slots=True)
class Put:
    """Set the value of a znode; one that is not there is created, with those above it."""

    path: str
    value: bytes

    def __post_init__(self) -> None:
        _check(self.path, self.value)


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete a znode, if it is there."""

    path: str

    def __post_init__(self) -> None:
        _check(self.path)


@dataclass(frozen=True, slots=True)
class Create:
    """Create a znode below one that is there; one that is there already stops the stream."""

    path: str
    value: bytes = b""

    def __post_init__(self) -> None:
        _check(self.path, self.value)


@dataclass(frozen=True, slots=True)
class Set:
    """Set the value of a znode; one that is not there, or has another version, stops the stream."""

    path: str
    value: bytes
    version: int = _ANY_VERSION

    def __post_init__(self) -> None:
        _check(self.path, self.value)


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a znode; one that is not there, has another version, or has children, stops the stream."""

    path: str
    version: int = _ANY_VERSION

    def __post_init__(self) -> None:
        _check(self.path)


def _check(path: Any, value: Any = b"") -> None:
    if not isinstance(path, str) or not path.startswith("/"):
        raise ValueError(f"{path!r} is not the path of a znode, which begins with a slash")
    if not isinstance(value, bytes):
        raise ValueError(f"the value of znode {path!r} is a {type(value).__name__}, and must be bytes")


Operation: TypeAlias = Put | Remove | Create | Set | Delete


class ZooKeeperSink:
    """Writes znodes into the ensemble that keeps the offsets, below the store's chroot, in the same ``multi``.

    ``to_operations`` takes what the stream's ``prepare`` gave (or the ``Batch``) and gives, in order, what is to be
    done: ``Put`` and ``Remove`` where the latest value of a key counts, ``Create``, ``Set`` and ``Delete``
    where it matters what is there. It runs in the prepare phase, must be pure, and may run again. New znodes get the
    store's ACL.

    Values that follow one another at one path are folded: only the last one is sent. What is sent, with the offsets,
    has to fit in about 1 MB (``max_request_bytes`` of the store).

    Raises:
        ConfigurationError: ``to_operations`` is no function, or is async.
    """

    def __init__(self, to_operations: Callable[[Any], Iterable[Operation]]) -> None:
        _check_function(to_operations)
        self._to_operations = to_operations

    @property
    def writes(self) -> Writes:
        """Znodes become durable with the offsets or not at all."""
        return Writes.THROUGH_TRANSACTION

    @property
    def needs(self) -> str:
        """A ZooKeeper transaction."""
        return "zookeeper"

    def describe(self) -> str:
        """In words: the store says where."""
        return "znodes in the offset store's ensemble"

    def prepare(self, prepared: Any) -> Sequence[Operation]:
        """Run ``to_operations`` and fold what it gives; pure, may run again.

        Raises:
            ProcessingError: ``to_operations`` gave something that is no operation.
        """
        operations: Any = self._to_operations(prepared)
        refuse_awaitable(operations, "to_operations of the ZooKeeperSink", _ASYNC_BELONGS)
        if not isinstance(operations, Iterable) or isinstance(operations, str | bytes):
            raise ProcessingError(
                f"to_operations of the ZooKeeperSink gave a {type(operations).__name__}; it gives an iterable of Put, "
                "Remove, Create, Set or Delete, which may be empty"
            )
        return _folded(operations)

    def write(self, prepared: Sequence[Operation], transaction: ZooKeeperTransaction) -> None:
        """Ask the transaction for one batch's operations; nothing is sent before it commits."""
        for operation in prepared:
            match operation:
                case Put(path, value):
                    transaction.put(path, value)
                case Remove(path):
                    transaction.remove(path)
                case Create(path, value):
                    transaction.create(path, value)
                case Set(path, value, version):
                    transaction.set(path, value, version)
                case Delete(path, version):
                    transaction.delete(path, version)


def _folded(operations: Iterable[Any]) -> list[Operation]:
    """Without values that another one replaces. The first place is kept, since what comes after may lie below it."""
    folded: list[Operation] = []
    puts: dict[str, int] = {}
    for number, operation in enumerate(operations):
        if not isinstance(operation, Operation):
            raise ProcessingError(
                f"to_operations of the ZooKeeperSink gave a {type(operation).__name__} as operation {number}, not a "
                "Put, Remove, Create, Set or Delete"
            )
        place = puts.pop(operation.path, None)
        if isinstance(operation, Put):
            puts[operation.path] = len(folded) if place is None else place
            if place is not None:
                folded[place] = operation
                continue
        folded.append(operation)
    return folded


def _check_function(to_operations: Any) -> None:
    if not callable(to_operations):
        raise ConfigurationError(
            f"to_operations of the ZooKeeperSink is a {type(to_operations).__name__}, not a function from a batch to "
            "operations"
        )
    for function in (to_operations, getattr(to_operations, "func", None), type(to_operations).__call__):
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise ConfigurationError(f"to_operations of the ZooKeeperSink is async; {_ASYNC_BELONGS}")


__all__ = ["Create", "Delete", "Put", "Remove", "Set", "ZooKeeperSink"]
