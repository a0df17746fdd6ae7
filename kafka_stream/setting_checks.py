"""What each setting has to be, before anything is connected; ``settings`` puts them together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from pydantic import Secret, SecretStr

from kafka_stream.failures.breaker import DeadLetters
from kafka_stream.failures.strategies import ExponentialBackoff, FailureRate, FixedDelay, NoRetry
from kafka_stream.librdkafka import HARMLESS, setting_of_variable, why_unknown
from kafka_stream.protocols import Executor, OffsetStore, Source, WantedTopics
from kafka_stream.protocols.topics import why_no_pattern
from kafka_stream.signatures import why_no_listener
from kafka_stream.types import MAX_OFFSET, TopicPartition, why_no_topic

_FORBIDDEN = {
    "enable.auto.commit": "offsets commit with the results, in the store's transaction",
    "enable.auto.offset.store": "offsets commit with the results, in the store's transaction",
    "auto.commit.interval.ms": "the consumer never commits on its own",
    "auto.commit.enable": "the consumer never commits on its own",
    "enable.partition.eof": "it must stay on: a range's end is found by it",
    "group.id": "use group_id",
    "group.instance.id": "use group_instance_id",
    "partition.assignment.strategy": (
        "members use cooperative-sticky, or, by the consumer protocol, what the brokers assign by "
        "(group.remote.assignor)"
    ),
    "group.protocol": "use group_protocol",
    "on_commit": "the consumer never commits",
    "offset_commit_cb": "the consumer never commits",
    "default.topic.config": "give its settings beside the others",
}


@runtime_checkable
class SourceFactory(Protocol):
    """What ``kafka=`` may be in tests instead of settings: ``MemoryKafka``."""

    def source(self, group_id: str, topics: Sequence[str], limits: Any) -> Source:
        """A source that reads these topics."""


def checked_topics(topics: Any) -> Any:
    """Names and patterns, none twice; also as one text with commas. Raises ``ValueError``."""
    if isinstance(topics, str):
        topics = [topic.strip() for topic in topics.split(",")]
    if not isinstance(topics, list | tuple) or not topics or not all(isinstance(t, str) and t for t in topics):
        raise ValueError("topics must be a list of topic names, such as topics=['orders']")
    if len(set(topics)) != len(topics):
        raise ValueError("a topic is named twice")
    wanted = WantedTopics.of(topics)
    for why in (*map(why_no_topic, wanted.named), *map(why_no_pattern, wanted.patterns)):
        if why is not None:
            raise ValueError(why)
    return tuple(topics)


def checked_kafka(kafka: Any) -> Any:
    """Settings that librdkafka has and that break no promise, with secrets covered. Raises ``ValueError``."""
    if isinstance(kafka, SourceFactory):
        return kafka
    if not isinstance(kafka, Mapping):
        raise ValueError("kafka must be librdkafka's settings, such as {'bootstrap.servers': 'localhost:9092'}")
    config = {key: uncovered(value) for key, value in kafka.items()}
    for key, why in _FORBIDDEN.items():
        if key in config:
            raise ValueError(f"kafka setting {key!r} cannot be set: {why}")
    if config.get("auto.offset.reset", "error") != "error":
        raise ValueError(
            "kafka setting 'auto.offset.reset' must be 'error': use start= for the first start and on_data_loss= "
            "for a position that is gone"
        )
    if (unknown := why_unknown(config)) is not None:
        raise ValueError(f"kafka setting {unknown}")
    if not config.keys() & {"bootstrap.servers", "metadata.broker.list", "test.mock.num.brokers"}:
        raise ValueError("kafka needs 'bootstrap.servers', such as 'localhost:9092'")
    return {key: value if key in HARMLESS else _covered(value) for key, value in config.items()}


def _covered(value: Any) -> SecretStr | Secret[Any]:
    return SecretStr(value) if isinstance(value, str) else Secret(value)


def uncovered(value: Any) -> Any:
    """The value itself, for a client."""
    return value.get_secret_value() if isinstance(value, SecretStr | Secret) else value


def checked_store(store: Any) -> Any:
    """A store, or its URL, covered. Raises ``ValueError``."""
    if isinstance(store, str):
        return SecretStr(store)
    if isinstance(store, SecretStr | OffsetStore):
        return store
    raise ValueError("store must be an offset store or its URL, such as 'sqlite:///orders.db'")


def checked_bound(bound: Any) -> Any:
    """A start or an end. Raises ``ValueError``."""
    if isinstance(bound, str) and bound not in ("earliest", "latest"):
        try:
            bound = datetime.fromisoformat(bound)
        except ValueError:
            raise ValueError(f"{bound!r} is not 'earliest', 'latest' or an ISO 8601 time") from None
    if isinstance(bound, datetime) and bound.tzinfo is None:
        raise ValueError(f"{bound.isoformat()} has no time zone; give an aware datetime")
    if isinstance(bound, Mapping):
        for tp, offset in bound.items():
            if not isinstance(tp, TopicPartition) or type(offset) is not int or not 0 <= offset <= MAX_OFFSET:
                raise ValueError("offsets are given as {TopicPartition('orders', 0): 42, …}, from 0 to 2^63-1")
        return dict(bound)  # what was checked is what will be used
    if not isinstance(bound, str | datetime):
        raise ValueError("it must be 'earliest', 'latest', an aware datetime or {TopicPartition: offset}")
    return bound


def checked_listeners(listeners: Any) -> Any:
    """What can be told as a listener is. Raises ``ValueError``."""
    for listener in listeners if isinstance(listeners, list | tuple) else ():
        if (why := why_no_listener(listener)) is not None:
            raise ValueError(f"this cannot be a listener: {why}")
    return listeners


def checked_assignment(assignment: Any) -> Any:
    """How partitions are shared. Raises ``ValueError``."""
    shard = re.fullmatch(r"static:(\d+)/(\d+)", str(assignment))
    if shard and int(shard[1]) < int(shard[2]):
        return assignment
    if assignment not in ("group", "static"):
        raise ValueError(f"{assignment!r} is not 'group', 'static' or 'static:i/n' with 0 <= i < n")
    return assignment


def checked_kafka_variables(kafka: Any) -> Any:
    """As ``checked_kafka``, of variables, whose names have no dots. Raises ``ValueError``."""
    if isinstance(kafka, Mapping):
        kafka = {key if "." in key else setting_of_variable(key): value for key, value in kafka.items()}
    return checked_kafka(kafka)


__all__ = [
    "SourceFactory",
    "checked_assignment",
    "checked_bound",
    "checked_kafka",
    "checked_kafka_variables",
    "checked_listeners",
    "checked_store",
    "checked_topics",
    "uncovered",
]


def checked_retry(retry: Any) -> Any:
    """One of the strategies. Raises ``ValueError``."""
    if isinstance(retry, FixedDelay | ExponentialBackoff | FailureRate | NoRetry):
        return retry
    raise ValueError(
        f"retry is a {type(retry).__name__}; give FixedDelay(…), ExponentialBackoff(…), FailureRate(…) or NoRetry() of "
        "kafka_stream"
    )


def checked_executor(executor: Any) -> Any:
    """Where ``prepare`` runs; a text is looked at when the stream is built. Raises ``ValueError``."""
    if executor is None or isinstance(executor, str | Executor):
        return executor
    raise ValueError(
        f"executor is a {type(executor).__name__}; give ProcessExecutor(…), DaskExecutor(…) or SparkExecutor(…) of "
        "kafka_stream.executors"
    )


def checked_transient_errors(kinds: Any) -> Any:
    """Classes of exceptions. Raises ``ValueError``."""
    kinds = kinds if isinstance(kinds, list | tuple) else (kinds,)
    for kind in kinds:
        if not isinstance(kind, type) or not issubclass(kind, BaseException):
            raise ValueError(f"transient_errors are classes of exceptions, such as httpx.TransportError, not {kind!r}")
        if kind in (BaseException, Exception):
            raise ValueError(
                f"transient_errors names {kind.__name__}, so that every failure would be retried for ever; name the "
                "errors of servers that do not answer"
            )
    return tuple(kinds)


def checked_dead_letters(dead_letters: Any) -> Any:
    """The limits. Raises ``ValueError``."""
    if isinstance(dead_letters, DeadLetters):
        return dead_letters
    raise ValueError(f"dead_letters is a {type(dead_letters).__name__}; give DeadLetters(…) of kafka_stream")
