"""Names of files and of the hidden directories that they are written in: pure.

``+`` delimits, since neither a topic's name nor a quoted one holds it (Kafka Connect's storage sinks do the same).
"""

from __future__ import annotations

from urllib.parse import quote

from kafka_stream.types import OffsetRange, TopicPartition

SUFFIXES = (".jsonl", ".parquet")


def file_name(r: OffsetRange, suffix: str) -> str:
    """A range's file, as ``orders+00003+0000000000000000100-0000000000000000200.jsonl``: sorts by offset."""
    return f"{_partition(r.topic_partition)}+{_offsets(r)}{suffix}"


def workplace_name(topic_partition: TopicPartition, owner_id: str) -> str:
    """The hidden directory in which one owner writes one partition's files before they get their names."""
    return f"{workplaces_begin(topic_partition)}{_quoted(owner_id)}"


def unfinished_name(r: OffsetRange, owner_id: str) -> str:
    """A file in a workplace: hidden, and without a suffix that a reader would look for."""
    return f".{_offsets(r)}.{_quoted(owner_id)}"


def workplaces_begin(topic_partition: TopicPartition) -> str:
    """What the names of all owners' workplaces for this partition begin with, and those of no other."""
    return f".{_partition(topic_partition)}."


def beginning(name: str) -> str:
    """What ``workplaces_begin`` gives for a workplace's partition; of another name, something else."""
    return name[: name.find(".", name.find("+")) + 1]


def _partition(topic_partition: TopicPartition) -> str:
    return f"{_quoted(topic_partition.topic)}+{topic_partition.partition:05d}"


def _offsets(r: OffsetRange) -> str:
    return f"{r.from_offset:019d}-{r.until_offset:019d}"


def _quoted(name: str) -> str:
    """Kafka's names as they are, but for a first ``.`` or ``_``: readers of data sets skip such files."""
    quoted = quote(name, safe="")
    return f"%{ord(quoted[0]):02X}{quoted[1:]}" if quoted[:1] in {".", "_"} else quoted
