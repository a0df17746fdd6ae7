"""One tree of errors, grouped by what the caller does about them.

    KafkaStreamError
      ConfigurationError          fix it, start again
        UnsupportedGuarantee, UnknownStore, UnknownSink, MissingExtra, SchemaMismatch, TopicNotFound, NotAuthorized,
        RecordTooLarge
      TransientError              the batch is retried
        BrokerUnavailable, StoreUnavailable, SinkUnavailable
          PartitionsHeld, StoreSuperseded   of the store
        HandlerUnavailable        what user code calls, by transient_errors; WorkerLost, of the stream's executor
      RetriesExhausted            the retry strategy allows no further attempt
      OwnershipLost               fenced by another owner or an admin command
        StreamClosed              closed by an admin command
      InstanceIdInUse             stop; two copies run with one group_instance_id
      CommitOutcomeUnknown        resolved inside the stream
      OutstandingPlan             stop; an operator decides
      DataLoss                    stop; an operator decides
        OffsetOutOfRange, LogTruncated, TopicRecreated
      BoundNotReached             a bounded run cannot come to its end
        HangingTransaction        for somebody's transaction does not end
      CommandRefused              an admin command would do harm; it says what to do first
      ProcessingError             user code failed; its cause is chained
        RecordError, TransactionEscaped, StatementRefused, SpoiledTransaction, FailedElsewhere
        TooManyDeadLetters        the breaker of on_error="dead-letter": it looks like the code, not the records
      CauseElsewhere              never raised: what stood behind an error that comes from another process

Each message is one sentence or two: what happened, where, and what to do next. Facts ride along as fields.
"""

from __future__ import annotations

import copy
import traceback
from collections.abc import Callable
from typing import Any, Self, TypeVar

from confluent_kafka import Message

from kafka_stream.types import OffsetRange, Owner, TopicPartition

_E = TypeVar("_E", bound=BaseException)


class KafkaStreamError(Exception):
    """The root of all errors that this library raises on purpose.

    Each can be copied, and sent to another process with its facts; of a cause that is not one of them the other process
    gets the text (``CauseElsewhere``), since what other libraries raise often cannot be sent.
    """

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
        return _remade, (type(self), self.args), {**self.__dict__, **_sent_cause(self.__cause__)}

    def __copy__(self) -> Self:
        copied = _remade(type(self), self.args)
        copied.__dict__.update(self.__dict__)
        copied.__context__, copied.__cause__ = self.__context__, self.__cause__
        copied.__suppress_context__ = self.__suppress_context__
        return copied.with_traceback(self.__traceback__)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        copied = copy.copy(self)
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return copied


class CauseElsewhere(KafkaStreamError):
    """What was chained to an error in the process that it comes from, as the text of its traceback."""


class ConfigurationError(KafkaStreamError):
    """Something the user set cannot work: fix it and start again."""


class UnsupportedGuarantee(ConfigurationError):
    """The pairing of sink and store is weaker than the guarantee that was asked for."""


class UnknownStore(ConfigurationError):
    """A store URL whose scheme nothing serves."""


class UnknownSink(ConfigurationError):
    """A sink's name that no installed package offers."""


class MissingExtra(ConfigurationError):
    """A driver is not installed; the message names the extra that brings it."""


class SchemaMismatch(ConfigurationError):
    """The store's tables are missing, of another version, or not as they must be."""


class TopicNotFound(ConfigurationError):
    """A topic does not exist, or has no partition that this shard could own."""


class NotAuthorized(ConfigurationError):
    """The broker or the database refused the credentials or a permission."""


class RecordTooLarge(ConfigurationError):
    """The next record of a partition, at ``offset`` or after it, is larger than the client's settings let it read."""

    def __init__(self, message: str, *, partition: TopicPartition, offset: int) -> None:
        super().__init__(message)
        self.partition = partition
        self.offset = offset


class TransientError(KafkaStreamError):
    """It may work the next time: the batch is dropped and retried after a backoff."""


class BrokerUnavailable(TransientError):
    """Kafka did not answer."""


class StoreUnavailable(TransientError):
    """The offset store did not answer, or ended the transaction (deadlock, serialization failure)."""


class PartitionsHeld(StoreUnavailable):
    """Somebody who may not be ended holds the stored positions of ``partitions``; the others could be taken over."""

    def __init__(self, message: str, *, partitions: tuple[TopicPartition, ...]) -> None:
        super().__init__(message)
        self.partitions = partitions


class StoreSuperseded(StoreUnavailable):
    """The store's server is a former primary, which nothing is read from or committed to: another one was promoted."""


class SinkUnavailable(TransientError):
    """The sink did not answer."""


class HandlerUnavailable(TransientError):
    """Something that user code calls did not answer: it raised one of the stream's ``transient_errors``."""


class WorkerLost(TransientError):
    """A worker of the stream's executor has gone, or took too long: what it did runs again elsewhere."""


class RetriesExhausted(KafkaStreamError):
    """The stream's retry strategy allows no attempt after ``attempts`` in a row; what failed is chained."""

    def __init__(self, message: str, *, attempts: int) -> None:
        super().__init__(message)
        self.attempts = attempts


class OwnershipLost(KafkaStreamError):
    """Another owner or an admin command has fenced this one; nothing of the batch in hand was committed.

    ``other`` is the stored owner, ``None`` if an admin command cleared it. It may equal our own owner, when only the
    epoch was raised. ``range`` and ``stored_offset`` are of the first partition that was found lost.
    """

    def __init__(
        self,
        message: str,
        *,
        range: OffsetRange | None = None,  # noqa: A002 - the field's name in the design
        stored_offset: int | None = None,
        other: Owner | None = None,
    ) -> None:
        super().__init__(message)
        self.range = range
        self.stored_offset = stored_offset
        self.other = other


class StreamClosed(OwnershipLost):
    """The stream, or one of its partitions, was closed by an admin command: stop."""


class InstanceIdInUse(KafkaStreamError):
    """Another copy is in the group with this one's ``group_instance_id``; the batch in hand was not committed."""


class CommitOutcomeUnknown(KafkaStreamError):
    """The connection broke during COMMIT: neither success nor failure, until the store is asked."""


class OutstandingPlan(KafkaStreamError):
    """A range was planned and perhaps written (and committed by its handler), and its offsets never advanced: look."""

    def __init__(self, message: str, *, range: OffsetRange) -> None:  # noqa: A002
        super().__init__(message)
        self.range = range


class DataLoss(KafkaStreamError):
    """Records that were not read yet are gone; ``on_data_loss`` says whether to stop or where to go on.

    ``wanted`` is the offset that was to be read next, ``available`` the half-open interval ``(first, end)`` that the
    broker has, ``None`` where it could not be learned.
    """

    def __init__(
        self, message: str, *, partition: TopicPartition, wanted: int, available: tuple[int, int] | None
    ) -> None:
        super().__init__(message)
        self.partition = partition
        self.wanted = wanted
        self.available = available


class OffsetOutOfRange(DataLoss):
    """The stored offset does not exist: retention has passed it, or the log ends before it."""


class LogTruncated(DataLoss):
    """The log's tail that was already read has been replaced (KIP-320, leader epochs)."""


class TopicRecreated(DataLoss):
    """The topic was deleted and created again under its name (KIP-516, topic ids)."""


class BoundNotReached(KafkaStreamError):
    """A bounded run made no progress towards its end; ``partitions`` names where, and the message why."""

    def __init__(self, message: str, *, partitions: tuple[TopicPartition, ...]) -> None:
        super().__init__(message)
        self.partitions = partitions


class HangingTransaction(BoundNotReached):
    """A transaction that does not end keeps from a bounded run what is behind it; what comes before is committed.

    It begins at ``offset`` of ``partition``; ``age_s`` is how old its first record is, ``None`` if that could not be
    read. ``partitions`` are all that are held so.
    """

    def __init__(
        self,
        message: str,
        *,
        partitions: tuple[TopicPartition, ...],
        partition: TopicPartition,
        offset: int,
        age_s: float | None,
    ) -> None:
        super().__init__(message, partitions=partitions)
        self.partition = partition
        self.offset = offset
        self.age_s = age_s


class CommandRefused(KafkaStreamError):
    """An admin command would do harm as things stand; it changed nothing, and says what to do first."""


class ProcessingError(KafkaStreamError):
    """User code failed; nothing of its batch was committed, and the cause is chained."""


class RecordError(ProcessingError):
    """One record could not be processed; raise it from a handler to name the record.

    Example:
        ``raise RecordError("no price", topic=m.topic(), partition=m.partition(), offset=m.offset()) from error``
    """

    def __init__(self, message: str, *, topic: str, partition: int, offset: int) -> None:
        super().__init__(f"record {topic}[{partition}]@{offset}: {message}")
        self.reason = message
        self.topic = topic
        self.partition = partition
        self.offset = offset

    @classmethod
    def of(cls, message: Message, reason: str) -> Self:
        """The error for a consumed message."""
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        assert topic is not None and partition is not None and offset is not None  # noqa: PT018
        return cls(reason, topic=topic, partition=partition, offset=offset)


class FailedElsewhere(ProcessingError):
    """User code failed on a worker of the stream's executor; its traceback is in the cause."""


class TransactionEscaped(ProcessingError):
    """The handler committed, rolled back or left the transaction that it was given."""


class StatementRefused(ProcessingError):
    """A database refused what user code asked for, whatever the record: a table, a column or a right is missing.

    Or it did not answer, and it is not the store's: name its errors in ``transient_errors`` to have the batch retried.
    """


class SpoiledTransaction(ProcessingError):
    """Results were refused in a way that took the whole transaction with them, and another one can go on without them.

    ``attempt`` is how many of the transaction's attempts had gone well before the one that they are of
    (``RescuingTransaction.attempt``).
    """

    def __init__(self, message: str, *, attempt: int) -> None:
        super().__init__(message)
        self.attempt = attempt


class TooManyDeadLetters(ProcessingError):
    """More records failed than ``DeadLetters`` allows; nothing of the batch was committed."""


def _remade(kind: type[_E], args: tuple[Any, ...]) -> _E:
    """The error without its ``__init__``, whose arguments are not ``args``: facts come after it."""
    made = kind.__new__(kind, *args)
    made.args = args
    return made


def _sent_cause(cause: BaseException | None) -> dict[str, Any]:
    if cause is None:
        return {}
    text = "".join(traceback.format_exception(cause)).rstrip()
    sent = cause if isinstance(cause, KafkaStreamError) else CauseElsewhere(f'\n"""\n{text}\n"""')
    return {"__cause__": sent, "__suppress_context__": True}
