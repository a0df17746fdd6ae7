"""Whether a stream lives, has started and is ready, by its status alone: no server is asked, so an outage kills nobody.

The three questions are Kubernetes' probes. A process that is not alive is to be started again; one that is not ready is
waited for, such as by a rolling update.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from kafka_stream.errors import KafkaStreamError, ProcessingError, RecordError
from kafka_stream.observe.passwords import without_passwords
from kafka_stream.progress import StreamState, StreamStatus

STUCK_AFTER_S = 600.0

_BEFORE = frozenset({StreamState.NEW, StreamState.STARTING})
_AT_WORK = frozenset({StreamState.RUNNING, StreamState.RETRYING})


def why_not_alive(status: StreamStatus, now: datetime, stuck_after_s: float = STUCK_AFTER_S) -> str | None:
    """A sentence where a new process would help: the stream has failed, or its batch has been in hand for too long.

    Brokers and databases that are away are none of the reasons: batches are dropped then, and tried again.
    """
    if (failed := _why_failed(status)) is not None:
        return failed
    in_hand_s = _in_hand_s(status, now)
    if in_hand_s is not None and in_hand_s >= stuck_after_s:
        return f"the batch in hand has been for {in_hand_s:.0f} s, and may for {stuck_after_s:g} s"
    return None


def why_not_started(status: StreamStatus) -> str | None:
    """A sentence while store and source are not open yet, or after they could not be opened."""
    if status.state in _BEFORE:
        return f"the stream is {status.state}"
    return _why_failed(status)


def why_not_ready(status: StreamStatus) -> str | None:
    """A sentence where it owns no partition although something keeps it from that, or is not at work.

    A member that its group has given nothing is ready: it waits for others to leave.
    """
    if status.state not in _AT_WORK:
        return f"the stream is {status.state}"
    if not status.positions and status.error is not None:
        return f"no partition is owned yet ({_kind(status.error)})"
    return None


def report(stream: str, status: StreamStatus, now: datetime) -> dict[str, Any]:
    """What ``/status`` says: JSON's own values. Of an error that user code has raised the type alone, which is ours."""
    owner = status.owner
    return {
        "stream": stream,
        "state": status.state.value,
        "guarantee": status.guarantee and status.guarantee.value,
        "owner": owner and {"id": owner.id, "host": owner.host, "code_version": owner.code_version},
        "partitions": _partitions(status),
        "batches": status.batches,
        "records": status.records,
        "dead_letters": status.dead_letters,
        "duplicates": status.duplicates,
        "batch_in_hand_s": _in_hand_s(status, now),
        "committed_at": status.committed_at and status.committed_at.isoformat(),
        "error": _error(status.error),
    }


def _partitions(status: StreamStatus) -> list[Mapping[str, Any]]:
    return [
        {
            "topic": tp.topic,
            "partition": tp.partition,
            "next_offset": offset,
            "lag": status.lag.get(tp),
            "pinned_since": (since := status.pinned.get(tp)) and since.isoformat(),
        }
        for tp, offset in sorted(status.positions.items())
    ]


def _in_hand_s(status: StreamStatus, now: datetime) -> float | None:
    begun = status.batch_started_at
    return None if begun is None else max(0.0, round((now - begun).total_seconds(), 3))


def _error(error: BaseException | None) -> Mapping[str, Any] | None:
    if error is None:
        return None
    kind, message = told(error)
    return {"type": kind, "message": message}


def told(error: BaseException) -> tuple[str, str | None]:
    """What an error is, and what it says, if the text is ours: of a record, which one."""
    if isinstance(error, RecordError):
        return _kind(error), f"record {error.topic}[{error.partition}]@{error.offset}"
    is_ours = isinstance(error, KafkaStreamError) and not isinstance(error, ProcessingError)
    return _kind(error), without_passwords(str(error)) if is_ours else None


def _why_failed(status: StreamStatus) -> str | None:
    return f"the stream has failed ({_kind(status.error)})" if status.state is StreamState.FAILED else None


def _kind(error: BaseException | None) -> str:
    return type(error).__name__


__all__ = ["STUCK_AFTER_S", "report", "told", "why_not_alive", "why_not_ready", "why_not_started"]
