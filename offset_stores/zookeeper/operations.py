"""Pure: what a handler asks for, into the operations that ZooKeeper has."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from kazoo.protocol.serialization import CheckVersion, Create, Delete, SetData
from kazoo.security import ACL

from kafka_stream.errors import ProcessingError

Operation: TypeAlias = Create | SetData | Delete | CheckVersion

ANY_VERSION = -1


class Put(NamedTuple):
    """Create a znode, with those above it, or set it if it is there."""

    path: str
    data: bytes


class Remove(NamedTuple):
    """Delete a znode if it is there."""

    path: str


Asked: TypeAlias = Create | SetData | Delete | Put | Remove


@dataclass(frozen=True, slots=True)
class Step:
    """One of ZooKeeper's operations; ``is_certain`` unless it rests on what was read, which may have changed since.

    ``place`` is which of those asked for it belongs to.
    """

    operation: Create | SetData | Delete
    is_certain: bool
    place: int = field(default=0, compare=False)


def paths_to_look_at(asked: Iterable[Asked], chroot: str) -> list[str]:
    """The znodes whose existence decides what is to be done."""
    paths: dict[str, None] = {}
    for each in asked:
        if isinstance(each, Put):
            paths.update(dict.fromkeys((*_above(each.path, chroot), each.path)))
        elif isinstance(each, Remove):
            paths[each.path] = None
    return list(paths)


def steps_of(asked: Iterable[Asked], existing: Collection[str], chroot: str, acl: Sequence[ACL]) -> Iterator[Step]:
    """What is to be done, one after the other, where these znodes exist before."""
    present = set(existing)
    for place, each in enumerate(asked):
        if isinstance(each, Put):
            if each.path in present:
                yield Step(SetData(each.path, each.data, ANY_VERSION), is_certain=False, place=place)
                continue
            for path in _above(each.path, chroot):
                if path not in present:
                    yield Step(Create(path, b"", acl, 0), is_certain=False, place=place)
            yield Step(Create(each.path, each.data, acl, 0), is_certain=False, place=place)
            present.update((*_above(each.path, chroot), each.path))
        elif isinstance(each, Remove):
            if each.path in present:
                yield Step(Delete(each.path, ANY_VERSION), is_certain=False, place=place)
                present.remove(each.path)
        else:
            yield Step(each, is_certain=True, place=place)
            if isinstance(each, Create):
                present.add(each.path)
            elif isinstance(each, Delete):
                present.discard(each.path)


def _above(path: str, chroot: str) -> Iterator[str]:
    """The znodes above one, down from the chroot, which is there."""
    begin = len(chroot) + 1
    while (end := path.find("/", begin)) >= 0:
        yield path[:end]
        begin = end + 1


def checked(path: str, value: Any) -> bytes:
    """The value of a znode, if it is one."""
    if not isinstance(value, bytes):
        raise ProcessingError(f"the value of znode {path!r} is a {type(value).__name__}, and must be bytes")
    return value


def checked_version(path: str, version: Any) -> int:
    """The version of a znode, if it is one."""
    if not isinstance(version, int) or not ANY_VERSION <= version < 2**31:
        raise ProcessingError(f"the version of znode {path!r} is {version!r}, and must be a whole number of 32 bits")
    return version


__all__ = [
    "ANY_VERSION",
    "Asked",
    "Operation",
    "Put",
    "Remove",
    "Step",
    "checked",
    "checked_version",
    "paths_to_look_at",
    "steps_of",
]
