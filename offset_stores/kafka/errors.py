"""What Kafka's errors mean to this store, by code: mapped once, here."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException

from kafka_stream.errors import (
    ConfigurationError,
    KafkaStreamError,
    ProcessingError,
    StoreUnavailable,
    TopicNotFound,
    TransientError,
)
from kafka_stream.protocols.causes import causes
from kafka_stream.source.kafka_errors import refusal

# ruff: noqa: SLF001 - librdkafka's own codes begin with an underscore

_FENCED = frozenset(
    {
        KafkaError._FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_ID_MAPPING,
        KafkaError.UNKNOWN_PRODUCER_ID,
    }
)
_REBALANCED = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.FENCED_MEMBER_EPOCH,
        KafkaError.STALE_MEMBER_EPOCH,
    }
)
_HIDDEN = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED})
_UNKNOWN_TOPIC = frozenset({KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART})
_BAD_RECORD = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError.POLICY_VIOLATION,
        KafkaError._INVALID_ARG,
        KafkaError._INVALID_DIFFERENT_RECORD,
        KafkaError._UNKNOWN_PARTITION,
    }
)
_TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})
_OF_WHOLE_BATCHES = (
    "; max.message.bytes of a topic is that of a whole batch of records: set batch.size of KafkaOffsetStore below it"
)
_MISCONFIGURED = frozenset(
    {
        KafkaError.INVALID_TRANSACTION_TIMEOUT,
        KafkaError.OFFSET_METADATA_TOO_LARGE,
        KafkaError.UNSUPPORTED_VERSION,
        KafkaError._UNSUPPORTED_FEATURE,
        KafkaError._INVALID_ARG,
        KafkaError._NOT_CONFIGURED,
    }
)


def is_fenced(error: KafkaError) -> bool:
    """Whether a producer's transactional id is not its own any more: taken over, or aborted after its time."""
    return error.code() in _FENCED


def is_unstable(error: KafkaError) -> bool:
    """Whether an open transaction has an offset of the partition: whatever stands beside it says nothing."""
    return error.code() == KafkaError.UNSTABLE_OFFSET_COMMIT


def is_topic_refused(error: KafkaError) -> bool:
    """Whether a right on a topic is missing."""
    return error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


def mapped(error: KafkaError, doing: str, where: str, *, topic: str | None = None) -> KafkaStreamError:
    """The library's error for what one of the store's own requests ran into; ``topic``: the only one it was about."""
    code, reason = error.code(), error.str()
    if code in _REBALANCED:
        return TransientError(
            f"the consumer group at {where} has rebalanced since the batch was planned ({reason}): the batch is "
            "dropped, and planned again"
        )
    what = "access to the consumer group or its topics" if code in _HIDDEN else doing
    if topic is not None and is_topic_refused(error):
        what = f"topic {topic!r}"
    if (refused := refusal(error, where.rpartition(" at ")[2], what)) is not None:
        return refused
    if code in _MISCONFIGURED:
        return ConfigurationError(f"{where} refused {doing}: {reason}")
    return StoreUnavailable(f"{where} did not answer, or could not, while {doing}: {reason}")


def blames_records(error: BaseException) -> bool:
    """Whether an error of user code may be about a record: one of a Kafka client is, if it refuses a record."""
    for cause in causes(error):
        if isinstance(cause, KafkaException):
            reason = cause.args[0] if cause.args else None
            return isinstance(reason, KafkaError) and reason.code() in _BAD_RECORD
    return True


def undelivered(error: KafkaError, topic: str, where: str) -> KafkaStreamError:
    """The library's error for a record that its topic did not take; the transaction it is in cannot commit."""
    code, reason = error.code(), error.str()
    if code in _UNKNOWN_TOPIC:
        return TopicNotFound(f"topic {topic!r}, which results go to, does not exist at {where} ({reason}); create it")
    if code in _BAD_RECORD:
        hint = _OF_WHOLE_BATCHES if code in _TOO_LARGE else ""
        return ProcessingError(f"topic {topic!r} at {where} refused a record: {reason}{hint}")
    if (refused := refusal(error, where, f"topic {topic!r}", topic_rights="WRITE and DESCRIBE")) is not None:
        return refused
    return StoreUnavailable(f"topic {topic!r} at {where} did not take a record, so its batch is aborted: {reason}")


__all__ = ["blames_records", "is_fenced", "is_topic_refused", "is_unstable", "mapped", "undelivered"]
