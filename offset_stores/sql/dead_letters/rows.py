"""A dead letter as a row, and back.

``headers`` is JSON in UTF-8: an array of ``[name, value]`` in the record's order, a value in base64 or null. Bytes stay
as they are, and whatever text an error brings along fits: a NUL or half a character, which databases refuse, is
written as an escape.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from kafka_stream.errors import SchemaMismatch
from kafka_stream.protocols import DeadLetter, Header, LetterError, LetterId, LetterStatus, Payload

_LONGEST_NAME = 255
REPLACED = (
    *("key", "value", "headers", "timestamp_ms", "error_type", "error_message", "traceback", "code_version"),
    *("last_failed_at", "status", "note", "changed_at"),
)
"""What a letter of the same record replaces; its first failure stays, as does the replay that it is part of."""


def row_of(letter: DeadLetter) -> dict[str, Any]:
    """A letter that is set aside."""
    return {
        "stream": letter.stream,
        **letter.id._asdict(),
        "key": letter.payload.key,
        "value": letter.payload.value,
        "headers": headers_bytes(letter.payload.headers),
        "timestamp_ms": letter.payload.timestamp_ms,
        **error_columns(letter.error),
        "code_version": letter.code_version and storable(letter.code_version)[:_LONGEST_NAME],
        "first_failed_at": letter.first_failed_at,
        "last_failed_at": letter.last_failed_at,
        "attempts": letter.attempts,
        "status": str(letter.status),
        "note": letter.note and storable(letter.note),
        "changed_at": letter.last_failed_at,
    }


def error_columns(error: LetterError) -> dict[str, str]:
    """Why; of a very long type the end, where its name is."""
    return {
        "error_type": storable(error.type)[-_LONGEST_NAME:],
        "error_message": storable(error.message),
        "traceback": storable(error.traceback),
    }


def letter_of(row: Any) -> DeadLetter:
    """A row, perhaps without ``value`` and ``headers``.

    Raises:
        SchemaMismatch: it holds what this version does not keep there.
    """
    found = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    letter_id = LetterId(row.topic, row.topic_id, row.partition, row.offset)
    try:
        return DeadLetter(
            stream=row.stream,
            id=letter_id,
            payload=Payload(row.key, found.get("value"), headers_of(found.get("headers")), row.timestamp_ms),
            error=LetterError(row.error_type, row.error_message, row.traceback),
            code_version=row.code_version,
            first_failed_at=row.first_failed_at,
            last_failed_at=row.last_failed_at,
            attempts=row.attempts,
            status=LetterStatus(row.status),
            note=row.note,
            changed_at=row.changed_at,
        )
    except (ValueError, TypeError, binascii.Error) as error:
        raise SchemaMismatch(
            f"the dead letter {letter_id} of stream {row.stream!r} holds what this version of kafka-stream does not "
            f"keep there ({type(error).__name__}); was it written by a newer version, or by hand?"
        ) from error


def headers_bytes(headers: tuple[Header, ...]) -> bytes:
    """In order, repeats and nulls included."""
    pairs = [[name, None if value is None else base64.b64encode(value).decode()] for name, value in headers]
    return json.dumps(pairs, separators=(",", ":")).encode()


def headers_of(data: bytes | None) -> tuple[Header, ...]:
    """What was written; none where they were not read."""
    pairs = () if data is None else json.loads(data)
    return tuple((name, None if value is None else base64.b64decode(value, validate=True)) for name, value in pairs)


def storable(text: str) -> str:
    """Without what a database cannot keep in a text."""
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


__all__ = ["REPLACED", "error_columns", "headers_bytes", "headers_of", "letter_of", "row_of", "storable"]
