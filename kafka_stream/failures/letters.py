"""From a record that failed to what is kept of it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message

from kafka_stream.errors import ProcessingError, RecordError
from kafka_stream.failures.parts import RecordId, record_id
from kafka_stream.protocols import AFTER_ANOTHER, DeadLetter, Header, LetterError, LetterId, Payload

LONGEST_MESSAGE = 1_000
LONGEST_TRACEBACK = 4_000
_FRAMES = -12


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record that is set aside, and why."""

    message: Message
    error: LetterError

    @property
    def is_failure(self) -> bool:
        """Whether it failed itself, rather than wait for another one."""
        return self.error.type != AFTER_ANOTHER


def letter_error(error: BaseException, tell: Callable[[BaseException], str | None]) -> LetterError:
    """What is kept of an error: of user code's own, where it is chained. ``tell`` knows databases' errors."""
    cause = error
    if isinstance(error, ProcessingError) and error.__cause__ is not None:
        cause = error.__cause__
    told = tell(cause)
    if told is None:
        told = cause.reason if isinstance(cause, RecordError) else str(cause)
    kind = type(cause)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    frames = "".join(traceback.format_exception(kind, cause, cause.__traceback__, limit=_FRAMES, chain=False))
    return LetterError(name, _shortened(" ".join(told.split()), LONGEST_MESSAGE), frames[-LONGEST_TRACEBACK:])


def after_another(waits_for: RecordId) -> LetterError:
    """For a record whose key has another one of the batch that waits."""
    (topic, partition), offset = waits_for
    return LetterError(AFTER_ANOTHER, f"waits for {topic}[{partition}]@{offset}, which has the same key")


def held_back() -> LetterError:
    """For a record whose key has others that wait since an earlier batch."""
    return LetterError(AFTER_ANOTHER, "waits for an earlier record with the same key")


def letter_of(
    stream: str, rejection: Rejection, topic_ids: Mapping[str, str], code_version: str | None, now: datetime
) -> DeadLetter:
    """What is kept of a rejected record."""
    message = rejection.message
    (topic, partition), offset = record_id(message)
    kind, timestamp_ms = message.timestamp()
    payload = Payload(
        key=message.key(),
        value=message.value(),
        headers=_headers(message),
        timestamp_ms=None if kind == TIMESTAMP_NOT_AVAILABLE else timestamp_ms,
    )
    return DeadLetter(
        stream=stream,
        id=LetterId(topic, topic_ids.get(topic, ""), partition, offset),
        payload=payload,
        error=rejection.error,
        code_version=code_version,
        first_failed_at=now,
        last_failed_at=now,
    )


def _headers(message: Message) -> tuple[Header, ...]:
    headers: Any = message.headers() or ()
    return tuple((name, value.encode() if isinstance(value, str) else value) for name, value in headers)


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


__all__ = ["Rejection", "after_another", "held_back", "letter_error", "letter_of"]
