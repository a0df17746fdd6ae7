"""``KafkaSink``: a topic of the cluster that keeps the offsets as the place where results go, in one transaction."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any, Protocol, TypeAlias

from confluent_kafka import Message

from kafka_stream.errors import ConfigurationError, ProcessingError
from kafka_stream.sinks.functions import async_belongs, refuse_awaitable
from kafka_stream.types import Writes

Text: TypeAlias = bytes | str | None
Headers: TypeAlias = Mapping[str, Text] | Sequence[tuple[str, Text]] | None

_FIELDS = frozenset({"value", "key", "headers", "partition", "topic"})
_LONGEST_TOPIC = 249
_SHAPES = (
    "a tuple (key, value), a mapping with value=, key=, headers=, partition= or topic=, a Message, or a bare value"
)
_ASYNC_BELONGS = async_belongs("KafkaSink(topic, a_plain_function)")


class KafkaTransaction(Protocol):
    """What this sink needs of a transaction: that records become visible when the offsets do, or never."""

    def produce(
        self,
        topic: str,
        *,
        value: Text = None,
        key: Text = None,
        headers: Any = None,
        partition: int | None = None,
    ) -> None:
        """Send one record; without ``partition`` the key decides."""


class _Copy:
    """In place of ``Message``: a run of tuples of value, key and headers, as a worker gives them."""


_Run: TypeAlias = tuple[type, Sequence[Any]]


class KafkaSink:
    """Produces records to a topic of the cluster that keeps the offsets, in the same transaction.

    ``to_messages`` takes what the stream's ``prepare`` gave (or the ``Batch``) and gives, in order, any of

    - a tuple ``(key, value)``;
    - a mapping with ``value``, and where wanted ``key``, ``headers``, ``partition`` and another ``topic``;
    - a ``confluent_kafka.Message``, of which value, key and headers go out: ``lambda batch: batch`` copies a topic;
    - a bare value, if there is one.

    Keys and values are ``bytes``, ``str`` (sent as UTF-8) or ``None``; a value of ``None`` is a tombstone. It runs in
    the prepare phase, must be pure, and may run again. Readers with ``isolation.level=read_committed`` see a batch's
    records when it is committed, others see those of aborted batches too. Records of one key keep their order.
    Which partition a key goes to is librdkafka's choice, not the Java client's, unless the store is given
    ``{"partitioner": "murmur2_random"}``.

    Raises:
        ConfigurationError: ``topic`` is no name of a topic, or ``to_messages`` is no function, or async.
    """

    def __init__(self, topic: str, to_messages: Callable[[Any], Iterable[Any]]) -> None:
        self._topic = _checked_topic(topic)
        _check_function(to_messages, topic)
        self._to_messages = to_messages

    @property
    def writes(self) -> Writes:
        """Records become visible with the offsets or not at all."""
        return Writes.THROUGH_TRANSACTION

    @property
    def needs(self) -> str:
        """A Kafka transaction."""
        return "kafka"

    def describe(self) -> str:
        """The topic's name."""
        return f"topic {self._topic}"

    def prepare(self, prepared: Any) -> Sequence[_Run]:
        """Run ``to_messages`` and look at what it gives; pure, may run again.

        Raises:
            ProcessingError: ``to_messages`` gave something that is no message.
        """
        messages: Any = self._to_messages(prepared)
        refuse_awaitable(messages, f"to_messages of the KafkaSink for topic {self._topic}", _ASYNC_BELONGS)
        if not isinstance(messages, Iterable) or isinstance(messages, str | bytes | Mapping):
            raise self._refusal(
                f"gave a {type(messages).__name__}; it gives an iterable of messages, which may be empty"
            )
        return [(kind, self._checked(kind, run)) for kind, run in _runs(messages)]

    @property
    def work_changed(self) -> int:
        """See ``ConvertingSink``: nothing is found out while it writes."""
        return 0

    def for_workers(self) -> _OnWorkers:
        """See ``ConvertingSink``: all but the messages themselves."""
        return _OnWorkers(self)

    def write(self, prepared: Sequence[_Run], transaction: KafkaTransaction) -> None:
        """Produce one batch's records; the store waits for their delivery before it commits.

        Raises:
            TransientError, OwnershipLost, ProcessingError, ConfigurationError: as the transaction's ``produce`` does.
        """
        for kind, messages in prepared:
            _PRODUCE.get(kind, _produce_values)(messages, transaction.produce, self._topic)

    def _checked(self, kind: type, messages: Sequence[Any]) -> Sequence[Any]:
        """Look at kinds and shapes by the run, so that a record of the common kinds costs next to nothing."""
        if kind is tuple:
            if wrong := set(map(len, messages)) - {2}:
                raise self._refusal(f"gave a tuple of {wrong.pop()}; a tuple is (key, value)")
            self._check_types(set(map(type, chain.from_iterable(messages))))
        elif kind is dict:
            for fields in messages:
                self._check_fields(fields)
        elif kind is type(None):
            raise self._refusal("gave a bare None; a tombstone has a key, as in (key, None)")
        elif kind is not Message:
            self._check_types({kind})
        return messages

    def _check_fields(self, fields: dict[Any, Any]) -> None:
        if unknown := fields.keys() - _FIELDS:
            raise self._refusal(f"gave a mapping with {unknown.pop()!r}; it may have {', '.join(sorted(_FIELDS))}")
        if "value" not in fields:
            raise self._refusal("gave a mapping without 'value'; a tombstone says so with value=None")
        self._check_types({type(fields["value"]), type(fields.get("key"))})
        partition, topic, headers = fields.get("partition"), fields.get("topic", self._topic), fields.get("headers")
        if partition is not None and (type(partition) is not int or partition < 0):
            raise self._refusal(f"gave partition={partition!r}; it is a number from 0, or None")
        if not isinstance(topic, str) or not topic:
            raise self._refusal(f"gave topic={topic!r}; it is a topic's name")
        if headers is not None and not isinstance(headers, list | tuple | dict):
            raise self._refusal(
                f"gave headers of {type(headers).__name__}; they are pairs of name and value, or a dict"
            )

    def _check_types(self, kinds: set[type]) -> None:
        if wrong := kinds - {bytes, str, type(None)}:
            raise self._refusal(f"gave a {wrong.pop().__name__}; keys and values are bytes, str or None")

    def _refusal(self, reason: str) -> ProcessingError:
        return ProcessingError(f"to_messages of the KafkaSink for topic {self._topic} {reason} ({_SHAPES})")


def _produce_values(messages: Sequence[Any], produce: Callable[..., None], topic: str) -> None:
    for value in messages:
        produce(topic, value=value)


def _produce_pairs(messages: Sequence[Any], produce: Callable[..., None], topic: str) -> None:
    for key, value in messages:
        produce(topic, value=value, key=key)


def _produce_fields(messages: Sequence[Any], produce: Callable[..., None], topic: str) -> None:
    for fields in messages:
        produce(**{"topic": topic, **fields})


def _produce_messages(messages: Sequence[Any], produce: Callable[..., None], topic: str) -> None:
    for message in messages:
        produce(topic, value=message.value(), key=message.key(), headers=message.headers())


def _produce_copies(messages: Sequence[Any], produce: Callable[..., None], topic: str) -> None:
    for value, key, headers in messages:
        produce(topic, value=value, key=key, headers=headers)


_PRODUCE: Mapping[type, Callable[[Sequence[Any], Callable[..., None], str], None]] = {
    tuple: _produce_pairs,
    dict: _produce_fields,
    Message: _produce_messages,
    _Copy: _produce_copies,
}


@dataclass(frozen=True)
class _OnWorkers:
    sink: KafkaSink

    def prepare(self, prepared: Any) -> Sequence[_Run]:
        """The same records, as plain values."""
        return [_plain(kind, messages) for kind, messages in self.sink.prepare(prepared)]


def _plain(kind: type, messages: Sequence[Any]) -> _Run:
    """What takes little to send: of a message only what goes out, and tuples of no class of the user's."""
    if kind is Message:
        return _Copy, [(message.value(), message.key(), message.headers()) for message in messages]
    return kind, list(map(tuple, messages)) if kind is tuple else messages


def _runs(messages: Iterable[Any]) -> Iterator[_Run]:
    """Consecutive messages of one kind, which mostly are all of them; mappings count as dicts."""
    given = list(messages)
    kinds = set(map(type, given))
    runs = [(kinds.pop(), given)] if len(kinds) == 1 else [(kind, list(run)) for kind, run in groupby(given, type)]
    for kind, run in runs:
        if kind is not dict and issubclass(kind, Mapping):
            yield dict, [dict(fields) for fields in run]
        else:
            yield (tuple if issubclass(kind, tuple) else kind), run


def _checked_topic(topic: Any) -> str:
    if not isinstance(topic, str) or not 0 < len(topic) <= _LONGEST_TOPIC:
        raise ConfigurationError(f"a KafkaSink produces to a topic, which {topic!r} is no name of")
    return topic


def _check_function(to_messages: Any, topic: str) -> None:
    if not callable(to_messages):
        raise ConfigurationError(
            f"to_messages of the KafkaSink for topic {topic} is a {type(to_messages).__name__}, not a function from a "
            "batch to messages"
        )
    for function in (to_messages, getattr(to_messages, "func", None), type(to_messages).__call__):
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise ConfigurationError(f"to_messages of the KafkaSink for topic {topic} is async; {_ASYNC_BELONGS}")


__all__ = ["KafkaSink"]
