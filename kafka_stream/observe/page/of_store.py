"""Pure: a stream as a store and its brokers know it, as a page shows it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from kafka_stream.admin.dead_letters.counting import LetterCount
from kafka_stream.admin.describe import Mark, PartitionDescription, total_lag
from kafka_stream.observe.page import samples as hour
from kafka_stream.observe.page.model import (
    ActionView,
    LettersView,
    Note,
    PartitionView,
    StreamView,
    Tone,
    most_urgent,
    shown,
)
from kafka_stream.protocols import ActionKind, HistoryEntry
from kafka_stream.types import TopicPartition

TOLD = frozenset(ActionKind) - {ActionKind.TAKEOVER, ActionKind.BATCH, ActionKind.STOP}
"""What a page's history is about: commands, and data that was lost; not what a stream does all day."""
_LONG_ID = re.compile(r"\b[0-9a-f]{32}\b")
_QUIET = frozenset({Mark.PLAN_OUTSTANDING, Mark.CLOSED, Mark.TOPIC_HIDDEN})


@dataclass(frozen=True, slots=True)
class StoredStream:
    """What a look has found. ``live`` are those who may be at work on it, in words; ``history`` is newest first.

    ``None`` is not kept by this store, or could not be read.
    """

    name: str
    partitions: Sequence[PartitionDescription]
    live: Sequence[str] | None = None
    history: Sequence[HistoryEntry] | None = None
    letters: Sequence[LetterCount] | None = None
    more_letters: bool = False
    not_stored: Sequence[TopicPartition] = ()
    notes: Sequence[Note] = ()


def stored_view(stream: StoredStream, samples: Sequence[hour.Sample]) -> StreamView:
    """What there is to see of it."""
    notes = (*stream.notes, *_findings(stream.partitions), *_new(stream.not_stored), *_many(stream))
    at_work = stream.live if stream.live is not None else _owners(stream.partitions)
    partitions = [_partition(each, samples) for each in stream.partitions]
    return StreamView(
        stream.name,
        "owned" if at_work else "not running",
        most_urgent([Tone.GOOD if at_work else Tone.QUIET, *(note.tone for note in notes)]),
        facts=(("owners", short(", ".join(at_work)) or "nobody"),),
        lag=total_lag(stream.partitions),
        rate=hour.rate(samples),
        rate_unit="offsets",
        committed_at=max(
            (each.stored.changed_at for each in stream.partitions if each.stored.changed_at), default=None
        ),
        lag_line=hour.lag_line(samples),
        rate_line=hour.rate_line(samples),
        partitions=shown(partitions),
        partitions_count=len(partitions),
        notes=notes,
        history=None if stream.history is None else actions(stream.history),
        letters=None if stream.letters is None else letters(stream.letters),
    )


def actions(entries: Iterable[HistoryEntry]) -> tuple[ActionView, ...]:
    """One for each action, in the order of the entries, which an action's stand together in."""
    return tuple(_action(list(each)) for _, each in groupby(entries, key=lambda entry: entry.action.id))


def letters(counts: Iterable[LetterCount]) -> tuple[LettersView, ...]:
    """One for each kind; an error's type without its module."""
    return tuple(
        LettersView(
            each.kind.topic,
            each.kind.partition,
            each.kind.error.rpartition(".")[2],
            each.kind.status.value,
            each.letters,
            each.newest,
        )
        for each in counts
    )


def short(text: str) -> str:
    """The text with the beginning of an owner's id in place of the id."""
    return _LONG_ID.sub(lambda found: found[0][:8], text)


def _action(entries: Sequence[HistoryEntry]) -> ActionView:
    moved = [entry.until_offset - entry.from_offset for entry in entries if entry.from_offset is not None]
    first = entries[0]
    if len(entries) == 1:
        begin = "" if first.from_offset is None else f" from {first.from_offset:,}"
        where = f"{first.topic_partition}{begin} to {first.until_offset:,}"
    else:
        topics = ", ".join(sorted({entry.topic_partition.topic for entry in entries}))
        where = f"{len(entries)} partitions of {topics}" + (f", by {sum(moved):+,} offsets in all" if moved else "")
    return ActionView(first.at, first.action.kind.value, short(first.action.actor), where)


def _partition(described: PartitionDescription, samples: Sequence[hour.Sample]) -> PartitionView:
    tp, owner = described.topic_partition, described.stored.owner
    return PartitionView(
        tp.topic,
        tp.partition,
        described.stored.next_offset,
        described.lag,
        hour.partition_rate(samples, tp),
        hour.partition_lag_line(samples, tp),
        tuple(str(finding.mark) for finding in described.findings),
        None if owner is None else owner.host,
    )


def _findings(partitions: Sequence[PartitionDescription]) -> Iterator[Note]:
    for each in partitions:
        for finding in each.findings:
            tone = Tone.QUIET if finding.mark in _QUIET else Tone.WARNING
            yield Note(f"{each.topic_partition} {finding.mark}", finding.explanation, tone)


def _owners(partitions: Sequence[PartitionDescription]) -> Sequence[str]:
    return sorted({str(each.stored.owner) for each in partitions if each.stored.owner is not None})


def _new(partitions: Sequence[TopicPartition]) -> Iterator[Note]:
    if partitions:
        listed = ", ".join(map(str, partitions[:10])) + (", …" if len(partitions) > 10 else "")
        yield Note("new partitions", f"{listed}: not taken over yet; reading begins at offset 0", Tone.QUIET)


def _many(stream: StoredStream) -> Iterator[Note]:
    if stream.more_letters:
        counted = sum(each.letters for each in stream.letters or ())
        yield Note("dead letters", f"there are more than the {counted:,} that were counted", Tone.WARNING)


__all__ = ["TOLD", "StoredStream", "actions", "letters", "stored_view"]
