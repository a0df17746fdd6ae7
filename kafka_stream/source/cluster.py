"""Questions to the cluster that need no consumer: is it there, which topics, which offsets."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

from confluent_kafka import OFFSET_INVALID, IsolationLevel, KafkaError, KafkaException, TopicCollection, Uuid
from confluent_kafka import TopicPartition as ClientTopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # exported at run time only
    ConfigResource,
    OffsetSpec,
    ResourceType,
)

from kafka_stream.errors import KafkaStreamError
from kafka_stream.protocols import OffsetAt, TopicInfo, WantedTopics
from kafka_stream.source.asking.groups import Groups
from kafka_stream.source.asking.questions import REQUEST_TIMEOUT_S, until
from kafka_stream.source.kafka_errors import PATIENCES_S, is_missing_topic, is_unanswered, is_without_leader
from kafka_stream.types import TopicPartition, is_before_all_records, timestamp_ms

LEADER_TIMEOUT_S = 3.0  # for a partition to have a leader that knows it: after its creation, or when another took over
_ASK_AGAIN_AFTER_S = 0.1
_SHORTLY_S = 1.0  # for a leader to be known, where somebody waits who can do without
_EARLIEST = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]

_ZERO_UUID = str(Uuid(0, 0))


class Cluster(Groups):
    """An admin client's view of the cluster. Safe to use from several threads.

    ``config`` are librdkafka's settings; only those of the connection are used. What is asked is given up as soon as
    ``is_given_up`` says so.
    """

    _tells_topic_ids = True

    def topics(self, names: Sequence[str]) -> Mapping[str, TopicInfo]:
        """These topics as the broker knows them now.

        Raises:
            TopicNotFound, NotAuthorized, BrokerUnavailable.
        """
        found = self.existing_topics(names)
        for name in names:
            if name not in found:
                raise self.not_found(name, names)
        return found

    def matching(self, wanted: WantedTopics) -> Mapping[str, TopicInfo]:
        """The topics that are named, and those that patterns match, of those that we may see; raises as ``topics``."""
        if not wanted.patterns:
            return self.topics(wanted.named)
        try:
            names = self._all_topics().keys()
        except KafkaException as error:
            raise self._translated(error, f"topics like {', '.join(wanted.patterns)}") from error
        found = self.existing_topics(wanted.among(names))
        for name in wanted.named:
            if name not in found:
                raise self.not_found(name, wanted.named)
        return found

    def existing_topics(self, names: Sequence[str]) -> Mapping[str, TopicInfo]:
        """Those of these topics that exist, as the broker knows them now; in one request.

        Raises:
            NotAuthorized, BrokerUnavailable.
        """
        self._admin.poll(0)
        if not names:
            return {}
        if self._tells_topic_ids and not self._is_mock:
            try:
                return self._anew(partial(self._described, names))
            except KafkaException as error:
                if error.args[0].code() not in {
                    KafkaError._UNSUPPORTED_FEATURE,  # noqa: SLF001
                    KafkaError.UNSUPPORTED_VERSION,
                }:
                    raise self._translated(error, f"topics {', '.join(names)}") from error
                self._tells_topic_ids = False
        return self._listed(names)

    def ends_if_known(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Those of the partitions' ends that are told soon, for who can do without; raises who is refused."""
        admin, ends_at, found = self._admin, until(_SHORTLY_S), {}
        admin.poll(0)
        wanted = {ClientTopicPartition(p.topic, p.partition): _LATEST for p in partitions}
        committed = IsolationLevel.READ_COMMITTED
        answers = admin.list_offsets(wanted, isolation_level=committed, request_timeout=_SHORTLY_S) if wanted else {}
        for partition, answer in answers.items():
            with suppress(KafkaException):
                found[TopicPartition(partition.topic, partition.partition)] = self._offset(answer, ends_at)
        return found

    def offsets(
        self, partitions: Sequence[TopicPartition], at: OffsetAt | datetime, *, patience_s: float = LEADER_TIMEOUT_S
    ) -> Mapping[TopicPartition, int]:
        """The offset of each partition's end, or of its first record at or after a time (else its latest end).

        A partition without a leader is asked again for ``patience_s``.

        Raises:
            TopicNotFound, NotAuthorized, BrokerUnavailable.
        """
        self._admin.poll(0)
        if not isinstance(at, datetime):
            spec = _EARLIEST if at is OffsetAt.EARLIEST else _LATEST
            return self._list_offsets(partitions, spec, patience_s, committed=at is not OffsetAt.HIGH_WATERMARK)
        if at.tzinfo is None:
            raise ValueError(f"the time {at} has no zone; give an aware datetime")
        if is_before_all_records(at):
            return self._list_offsets(partitions, _EARLIEST, patience_s, committed=True)
        found = self._list_offsets(partitions, OffsetSpec.for_timestamp(timestamp_ms(at)), patience_s, committed=True)
        if without := [partition for partition, offset in found.items() if offset < 0]:
            return {**found, **self._list_offsets(without, _LATEST, patience_s, committed=True)}
        return found

    def first_offsets_after(self, partitions: Sequence[TopicPartition], at: datetime) -> Mapping[TopicPartition, int]:
        """Of those that have a record at or after a time, the offset of the first one, committed or not.

        Before 1970, where each log starts.

        Raises:
            TopicNotFound, NotAuthorized, BrokerUnavailable.
        """
        self._admin.poll(0)
        at_or_after = _EARLIEST if is_before_all_records(at) else OffsetSpec.for_timestamp(timestamp_ms(at))
        found = self._list_offsets(partitions, at_or_after, LEADER_TIMEOUT_S, committed=False)
        return {partition: offset for partition, offset in found.items() if offset >= 0}

    def broker_setting(self, name: str, group: str | None = None) -> str | None:
        """What brokers have set, for all or a group; ``None`` where they do not say, which takes a right of its own."""
        admin, ends_at = self._admin, until(REQUEST_TIMEOUT_S)
        try:
            broker = str(next(iter(admin.list_topics(timeout=REQUEST_TIMEOUT_S).brokers)))
            asked = ConfigResource(*((ResourceType.GROUP, group) if group else (ResourceType.BROKER, broker)))
            described = admin.describe_configs([asked], request_timeout=REQUEST_TIMEOUT_S)
            value = self._answer(described[asked], ends_at)[name].value
            return None if value is None else str(value)
        except (KafkaException, KafkaStreamError, KeyError, StopIteration):
            return None

    def _described(self, names: Sequence[str], timeout_s: float) -> Mapping[str, TopicInfo]:
        """Librdkafka asks the controller, which is any broker that it was told to be one."""
        admin, ends_at = self._admin, until(timeout_s)
        described: Mapping[str, Future[Any]] = admin.describe_topics(
            TopicCollection(list(names)), request_timeout=timeout_s
        )
        infos = {}
        for name in names:
            try:
                description = self._answer(described[name], ends_at)
            except KafkaException as error:
                if is_missing_topic(error.args[0]):
                    continue
                raise
            topic_id = str(description.topic_id)
            infos[name] = TopicInfo(len(description.partitions), None if topic_id == _ZERO_UUID else topic_id)
        return infos

    def _listed(self, names: Sequence[str]) -> Mapping[str, TopicInfo]:
        try:
            # All of them: asking for one by name may create it.
            topics = self._all_topics()
        except KafkaException as error:
            raise self._translated(error, f"topics {', '.join(names)}") from error
        infos = {}
        for name in names:
            if name not in topics:
                continue
            if topics[name].error is not None:
                raise self._translated(KafkaException(topics[name].error), f"topic {name}")
            infos[name] = TopicInfo(len(topics[name].partitions), None)
        return infos

    def _all_topics(self) -> Mapping[str, Any]:
        return self._anew(lambda timeout_s: self._admin.list_topics(timeout=timeout_s)).topics

    def _list_offsets(
        self, partitions: Sequence[TopicPartition], spec: OffsetSpec, patience_s: float, *, committed: bool
    ) -> Mapping[TopicPartition, int]:
        found: dict[TopicPartition, int] = {}
        wanted = {ClientTopicPartition(p.topic, p.partition): spec for p in partitions}
        isolation = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        deadline, patiences_s = time.monotonic() + patience_s, list(PATIENCES_S)
        while wanted:
            admin, ends_at = self._admin, until(patiences_s[0])  # the client is held until it has answered
            answers: Mapping[ClientTopicPartition, Future[Any]] = admin.list_offsets(
                wanted, isolation_level=isolation, request_timeout=patiences_s[0]
            )
            wanted, unanswered = {}, None
            for partition, answer in answers.items():
                try:
                    found[TopicPartition(partition.topic, partition.partition)] = self._offset(answer, ends_at)
                except KafkaException as error:
                    reason: KafkaError = error.args[0]
                    if is_missing_topic(reason):
                        raise self.not_found(partition.topic, [partition.topic]) from error
                    if is_unanswered(reason) and len(patiences_s) > 1:  # by a leader that has just gone, perhaps
                        unanswered = reason
                    elif not is_without_leader(reason) or time.monotonic() > deadline:
                        raise self._translated(error, f"{partition.topic}[{partition.partition}]") from error
                    wanted[partition] = spec
            if unanswered is not None:
                patiences_s.pop(0)
                self._connection.failed(unanswered)
            if wanted:
                time.sleep(_ASK_AGAIN_AFTER_S)
        return found

    def _offset(self, asked: Future[Any], ends_at: float) -> int:
        offset = int(self._answer(asked, ends_at).offset)
        if offset == OFFSET_INVALID:  # no error, and no answer either: its leader has just gone
            raise KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE))
        return offset


__all__ = ["Cluster"]
