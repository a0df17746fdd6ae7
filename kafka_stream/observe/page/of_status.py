"""Pure: a running stream as a page shows it, from its status and what its watch remembers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from kafka_stream.admin.describe import duration
from kafka_stream.observe.health import STUCK_AFTER_S, told, why_not_alive
from kafka_stream.observe.page import samples as hour
from kafka_stream.observe.page.model import Note, PartitionView, StreamView, Tone, most_urgent, shown
from kafka_stream.observe.page.watching import StreamWatch
from kafka_stream.progress import StreamState, StreamStatus, known_lag
from kafka_stream.types import TopicPartition

HELD = "held"
_AT_WORK = frozenset({StreamState.RUNNING, StreamState.RETRYING})
_TONES = {
    StreamState.RUNNING: Tone.GOOD,
    StreamState.RETRYING: Tone.WARNING,
    StreamState.FAILED: Tone.BAD,
}


def stream_view(
    name: str, status: StreamStatus, watch: StreamWatch | None, now: datetime, stuck_after_s: float = STUCK_AFTER_S
) -> StreamView:
    """What there is to see; charts, batches and errors need a watch."""
    notes = tuple(_notes(status, now, stuck_after_s))
    partitions = [_partition(tp, offset, status) for tp, offset in sorted(status.positions.items())]
    view = StreamView(
        name,
        status.state.value,
        most_urgent([_TONES.get(status.state, Tone.QUIET), *(note.tone for note in notes)]),
        facts=tuple(_facts(status, now)),
        lag=known_lag(status.lag.values()),
        committed_at=status.committed_at,
        partitions=shown(partitions),
        partitions_count=len(partitions),
        notes=notes,
    )
    return view if watch is None else _with_hour(view, watch)


def _with_hour(view: StreamView, watch: StreamWatch) -> StreamView:
    found = watch.samples()
    partitions = [
        replace(each, rate=hour.partition_rate(found, tp), lag_line=hour.partition_lag_line(found, tp))
        for each in view.partitions
        for tp in [TopicPartition(each.topic, each.partition)]
    ]
    return replace(
        view,
        rate=hour.rate(found),
        lag_line=hour.lag_line(found),
        rate_line=hour.rate_line(found),
        partitions=tuple(partitions),
        batches=tuple(reversed(watch.batches())),
        errors=tuple(reversed(watch.errors())),
    )


def _partition(tp: TopicPartition, offset: int, status: StreamStatus) -> PartitionView:
    marks = (HELD,) if tp in status.pinned else ()
    return PartitionView(tp.topic, tp.partition, offset, status.lag.get(tp), marks=marks)


def _notes(status: StreamStatus, now: datetime, stuck_after_s: float) -> Iterator[Note]:
    failed = status.state is StreamState.FAILED
    why = why_not_alive(status, now, stuck_after_s)
    if why is not None and (status.error is None or not failed):
        yield Note("not alive", why, Tone.BAD)
    if status.error is not None:
        kind, message = told(status.error)
        yield Note(kind, message or "its text may hold what is the user's", Tone.BAD if failed else Tone.WARNING)
    for tp, since in sorted(status.pinned.items()):
        yield Note(
            f"{tp} {HELD}",
            f"an open transaction has kept what is behind it from being read for "
            f"{duration(max(0.0, (now - since).total_seconds()))} at least",
        )
    unknown = sum(1 for lag in status.lag.values() if lag is None)
    if unknown and status.state in _AT_WORK:
        yield Note("lag", f"the end of {unknown} partition(s) is not known: nobody has told it lately", Tone.QUIET)


def _facts(status: StreamStatus, now: datetime) -> Iterator[tuple[str, str]]:
    if status.guarantee is not None:
        yield "promise", status.guarantee.value
    if status.owner is not None:
        yield "runs on", f"{status.owner.host} ({status.owner.id[:8]})"
        if status.owner.code_version:
            yield "code", status.owner.code_version
    yield "batches", f"{status.batches:,}"
    yield "records", f"{status.records:,}"
    if status.dead_letters:
        yield "dead letters", f"{status.dead_letters:,} since its start"
    if status.duplicates:
        yield "duplicates", f"{status.duplicates:,} kept back"
    if status.batch_started_at is not None:
        in_hand = (now - status.batch_started_at).total_seconds()
        yield "batch in hand", f"for {duration(max(0.0, in_hand))}"


__all__ = ["HELD", "stream_view"]
