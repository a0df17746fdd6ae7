"""One batch's transaction: records go through ``produce``, the offsets go with them last."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeAlias

from confluent_kafka import KafkaException

from kafka_stream.errors import CommitOutcomeUnknown, ProcessingError, SpoiledTransaction, TransactionEscaped
from kafka_stream.offset_stores.kafka.letters.stream_letters import StreamLetters
from kafka_stream.offset_stores.kafka.metadata import Stored, client_offsets
from kafka_stream.offset_stores.kafka.producer import Fenced, OutcomeUnknown, TransactionalProducer
from kafka_stream.offset_stores.kafka.record_size import size_of
from kafka_stream.offset_stores.kafka.tenure import Tenure
from kafka_stream.protocols import DeadLetter, Key, LetterId, LetterStatus
from kafka_stream.types import Claim, TopicPartition

_ANY_PARTITION = -1
_NOW = 0  # a record's timestamp

_Record: TypeAlias = tuple[str, Any, Any, Any, int]
"""Topic, value, key, headers and partition."""


class KafkaTransaction:
    """What a handler writes through: ``write(prepared, transaction)``.

    Records become visible to read-committed readers when the batch's offsets do, or never.
    """

    def __init__(self, tenure: Tenure, claim: Claim, letters: StreamLetters) -> None:
        self._tenure = tenure
        self._claim = claim
        self._letters = letters
        self._attempts = 0
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

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Records of the block are kept back until it ends well, and then delivered; see ``RescuingTransaction``.

        One that is too large for the client is refused by ``produce``, before any is sent. What is refused later takes
        the transaction with it.

        Raises:
            SpoiledTransaction: the client or a broker refused a record.
            TransientError, OwnershipLost, ConfigurationError: as ``produce`` does.
        """
        collected: list[_Record] = []
        self._send = partial(_collect, collected, self._producer.max_record_bytes)
        try:
            yield
        finally:
            self._send = _too_late if self._over else self._producer.send
        if self._advanced or self._over:
            self._escape = "the handler ended the batch's transaction"
        self._refuse_escape()
        try:
            self._deliver(collected)
        except (ProcessingError, TypeError, ValueError) as error:  # the latter are the client's own
            raise SpoiledTransaction(str(error), attempt=self._attempts) from error
        self._attempts += 1

    def _deliver(self, records: Sequence[_Record]) -> None:
        for topic, value, key, headers, partition in records:
            self._insist(topic, value, key, headers, partition)
        try:
            self._producer.flush()
        except Fenced as error:
            raise self._tenure.why_fenced(self._claim, error) from error

    def waiting_keys(self) -> Mapping[Key, int]:
        """From the topic of the dead letters, read to its end; see ``RescuingTransaction``."""
        return self._letters.waiting_keys(self._claim)

    def waiting_letters(self, keys: Collection[Key]) -> Mapping[Key, Mapping[LetterId, LetterStatus]]:
        """As they were read for ``waiting_keys``; see ``RescuingTransaction``."""
        return self._letters.waiting_letters(keys)

    def replayed(self, letters: Collection[LetterId]) -> None:
        """Produce the change in this transaction, behind the records; see ``RescuingTransaction``."""
        try:
            self._producer.flush()
            self._letters.replayed(self._producer, letters)
        except Fenced as error:
            raise self._tenure.why_fenced(self._claim, error) from error

    def set_aside(self, letters: Sequence[DeadLetter]) -> None:
        """Produce them in this transaction, behind the records; see ``RescuingTransaction``."""
        try:
            self._producer.flush()  # so that a record of before is not taken for a letter
            self._letters.keep(self._producer, letters)
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


def _collect(
    records: list[_Record],
    longest: int,
    topic: str,
    value: Any,
    key: Any,
    partition: int = _ANY_PARTITION,
    *more: Any,
) -> None:
    """In place of the client's ``produce``: keep a record, unless the client would refuse it."""
    headers = more[-1] if more else None
    if headers is not None:  # the handler may change its own later
        headers = list(headers.items() if isinstance(headers, Mapping) else headers)
    if (size := size_of(value, key, headers)) > longest:
        raise ProcessingError(
            f"a record for topic {topic!r} takes {size:,} bytes, more than the {longest:,} of this store's "
            "message.max.bytes; nothing of the batch was committed"
        )
    records.append((topic, value, key, headers, partition))


def _number(partition: int | None) -> int:
    return _ANY_PARTITION if partition is None else partition


def _too_late(*_: Any, **__: Any) -> None:
    raise TransactionEscaped("a record was produced after the batch's transaction was over; keep no transaction")


__all__ = ["KafkaTransaction"]
