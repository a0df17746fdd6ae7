"""Where to cut a Kafka log: reads the record batches' headers in a partition's segment files.

The layout is Kafka's message format v2: base offset (8 bytes), length of the rest (4), leader epoch (4), magic (1),
CRC (4), attributes (2), last offset delta (4).
"""

from __future__ import annotations

import io
import struct
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_HEADER = struct.Struct(">qiibIhi")


@dataclass(frozen=True)
class Cut:
    """Keep ``size`` bytes of ``segment`` and no later segment: the log then ends at ``end_offset``."""

    segment: str
    size: int
    later_segments: tuple[str, ...]
    end_offset: int


def segments(archive: bytes) -> dict[str, bytes]:
    """The segment files in a tar archive of a partition's directory, in order."""
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            if member.name.endswith(".log") and (content := tar.extractfile(member)) is not None:
                found[member.name.rpartition("/")[2]] = content.read()
    return dict(sorted(found.items()))


def _batches(segment: bytes) -> Iterator[tuple[int, int]]:
    """Each whole batch's next offset and end position."""
    position = 0
    while position + _HEADER.size <= len(segment):
        base_offset, length, _, _, _, _, last_offset_delta = _HEADER.unpack_from(segment, position)
        position += 12 + length
        if length == 0 or position > len(segment):
            return
        yield base_offset + last_offset_delta + 1, position


def cut_before(logs: Mapping[str, bytes], from_offset: int) -> Cut:
    """The cut that removes every batch that holds ``from_offset`` or lies behind it."""
    if not logs:
        raise ValueError("the partition has no segment file")
    names = list(logs)
    cut = Cut(names[0], 0, tuple(names[1:]), int(names[0].removesuffix(".log")))
    for number, name in enumerate(names):
        for next_offset, end_position in _batches(logs[name]):
            if next_offset > from_offset:
                return cut
            cut = Cut(name, end_position, tuple(names[number + 1 :]), next_offset)
    raise ValueError(f"the log ends at {cut.end_offset}: nothing lies at or behind {from_offset}")
