"""What librdkafka's errors mean to a reader: by code, and by the text only where there is no code."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException

from kafka_stream.errors import ConfigurationError, NotAuthorized
from kafka_stream.source.security.logins import is_not_authenticated, tls_refusal
from kafka_stream.source.security.tokens import why_no_token

T = TypeVar("T")

_ASK_AGAIN_AFTER_S = 0.1
_OTHERS_PATIENCE_S = 5.0

# ruff: noqa: SLF001 - librdkafka's own codes begin with an underscore

_NO_SUCH_TOPIC = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNKNOWN_TOPIC_ID,
        KafkaError.TOPIC_EXCEPTION,  # a name that no topic can have
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
    }
)
_CREDENTIALS = "check security.protocol, sasl.mechanism, and its credentials (such as sasl.username and sasl.password)"
_MISSING_RIGHTS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "{topic_rights} on the topic",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "READ on the consumer group",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "DESCRIBE on the cluster",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "WRITE and DESCRIBE on the transactional ids",
}
_NOT_ADMITTED = {
    KafkaError.INVALID_SESSION_TIMEOUT: (
        "set session.timeout.ms between the broker's group.min.session.timeout.ms and group.max.session.timeout.ms"
    ),
    KafkaError.INCONSISTENT_GROUP_PROTOCOL: (
        "the group's members do not use cooperative-sticky: stop them, or choose another group_id"
    ),
    KafkaError.INVALID_GROUP_ID: "choose another group_id",
    KafkaError.UNSUPPORTED_ASSIGNOR: "set group.remote.assignor to one of the brokers' group.consumer.assignors",
    KafkaError.GROUP_MAX_SIZE_REACHED: "the group has as many members as the brokers' group.max.size allows",
}
_NOT_OFFERED = frozenset({KafkaError._UNSUPPORTED_FEATURE, KafkaError.UNSUPPORTED_VERSION})
# A member that has slept for long: its group was deleted meanwhile, or it tells of an epoch that there is not any more.
_PUT_OUT = frozenset({KafkaError.GROUP_ID_NOT_FOUND, KafkaError.INVALID_REQUEST, KafkaError.UNKNOWN_MEMBER_ID})
ID_TAKEN, ID_HELD = KafkaError.FENCED_INSTANCE_ID, KafkaError.UNRELEASED_INSTANCE_ID
_POSITION_GONE = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError._LOG_TRUNCATION})
_NOT_STARTED = frozenset({KafkaError._STATE, KafkaError._PREV_IN_PROGRESS, KafkaError._UNKNOWN_PARTITION})
_PASSING = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TRANSPORT,
        KafkaError._TIMED_OUT,
        KafkaError._RESOLVE,
        KafkaError._MAX_POLL_EXCEEDED,
        KafkaError._WAIT_COORD,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.REQUEST_TIMED_OUT,
    }
)
_WITHOUT_LEADER = frozenset(
    {
        KafkaError._NOENT,  # list_offsets: no leader found
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.UNKNOWN_LEADER_EPOCH,
    }
)
_COORDINATOR_MOVES = frozenset(
    {
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
    }
)
_UNANSWERED = frozenset({KafkaError._TIMED_OUT, KafkaError._TRANSPORT})
PATIENCES_S = (2.0, 3.0, 5.0)
"""How long a question is waited for, the first time and later ones."""
_FILES_TEXT = re.compile(r"\bssl\.[a-z.]+ failed\b")
_OF_FILES = "; check that the file is there, what it holds, and ssl.key.password where a key has one"
_TRUNCATION_TEXT = KafkaError(KafkaError._LOG_TRUNCATION).str()
_FATAL = {*_NOT_OFFERED, *_PUT_OUT, ID_TAKEN, ID_HELD, *_MISSING_RIGHTS, *_NOT_ADMITTED}
_FATAL_TEXTS = {code: KafkaError(code).str() for code in _FATAL}


def is_end_of_partition(error: KafkaError) -> bool:
    """Not an error: everything up to the message's offset has been delivered."""
    return error.code() == KafkaError._PARTITION_EOF


def is_position_gone(error: KafkaError) -> bool:
    """Whether the broker does not have the position any more; fetching of the partition has stopped."""
    return error.code() in _POSITION_GONE


def is_truncation(error: KafkaError) -> bool:
    """Whether a position is gone because the log diverged (KIP-320), rather than being out of range.

    With ``auto.offset.reset=error`` librdkafka raises one code for both, and puts its own text for the cause into the
    reason.
    """
    return error.code() == KafkaError._LOG_TRUNCATION or _TRUNCATION_TEXT in error.str()


def is_not_started(error: KafkaError) -> bool:
    """Whether a seek came before librdkafka had begun to fetch; try again."""
    return error.code() in _NOT_STARTED


def is_passing(error: KafkaError) -> bool:
    """Whether librdkafka gets over it by itself."""
    return error.code() in _PASSING


def without_cover(error: KafkaError) -> KafkaError:
    """What was fatal to a consumer: librdkafka tells of it under a code of its own, and of the cause in the reason."""
    if error.code() != KafkaError._FATAL:
        return error
    text = error.str()
    code = next((code for code, known in _FATAL_TEXTS.items() if known in text), KafkaError._FATAL)
    return KafkaError(code, text, fatal=True)


def is_not_offered(error: KafkaError) -> bool:
    """Whether the brokers do not have what the client asks for, such as a group protocol; it is fatal to a consumer."""
    return error.code() in _NOT_OFFERED


def is_put_out(error: KafkaError) -> bool:
    """Whether a member was put out of its group in a way that is fatal to the consumer, and to no other."""
    return error.fatal() and error.code() in _PUT_OUT


def is_refused_by_group(error: KafkaError) -> bool:
    """Whether what is missing is the right on the consumer group."""
    return error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED


def is_no_broker_left(error: KafkaError) -> bool:
    """Whether a client has no connection to any broker."""
    return error.code() == KafkaError._ALL_BROKERS_DOWN


def is_missing_topic(error: KafkaError) -> bool:
    """Whether the broker says that there is no such topic or partition."""
    return error.code() in _NO_SUCH_TOPIC


def is_without_leader(error: KafkaError) -> bool:
    """Whether a partition has no leader at the moment, or one that does not know it yet; admin clients give up then."""
    return error.code() in _WITHOUT_LEADER


def insisting(ask: Callable[[], T], timeout_s: float, is_given_up: Callable[[], bool] = lambda: False) -> T:
    """What a group's coordinator answers: asked again while it moves, or has not loaded its groups yet."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return ask()
        except KafkaException as error:
            if not is_coordinator_moving(error.args[0]) or is_given_up() or time.monotonic() > deadline:
                raise
            time.sleep(_ASK_AGAIN_AFTER_S)


def asked_anew(
    ask: Callable[[float], T],
    failed: Callable[[KafkaError], None],
    is_given_up: Callable[[], bool] = lambda: False,
    patiences_s: Sequence[float] = PATIENCES_S,
) -> T:
    """What a client answers that may wait for a broker which has just gone: a new one is asked again, and for longer.

    A client waits for the controller that it was told of, or for all brokers that it knows, until its time is up; a new
    one is told of others. ``ask`` is handed its time, in seconds, and ``failed`` makes the new client.
    """
    *earlier_s, last_s = patiences_s
    for patience_s in earlier_s:
        try:
            return ask(patience_s)
        except KafkaException as error:
            if not is_unanswered(error.args[0]) or is_given_up():
                raise
            failed(error.args[0])
    return ask(last_s)


def is_coordinator_moving(error: KafkaError) -> bool:
    """Whether a group's coordinator moves, or has not loaded its groups yet; admin clients give up then."""
    return error.code() in _COORDINATOR_MOVES


def is_unanswered(error: KafkaError) -> bool:
    """Whether a client has waited in vain: for an answer, or for a broker to send its question to."""
    return error.code() in _UNANSWERED


def is_unreadable_response(error: KafkaError) -> bool:
    """Whether a response could not be read, such as one that is larger than ``receive.message.max.bytes``."""
    return error.code() == KafkaError._BAD_MSG


def why_unreachable(error: KafkaError, servers: str, waited_s: float) -> NotAuthorized | ConfigurationError | None:
    """The typed error if no broker answers a client that has told this error, and none would the next time.

    Where one of several servers has a wrong certificate, the others are tried for a little.
    """
    refused = refusal(error, servers, "access to the cluster")
    if refused is None and ("," not in servers or waited_s >= _OTHERS_PATIENCE_S):
        return tls_refusal(error, servers)
    return refused


def refusal(
    error: KafkaError, servers: str, what: str, *, topic_rights: str = "READ and DESCRIBE"
) -> NotAuthorized | ConfigurationError | None:
    """The typed error if the broker has refused us: it would the next time, too.

    Who is not known needs other credentials; who is known and may not, a right, which is named. ``what`` was refused,
    and takes ``topic_rights`` where it is refused for a topic.
    """
    if is_not_authenticated(error):
        return NotAuthorized(f"{servers} refused the credentials ({error.str()}); {_CREDENTIALS}")
    if (rights := _MISSING_RIGHTS.get(error.code())) is not None:
        missing = rights.format(topic_rights=topic_rights)
        return NotAuthorized(f"{servers} refused {what} ({error.str()}); grant this principal {missing}")
    if (remedy := _NOT_ADMITTED.get(error.code())) is not None:
        return ConfigurationError(f"{servers} refused this member of the consumer group ({error.str()}): {remedy}")
    return None


@contextmanager
def settings_accepted(settings: Mapping[str, Any], whose: str = "these Kafka settings") -> Iterator[None]:
    """Around what makes a client: librdkafka looks at its settings there, and ``oauth_cb`` is asked for a token.

    Raises:
        ConfigurationError: it has refused one of the settings.
        NotAuthorized, BrokerUnavailable: there is no token.
    """
    try:
        yield
    except KafkaException as error:
        without, said = why_no_token(error, settings), error.args[0].str()
        remedy = _OF_FILES if _FILES_TEXT.search(said) else ""
        raise without or ConfigurationError(f"{whose} were refused: {said}{remedy}") from error


__all__ = [
    "ID_HELD",
    "ID_TAKEN",
    "PATIENCES_S",
    "asked_anew",
    "insisting",
    "is_coordinator_moving",
    "is_end_of_partition",
    "is_missing_topic",
    "is_no_broker_left",
    "is_not_offered",
    "is_not_started",
    "is_passing",
    "is_position_gone",
    "is_put_out",
    "is_refused_by_group",
    "is_truncation",
    "is_unanswered",
    "is_unreadable_response",
    "is_without_leader",
    "refusal",
    "settings_accepted",
    "why_unreachable",
    "without_cover",
]
