"""Pure: what a handler asks for, into the operations that ZooKeeper has."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from kazoo.protocol.serialization import CheckVersion, Create, Delete, SetData
from kazoo.security import ACL

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
    """One of ZooKeeper's operations; ``is_certain`` unless it rests on what was read, which may have changed since."""

    operation: Create | SetData | Delete
    is_certain: bool


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
    for each in asked:
        if isinstance(each, Put):
            if each.path in present:
                yield Step(SetData(each.path, each.data, ANY_VERSION), is_certain=False)
                continue
            for path in _above(each.path, chroot):
                if path not in present:
                    yield Step(Create(path, b"", acl, 0), is_certain=False)
            yield Step(Create(each.path, each.data, acl, 0), is_certain=False)
            present.update((*_above(each.path, chroot), each.path))
        elif isinstance(each, Remove):
            if each.path in present:
                yield Step(Delete(each.path, ANY_VERSION), is_certain=False)
                present.remove(each.path)
        else:
            yield Step(each, is_certain=True)
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


__all__ = ["ANY_VERSION", "Asked", "Operation", "Put", "Remove", "Step", "paths_to_look_at", "steps_of"]
