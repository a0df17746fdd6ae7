"""From a record that failed to what is kept of it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME, TIMESTAMP_NOT_AVAILABLE, Message

from kafka_stream.errors import ProcessingError, RecordError
from kafka_stream.failures.parts import RecordId
from kafka_stream.failures.turns import headers_of
from kafka_stream.protocols import AFTER_ANOTHER, DeadLetter, LetterError, LetterId, Payload

LONGEST_MESSAGE = 1_000
LONGEST_TRACEBACK = 4_000
_FRAMES = -12
_TIMESTAMP_TYPES = {TIMESTAMP_CREATE_TIME: "CreateTime", TIMESTAMP_LOG_APPEND_TIME: "LogAppendTime"}


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


def letters_of(
    stream: str,
    rejections: Mapping[RecordId, Rejection],
    origins: Mapping[RecordId, LetterId],
    topic_ids: Mapping[str, str],
    code_version: str | None,
) -> Sequence[DeadLetter]:
    """What is kept of rejected records, in their order. One that has an origin is that letter once more."""
    now = datetime.now(UTC)
    found: list[DeadLetter] = []
    for record in sorted(rejections):
        (topic, partition), offset = record
        letter_id = origins.get(record) or LetterId(topic, topic_ids.get(topic, ""), partition, offset)
        rejection, is_replayed = rejections[record], record in origins
        found.append(letter_of(stream, rejection, letter_id, code_version, now, is_replayed=is_replayed))
    return found


def letter_of(
    stream: str,
    rejection: Rejection,
    letter_id: LetterId,
    code_version: str | None,
    now: datetime,
    *,
    is_replayed: bool = False,
) -> DeadLetter:
    """What is kept of a rejected record. One that ``is_replayed`` is an earlier letter's, without the last header."""
    message = rejection.message
    headers = headers_of(message)
    kind, timestamp_ms = message.timestamp()
    payload = Payload(
        key=message.key(),
        value=message.value(),
        headers=headers[:-1] if is_replayed else headers,
        timestamp_ms=None if kind == TIMESTAMP_NOT_AVAILABLE else timestamp_ms,
        timestamp_type=_TIMESTAMP_TYPES.get(kind),
    )
    return DeadLetter(
        stream=stream,
        id=letter_id,
        payload=payload,
        error=rejection.error,
        code_version=code_version,
        first_failed_at=now,
        last_failed_at=now,
    )


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


__all__ = ["Rejection", "after_another", "held_back", "letter_error", "letter_of", "letters_of"]
