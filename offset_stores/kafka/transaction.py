"""One batch's transaction: records go through ``produce``, the offsets go with them last."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from confluent_kafka import KafkaException

from kafka_stream.errors import CommitOutcomeUnknown, TransactionEscaped
from kafka_stream.offset_stores.kafka.metadata import Stored, client_offsets
from kafka_stream.offset_stores.kafka.producer import Fenced, OutcomeUnknown, TransactionalProducer
from kafka_stream.offset_stores.kafka.tenure import Tenure
from kafka_stream.types import Claim, TopicPartition

_ANY_PARTITION = -1
_NOW = 0  # a record's timestamp


class KafkaTransaction:
    """What a handler writes through: ``write(prepared, transaction)``.

    Records become visible to read-committed readers when the batch's offsets do, or never.
    """

    def __init__(self, tenure: Tenure, claim: Claim) -> None:
        self._tenure = tenure
        self._claim = claim
        self._escape: str | None = None
        self._advanced = False
        self._over = False
        self._producer: TransactionalProducer
        self._new: Mapping[TopicPartition, Stored]
        self._producer, self._new = tenure.begin(claim)
        self._send = self._producer.send  # a record costs one call more than with the bare client

    def produce(
        self,
        topic: str,
        *,
        value: bytes | str | None = None,
        key: bytes | str | None = None,
        headers: Any = None,
        partition: int | None = None,
    ) -> None:
        """Send a record, which is delivered in the background; without ``partition`` the key decides.

        ``headers`` are pairs of name and value, or a mapping. Waits while the producer's queue is full.

        Raises:
            TransientError, OwnershipLost: the batch cannot be committed any more.
            ProcessingError, ConfigurationError: the topic does not take this record, or an earlier one.
        """
        try:
            if headers is None and partition is None:  # by position: keywords cost the client a third more
                self._send(topic, value, key)
            else:
                self._send(topic, value, key, _number(partition), None, None, _NOW, headers)
        except (BufferError, KafkaException):
            self._insist(topic, value, key, headers, _number(partition))

    def _insist(self, topic: str, value: Any, key: Any, headers: Any, partition: int) -> None:
        """Wait for room in the queue, or say what is wrong."""
        try:
            self._producer.produce(topic, value, key, headers, partition)
        except Fenced as error:
            raise self._tenure.why_fenced(self._claim, error) from error

    def advance(self) -> None:
        """Wait for the records' delivery and send the offsets: the last request; see ``StoreTransaction``."""
        if self._advanced:
            self._escape = "the handler called advance() on the batch's transaction"
        self._refuse_escape()
        try:
            self._producer.flush()
            self._producer.send_offsets(client_offsets(self._new), self._tenure.membership(self._claim))
        except Fenced as error:
            raise self._tenure.why_fenced(self._claim, error) from error
        self._advanced = True

    def commit(self) -> None:
        """Make records and offsets durable; see ``StoreTransaction``."""
        if not self._advanced or self._over:
            self._escape = "the handler called commit() on the batch's transaction"
        self._refuse_escape()
        try:
            self._producer.commit()
        except OutcomeUnknown as error:
            self._tenure.perhaps_committed(self._new)
            raise CommitOutcomeUnknown(
                f"there was no answer to the commit of {self._claim.ranges[0]}: {error}"
            ) from error
        self._over = True
        self._tenure.committed(self._new)

    def close(self) -> None:
        """Abort what was not committed. Never raises an ``Exception``."""
        self._send = _too_late
        if not self._over:
            self._over = True
            self._producer.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _refuse_escape(self) -> None:
        if self._escape is not None:
            raise TransactionEscaped(f"{self._escape}; leave that to the stream, and produce through it only")


def _number(partition: int | None) -> int:
    return _ANY_PARTITION if partition is None else partition


def _too_late(*_: Any, **__: Any) -> None:
    raise TransactionEscaped("a record was produced after the batch's transaction was over; keep no transaction")


__all__ = ["KafkaTransaction"]
