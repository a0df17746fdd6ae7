"""One transactional producer, which is used until its first failure that an abort does not mend."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import TopicPartition as ClientTopicPartition

from kafka_stream.errors import StoreUnavailable
from kafka_stream.offset_stores.kafka.deliveries import Deliveries
from kafka_stream.offset_stores.kafka.errors import is_fenced, is_topic_refused, mapped, undelivered
from kafka_stream.offset_stores.kafka.offset_requests import OffsetRequests
from kafka_stream.offset_stores.kafka.requests import GivenUp, Requests, Waits, answered
from kafka_stream.source.client_log import CLIENT_LOG
from kafka_stream.source.kafka_errors import settings_accepted
from kafka_stream.source.security.tokens import with_token_callback

_TIMEOUT_S = 20.0
_CONNECT_S = 5.0
_FULL_QUEUE_POLL_S = 0.1

T = TypeVar("T")
Offsets = Sequence[ClientTopicPartition]

_librdkafka = logging.getLogger("kafka_stream.librdkafka")


class Fenced(Exception):
    """The producer's transactional id was taken over, or its transaction outlived its time and was aborted."""


class OutcomeUnknown(Exception):
    """A commit was asked for, and whether it took effect was not to be learned."""


class TransactionalProducer:
    """Has fenced every other producer with its ``transactional.id``, and ended what they had begun (KIP-98).

    After a timeout, a fatal error or an unknown outcome it is not ``usable`` any more: a late request of its own could
    hit the next transaction. What it leaves open is ended by the next producer with its id. No request is waited for
    without an end: one that the client neither answers nor gives up is an unknown outcome, too.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        transactional_id: str,
        where: str,
        waits: Waits,
        offset_requests: OffsetRequests,
    ) -> None:
        self._offset_requests = offset_requests
        self.transactional_id = transactional_id
        self.timeout_s = float(settings["transaction.timeout.ms"]) / 1000
        self.max_record_bytes = int(settings.get("message.max.bytes", 1_000_000))  # librdkafka has it so
        self.usable, self._began_at = False, 0.0
        self._where = where
        self._deliveries = Deliveries()
        mine = {"transactional.id": transactional_id, "on_delivery": self._deliveries}
        config = with_token_callback({"logger": CLIENT_LOG, **settings, **mine})
        with settings_accepted(config, "the Kafka offset store's producer settings"):
            producer = Producer(config)
        self._requests = Requests(producer, waits)
        del producer
        self._initialise()

    def _initialise(self) -> None:
        doing = f"taking over the transactional id {self.transactional_id!r}"
        try:
            self._asked(_initialise, _CONNECT_S + _TIMEOUT_S, doing)
        except GivenUp as error:
            raise self._given_up(error) from error
        except KafkaException as error:
            self._poll(0)
            if is_fenced(error.args[0]):
                raise Fenced(f"another process came in between while {doing}") from error
            raise mapped(error.args[0], doing, self._where) from error
        self.usable = True

    @property
    def send(self) -> Any:
        """The client's own ``produce``, which hands a record over and returns; ``produce`` deals with its errors."""
        return self._requests.client.produce

    @property
    def age_s(self) -> float:
        """How long ago the transaction was begun, in seconds."""
        return time.monotonic() - self._began_at

    def begin(self) -> None:
        """Begin a transaction; the broker hears of it with its first record or offset."""
        self._deliveries.failed = None
        self._began_at = time.monotonic()
        self._ask(_begin, _TIMEOUT_S, "beginning a transaction")
        self._deliveries.given_up = None  # of the transaction before

    def produce(self, topic: str, value: Any, key: Any, headers: Any, partition: int, timestamp_ms: int = 0) -> None:
        """Add a record, of now if no time is given; waits while the queue is full. Raises as ``flush`` does."""
        while True:
            try:
                self._requests.client.produce(topic, value, key, partition, timestamp=timestamp_ms, headers=headers)
            except GivenUp as error:
                raise self._given_up(error) from error
            except BufferError:
                self._poll(_FULL_QUEUE_POLL_S)
                self._refuse_undelivered()
            except KafkaException as error:
                self._poll(0)
                # After an earlier record's failure the client takes no more; that one says why.
                self._deliveries.failed = self._deliveries.failed or (error.args[0], topic)
                raise self._undelivered(*self._deliveries.failed) from error
            else:
                return

    def flush(self) -> None:
        """Wait until every record is delivered, or one was not.

        Raises:
            Fenced: somebody has taken over, or the transaction outlived its time.
            TransientError, ConfigurationError, ProcessingError: a record was not delivered.
        """
        delivered = partial(self._deliveries.flush, timeout_s=self.timeout_s)
        left = self._ask(delivered, self.timeout_s, "delivering records")
        self._refuse_undelivered()
        if left:
            self.usable = False
            raise StoreUnavailable(
                f"{left} records were not delivered to {self._where} within the {self.timeout_s:g} s of "
                "transaction.timeout.ms"
            )

    def send_offsets(self, offsets: Offsets, membership: Any) -> None:
        """Add offsets to the transaction, under a membership of the group (KIP-447); raises as ``flush`` does.

        Those of many partitions go in several requests, which take effect with the transaction, all of them or none.
        """
        for part in self._offset_requests.of(offsets):
            patience_s = self._offset_requests.patience_s
            ask = partial(_send_offsets, part, membership, patience_s)
            try:
                self._ask(ask, patience_s, "adding offsets to a transaction")
                self._offset_requests.answered()
            except StoreUnavailable as error:
                self._offset_requests.unanswered()
                if isinstance(error.__cause__, KafkaException):
                    refused = self._offset_requests.refused(part, error.__cause__.args[0], self._where)
                    raise (refused or error) from error.__cause__
                raise

    def commit(self) -> None:
        """Commit records and offsets together.

        Raises:
            TransientError: it was refused, and must be aborted.
            OutcomeUnknown: there was no answer, or the producer is fenced (an answer that was lost may have said yes).
        """
        try:
            self._asked(lambda client: client.commit_transaction(_TIMEOUT_S), _TIMEOUT_S, "committing a transaction")
        except GivenUp as error:
            self.usable = False
            raise OutcomeUnknown(str(error)) from error
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            if reason.txn_requires_abort() and not reason.fatal():
                raise mapped(reason, "committing a transaction", self._where) from error
            self.usable = False
            raise OutcomeUnknown(self.why_fenced() if is_fenced(reason) else reason.str()) from error
        except BaseException:
            self.usable = False
            raise

    def commit_offsets(
        self,
        offsets: Offsets,
        membership: Any,
        before_commit: Callable[[], None],
        write: Callable[[], None] = lambda: None,
    ) -> None:
        """A transaction that holds these offsets, and what ``write`` produces before they are sent.

        ``before_commit`` is called when the offsets are pending: whoever reads stable ones waits for us from then on.

        Raises:
            Fenced, TransientError: nothing was committed; as is what ``before_commit`` raises.
            OutcomeUnknown: as ``commit`` does.
        """
        self.begin()
        try:
            write()
            self.send_offsets(offsets, membership)
            before_commit()
            self.commit()
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """End the transaction without an effect; if that fails, the next producer with this id will."""
        if not self.usable:
            return
        self.usable = False
        try:
            self._asked(lambda client: client.abort_transaction(_TIMEOUT_S), _TIMEOUT_S, "aborting a transaction")
        except (GivenUp, KafkaException) as error:
            _librdkafka.info("a transaction of %r was not aborted: %s", self.transactional_id, error)
        else:
            self.usable = True

    def discard(self) -> None:
        """Not to be used for another transaction; what it has begun is ended by the next producer with its id."""
        self.usable = False

    def end(self, timeout_s: float) -> None:
        """As ``discard``; the client ends, and is waited for a little."""
        self.discard()
        self._requests.end(timeout_s)

    def why_fenced(self) -> str:
        """In words, as far as this producer can tell: it took too long, or another one has come."""
        if self.age_s < self.timeout_s:
            return f"another process has taken over the transactional id {self.transactional_id!r}"
        return (
            f"the transaction took {self.age_s:.1f} s and outlived transaction.timeout.ms ({self.timeout_s:g} s), so "
            "the broker aborted it; lower max_records_per_batch or target_batch_duration_s, or raise it in "
            "KafkaOffsetStore({'transaction.timeout.ms': …})"
        )

    def _poll(self, timeout_s: float) -> None:
        """Hear of deliveries. A fatal error comes out here too, and again with the request that fails of it."""
        with suppress(KafkaException, GivenUp):
            self._asked(lambda client: client.poll(timeout_s), timeout_s, "hearing of deliveries")

    def _ask(self, request: Callable[[Producer], T], timeout_s: float, doing: str) -> T:
        try:
            return self._asked(request, timeout_s, doing)
        except GivenUp as error:
            self.usable = False
            raise self._given_up(error) from error
        except KafkaException as error:
            self._poll(0)
            raise self._failed(error.args[0], doing) from error
        except BaseException:
            self.usable = False
            raise

    def _asked(self, request: Callable[[Producer], T], timeout_s: float, doing: str) -> T:
        return self._requests.ask(lambda client: answered(partial(request, client)), timeout_s, doing)

    def _given_up(self, error: GivenUp) -> StoreUnavailable:
        return StoreUnavailable(
            f"nothing was committed in {self._where}: {error}; a new client takes this one's place, and ends what it "
            "has left open"
        )

    def _failed(self, reason: KafkaError, doing: str) -> Exception:
        if is_fenced(reason):
            self.usable = False
            return Fenced(self.why_fenced())
        if reason.fatal() or not reason.txn_requires_abort():
            self.usable = False
        if is_topic_refused(reason) and (topic := self._deliveries.given_up) is not None:
            return undelivered(reason, topic, self._where)
        return mapped(reason, doing, self._where)

    def _refuse_undelivered(self) -> None:
        if self._deliveries.failed is not None:
            raise self._undelivered(*self._deliveries.failed)

    def _undelivered(self, reason: KafkaError, topic: str) -> Exception:
        if is_fenced(reason):
            self.usable = False
            return Fenced(self.why_fenced())
        if reason.fatal():
            self.usable = False
        return undelivered(reason, topic, self._where)


def _initialise(client: Producer) -> None:
    with suppress(KafkaException):
        client.cluster_id(_CONNECT_S)  # initialising before there is a connection waits half a second
    client.init_transactions(_TIMEOUT_S)


def _send_offsets(offsets: list[ClientTopicPartition], membership: Any, timeout_s: float, client: Producer) -> None:
    client.send_offsets_to_transaction(offsets, membership, timeout_s)


def _begin(client: Producer) -> None:
    with suppress(KafkaException):
        answered(partial(client.poll, 0))
    client.begin_transaction()


__all__ = ["Fenced", "OutcomeUnknown", "TransactionalProducer"]
