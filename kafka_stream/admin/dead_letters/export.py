"""Pure: a dead letter as a JSON object with all that is known of it, for files and programs."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from kafka_stream.admin.dead_letters.words import text_of
from kafka_stream.protocols import DeadLetter

EXPORT_FIELDS = (
    *("stream", "topic", "topic_id", "partition", "offset", "timestamp_ms", "key", "value", "headers", "status"),
    *("error", "message", "traceback", "attempts", "first_failed_at", "last_failed_at", "changed_at", "code_version"),
    "note",
)
"""The keys of each object, in order."""


def exported(letter: DeadLetter) -> Mapping[str, Any]:
    """Everything there is about a letter.

    ``key``, ``value`` and the values of ``headers`` (pairs) are text, ``null``, or ``{"base64": …}`` where the bytes
    are no UTF-8. Times are ISO 8601 in UTC, to the microsecond.
    """
    where, payload, error = letter.id, letter.payload, letter.error
    return {
        "stream": letter.stream,
        "topic": where.topic,
        "topic_id": where.topic_id or None,
        "partition": where.partition,
        "offset": where.offset,
        "timestamp_ms": payload.timestamp_ms,
        "key": _bytes(payload.key),
        "value": _bytes(payload.value),
        "headers": [[name, _bytes(value)] for name, value in payload.headers],
        "status": str(letter.status),
        "error": error.type,
        "message": error.message,
        "traceback": error.traceback,
        "attempts": letter.attempts,
        "first_failed_at": _exact(letter.first_failed_at),
        "last_failed_at": _exact(letter.last_failed_at),
        "changed_at": _exact(letter.changed_at),
        "code_version": letter.code_version,
        "note": letter.note,
    }


def to_json_line(letter: DeadLetter) -> str:
    """One line of JSON Lines, with its end."""
    return json.dumps(exported(letter), ensure_ascii=False, separators=(",", ":")) + "\n"


def _bytes(data: bytes | None) -> Any:
    if data is None:
        return None
    text = text_of(data)
    return {"base64": base64.b64encode(data).decode()} if text is None else text


def _exact(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat(timespec="microseconds")


__all__ = ["EXPORT_FIELDS", "exported", "to_json_line"]
