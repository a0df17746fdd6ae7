"""Pure: positions as text. JSON keeps all that another store needs; CSV is what Kafka's own tool reads and writes.

``ConsumerGroupCommand --reset-offsets --export`` writes ``topic,partition,offset`` for one group, and
``group,topic,partition,offset`` for several; ``--from-file`` reads both. There is no header.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kafka_stream.errors import ConfigurationError
from kafka_stream.types import MAX_NUMBER, MAX_OFFSET, StoredPosition, TopicPartition, why_no_topic

_FORMAT = 1
_LARGEST_EPOCH = 2**62
"""Of a file: commands and takeovers raise what was read of it, and stores keep 64 bits."""

_LONGEST_TOPIC_ID = 64
_LONGEST_QUOTE = 200


@dataclass(frozen=True, slots=True)
class ExportedPosition:
    """What of a position belongs to the data, not to a store: CSV keeps the offset alone."""

    next_offset: int
    leader_epoch: int | None = None
    topic_id: str | None = None
    owner_epoch: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.next_offset <= MAX_OFFSET:
            raise ValueError(f"{_cut(self.next_offset)} is no offset; one lies between 0 and 2^63-1")
        if self.leader_epoch is not None and not 0 <= self.leader_epoch <= MAX_NUMBER:
            raise ValueError(f"{_cut(self.leader_epoch)} is no leader epoch; one lies between 0 and 2^31-1")

    @classmethod
    def of(cls, stored: StoredPosition) -> ExportedPosition:
        """What is stored."""
        return cls(stored.next_offset, stored.leader_epoch, stored.topic_id, stored.owner_epoch)


def to_json(stream: str, positions: Mapping[TopicPartition, ExportedPosition]) -> str:
    """A stream's positions with all that another store needs, sorted, as indented JSON."""
    entries = [
        {
            "topic": tp.topic,
            "partition": tp.partition,
            "next_offset": positions[tp].next_offset,
            "leader_epoch": positions[tp].leader_epoch,
            "topic_id": positions[tp].topic_id,
            "owner_epoch": positions[tp].owner_epoch,
        }
        for tp in sorted(positions)
    ]
    return json.dumps({"format": _FORMAT, "stream": stream, "positions": entries}, indent=2, ensure_ascii=False) + "\n"


def to_csv(offsets: Mapping[TopicPartition, int]) -> str:
    """``topic,partition,offset`` lines, sorted, as Kafka's own tool takes them for one group."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows((tp.topic, tp.partition, offsets[tp]) for tp in sorted(offsets))
    return text.getvalue()


def parse_offsets(text: str, stream: str) -> dict[TopicPartition, ExportedPosition]:
    """A stream's positions from what ``to_json``, ``to_csv`` or Kafka's own tool wrote; of several groups, its own.

    Raises:
        ConfigurationError: it is none of these, or holds nothing for this stream; the message names the line.
    """
    text = text.removeprefix("\ufeff")
    found = _from_json(text, stream) if text.lstrip().startswith("{") else _from_csv(text, stream)
    if not found:
        raise ConfigurationError(f"the file holds no offsets for stream {stream!r}")
    return found


def _from_json(text: str, stream: str) -> dict[TopicPartition, ExportedPosition]:
    try:
        content = json.loads(text)
        if content["format"] != _FORMAT:
            raise ConfigurationError(
                f"the file's format is {_cut(repr(content['format']))}, and this version knows {_FORMAT}"
            )
        if content["stream"] != stream:
            raise ConfigurationError(
                f"the file holds the offsets of stream {_cut(repr(content['stream']))}, not of {stream!r}; export "
                "those as CSV if they are meant for it"
            )
        entries = content["positions"]
        found = {_partition(entry["topic"], entry["partition"]): _position(entry) for entry in entries}
    except RecursionError:
        raise ConfigurationError("the file is no JSON of exported offsets: it is nested too deeply") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigurationError(
            f"the file is no JSON of exported offsets ({type(error).__name__}: {_cut(error)}); write it with `offsets "
            "export`"
        ) from error
    if len(found) != len(entries):
        raise ConfigurationError("the file names a partition twice")
    return found


def _from_csv(text: str, stream: str) -> dict[TopicPartition, ExportedPosition]:
    found: dict[TopicPartition, ExportedPosition] = {}
    for number, fields in _lines(text):
        try:
            *group, topic, partition, offset = fields
            if len(group) > 1:
                raise ValueError("too many fields")
            tp, position = _partition(topic, int(partition)), ExportedPosition(int(offset))
        except ValueError as error:
            raise ConfigurationError(
                f"line {number} is neither topic,partition,offset nor group,topic,partition,offset ({_cut(error)})"
            ) from error
        if group and group[0] != stream:
            continue
        if tp in found:
            raise ConfigurationError(f"line {number} names {tp} a second time")
        found[tp] = position
    return found


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text), strict=True)
    try:
        for fields in reader:
            stripped = [field.strip() for field in fields]
            if any(stripped):
                yield reader.line_num, stripped
    except csv.Error as error:
        raise ConfigurationError(f"line {reader.line_num} is no CSV ({error})") from error


def _partition(topic: Any, partition: Any) -> TopicPartition:
    if not isinstance(topic, str) or type(partition) is not int:
        raise ValueError(f"{topic!r}, {partition!r} is no topic and partition")
    if (why := why_no_topic(topic)) is not None:
        raise ValueError(why)
    if not 0 <= partition <= MAX_NUMBER:
        raise ValueError(f"{_cut(partition)} is no partition; one lies between 0 and 2^31-1")
    return TopicPartition(topic, partition)


def _position(entry: Mapping[str, Any]) -> ExportedPosition:
    numbers = (entry["next_offset"], entry.get("leader_epoch"), entry.get("owner_epoch", 0))
    if any(type(number) is not int for number in numbers if number is not None):
        raise ValueError(f"an offset or epoch of {entry['topic']}[{entry['partition']}] is no whole number")
    if not 0 <= (owner_epoch := entry.get("owner_epoch", 0)) <= _LARGEST_EPOCH:
        raise ValueError(f"{_cut(owner_epoch)} is no owner epoch; one lies between 0 and 2^62")
    topic_id = entry.get("topic_id")
    if topic_id is not None and not (isinstance(topic_id, str) and topic_id.isascii() and topic_id.isprintable()):
        raise ValueError(f"the topic's id of {entry['topic']}[{entry['partition']}] is none")
    if topic_id is not None and len(topic_id) > _LONGEST_TOPIC_ID:
        raise ValueError(f"the topic's id of {entry['topic']}[{entry['partition']}] is too long")
    return ExportedPosition(numbers[0], numbers[1], topic_id, numbers[2])


def _cut(value: object) -> str:
    """What a sentence shows of a value that may be of any length."""
    text = str(value) if not isinstance(value, int) or abs(value) < 10**30 else "a number of more than 30 digits"
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…"


__all__ = ["ExportedPosition", "parse_offsets", "to_csv", "to_json"]
