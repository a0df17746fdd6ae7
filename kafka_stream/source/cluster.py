"""Questions to the cluster that need no consumer: is it there, which topics, which offsets."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from confluent_kafka import (
    OFFSET_INVALID,
    ConsumerGroupTopicPartitions,
    ConsumerGroupType,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    Uuid,
)
from confluent_kafka import TopicPartition as ClientTopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ConsumerGroupDescription, OffsetSpec, ResourceType  # type: ignore[attr-defined]  # exported at run time only

from kafka_stream.errors import BrokerUnavailable, CommandRefused, KafkaStreamError, TopicNotFound, TransientError
from kafka_stream.librdkafka import CLASSIC, CONSUMER
from kafka_stream.protocols import OffsetAt, TopicInfo, WantedTopics
from kafka_stream.source.client_log import ClientLog
from kafka_stream.source.connection import connection_settings, servers_of, soon_again
from kafka_stream.source.kafka_errors import (
    PATIENCES_S,
    asked_anew,
    insisting,
    is_coordinator_moving,
    is_missing_topic,
    is_unanswered,
    is_without_leader,
    refusal,
    settings_accepted,
    why_unreachable,
)
from kafka_stream.source.renewed import Renewed
from kafka_stream.source.security.listener_probe import wrong_protocol
from kafka_stream.source.security.logins import LastError
from kafka_stream.source.security.tokens import with_token_callback
from kafka_stream.types import TopicPartition, is_before_all_records, timestamp_ms

REQUEST_TIMEOUT_S = 10.0
LEADER_TIMEOUT_S = 3.0  # for a partition to have a leader that knows it: after its creation, or when another took over
COORDINATOR_TIMEOUT_S = 10.0  # for a group's coordinator: while it moves, and while the topic of its groups is created
_ASK_AGAIN_AFTER_S = 0.1
_GIVE_UP_WITHIN_S = 0.2
_CONNECT_STEP_S = 0.5
_SHORTLY_S = 1.0  # for a leader to be known, where somebody waits who can do without
_GRACE_S = 1.0  # how much longer than its own timeout a request is waited for
_PROBE_AFTER_S = 1.0
_RENEW_AFTER_S = 5.0  # time enough for a slow broker's connection, and its handshakes
_EARLIEST = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]

# librdkafka's mock cluster says so in its id; it has no topic ids, and requests to describe things time out.
_MOCK_CLUSTER = "mockCluster"
_ZERO_UUID = str(Uuid(0, 0))

T = TypeVar("T")


def _until(timeout_s: float) -> float:
    """When an answer is not waited for any more: the same for all that one request asks about."""
    return time.monotonic() + timeout_s + _GRACE_S


def _admin_client(settings: Mapping[str, Any]) -> AdminClient:
    own = with_token_callback(settings)
    with settings_accepted(own):
        return AdminClient(own)


class Cluster:
    """An admin client's view of the cluster. Safe to use from several threads.

    ``config`` are librdkafka's settings; only those of the connection are used. What is asked is given up as soon as
    ``is_given_up`` says so.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        logger: logging.Logger | ClientLog,
        is_given_up: Callable[[], bool] = lambda: False,
    ) -> None:
        settings = connection_settings(config)
        self.servers = servers_of(settings) or "(no servers)"
        self._last = last = LastError()
        self._is_given_up, self._settings = is_given_up, settings
        self._has_topic_ids, self._is_mock = True, False
        client_settings = {"logger": logger, **soon_again(settings), **settings, "error_cb": last}
        self._connection = Renewed(lambda: _admin_client(client_settings))

    @property
    def _admin(self) -> AdminClient:
        return self._connection.client

    def close(self) -> None:
        """Let the connections go; nothing can be asked any more."""
        self._connection.close()

    def is_found(self, timeout_s: float) -> bool:
        """Whether a new client finds a broker; it takes the old one's place then."""
        try:
            client = self._connection.make()
            client.cluster_id(timeout=timeout_s)
        except (KafkaException, TransientError):  # or there is no token for it
            return False
        self._connection.client = client
        return True

    def connect(self, timeout_s: float) -> None:
        """Wait until a broker answers.

        Raises:
            BrokerUnavailable: none did within ``timeout_s``, or before it was given up.
            NotAuthorized: it refused the credentials.
            ConfigurationError: TLS, or its absence, is not what the broker expects.
        """
        self._is_mock = self._ask_for_id(timeout_s).startswith(_MOCK_CLUSTER)
        self._has_topic_ids = not self._is_mock

    def _ask_for_id(self, timeout_s: float) -> str:
        started = time.monotonic()
        ask_otherwise_at = started + _PROBE_AFTER_S
        while True:
            try:
                cluster_id = str(self._admin.cluster_id(timeout=min(_CONNECT_STEP_S, timeout_s)))
            except KafkaException as error:
                now = time.monotonic()
                self._refuse(error, now - started, timeout_s)
                if now >= ask_otherwise_at:
                    ask_otherwise_at = now + _RENEW_AFTER_S
                    if (wrong := wrong_protocol(self._settings)) is not None:
                        raise wrong from error
                    self._connection.failed(error.args[0])
            else:
                self._last.error = None
                return cluster_id

    def _refuse(self, error: KafkaException, waited_s: float, timeout_s: float) -> None:
        """Raise what a client that was not connected in all that time has to say, if that is the end of it."""
        self._admin.poll(0)
        last = self._last.error or error.args[0]
        if (refused := why_unreachable(last, self.servers, waited_s)) is not None:
            raise refused from error
        if self._is_given_up():
            raise BrokerUnavailable(
                f"no Kafka broker had answered at {self.servers} ({last.str()}) when waiting for it was given up"
            ) from error
        if waited_s >= timeout_s:
            raise BrokerUnavailable(
                f"no Kafka broker answered at {self.servers} within {timeout_s:g} s ({last.str()}); "
                "check bootstrap.servers, and that it is running and reachable from here"
            ) from error

    def cluster_id(self) -> str:
        """The id that the brokers of one cluster share.

        Raises:
            NotAuthorized, BrokerUnavailable.
        """
        return self._ask_for_id(REQUEST_TIMEOUT_S)

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
        if self._has_topic_ids:
            try:
                return self._anew(partial(self._described, names))
            except KafkaException as error:
                if error.args[0].code() not in {
                    KafkaError._UNSUPPORTED_FEATURE,  # noqa: SLF001
                    KafkaError.UNSUPPORTED_VERSION,
                }:
                    raise self._translated(error, f"topics {', '.join(names)}") from error
                self._has_topic_ids = False
        return self._listed(names)

    def ends_if_known(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Those of the partitions' ends that are told soon, for who can do without; raises who is refused."""
        admin, until, found = self._admin, _until(_SHORTLY_S), {}
        admin.poll(0)
        wanted = {ClientTopicPartition(p.topic, p.partition): _LATEST for p in partitions}
        committed = IsolationLevel.READ_COMMITTED
        answers = admin.list_offsets(wanted, isolation_level=committed, request_timeout=_SHORTLY_S) if wanted else {}
        for partition, answer in answers.items():
            with suppress(KafkaException):
                found[TopicPartition(partition.topic, partition.partition)] = self._offset(answer, until)
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

    def broker_setting(self, name: str) -> str | None:
        """What the brokers have set; ``None`` where they do not say, which takes a right of its own."""
        admin, until = self._admin, _until(REQUEST_TIMEOUT_S)
        try:
            asked = ConfigResource(
                ResourceType.BROKER, str(next(iter(admin.list_topics(timeout=REQUEST_TIMEOUT_S).brokers)))
            )
            described = admin.describe_configs([asked], request_timeout=REQUEST_TIMEOUT_S)
            value = self._answer(described[asked], until)[name].value
            return None if value is None else str(value)
        except (KafkaException, KafkaStreamError, KeyError, StopIteration):
            return None

    def group_members(self, group_id: str) -> Sequence[str]:
        """Who is in a consumer group now, as ``client id on host``; nobody, if there is no such group.

        Raises:
            NotAuthorized, BrokerUnavailable.
        """
        group = self._group(group_id)
        if group is None:
            return ()
        return [f"{member.client_id} on {str(member.host).removeprefix('/')}" for member in group.members]

    def group_protocol(self, group_id: str) -> str | None:
        """The protocol that a group's members use; ``None`` if it has none. The mock cluster has but the classic one.

        Raises:
            NotAuthorized, BrokerUnavailable.
        """
        if self._is_mock:
            return CLASSIC
        group = self._group(group_id)
        if group is None or not group.members:
            return None
        return CONSUMER if group.type is ConsumerGroupType.CONSUMER else CLASSIC

    def _group(self, group_id: str) -> ConsumerGroupDescription | None:
        if self._is_mock:
            return None
        self._admin.poll(0)

        def described(timeout_s: float) -> Any:
            admin, until = self._admin, _until(timeout_s)
            return self._answer(admin.describe_consumer_groups([group_id], request_timeout=timeout_s)[group_id], until)

        try:
            found: ConsumerGroupDescription = self._anew(lambda left_s: self._insisting(partial(described, left_s)))
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return None
            raise self._translated(error, f"group {group_id}") from error
        return found

    def group_offsets(self, group_id: str, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        """What a group has committed of these partitions, those left out of which it has nothing.

        Raises:
            NotAuthorized, BrokerUnavailable.
        """
        wanted = [ClientTopicPartition(tp.topic, tp.partition) for tp in partitions]
        request = ConsumerGroupTopicPartitions(group_id, wanted)
        ask = partial(self._admin.list_consumer_group_offsets, [request], request_timeout=REQUEST_TIMEOUT_S)
        try:
            found = self._insisting(lambda: ask()[group_id].result()).topic_partitions  # noqa: PLW0108 - asked each time
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return {}
            raise self._translated(error, f"group {group_id}") from error
        for each in found:
            if each.error is not None:
                raise self._translated(KafkaException(each.error), f"group {group_id}")
        return {TopicPartition(each.topic, each.partition): each.offset for each in found if each.offset >= 0}

    def commit_group_offsets(self, group_id: str, offsets: Mapping[TopicPartition, int]) -> None:
        """Make these the committed offsets of a group that has no members.

        The call as a whole succeeds where single partitions are refused, so each one's error is looked at.

        Raises:
            NotAuthorized, BrokerUnavailable, TopicNotFound.
            CommandRefused: the group has members; the message names them.
        """
        wanted = [ClientTopicPartition(tp.topic, tp.partition, offset) for tp, offset in sorted(offsets.items())]
        try:
            failed = self._insisting(lambda: self._altered(group_id, wanted))
        except KafkaException as error:
            failed = [(wanted[0].topic, error.args[0])]
        if not failed:
            return
        topic, reason = failed[0]
        if is_missing_topic(reason):
            raise self.not_found(topic, [topic])
        if reason.code() in {KafkaError.UNKNOWN_MEMBER_ID, KafkaError.NON_EMPTY_GROUP}:
            members = ", ".join(self.group_members(group_id)) or "which have just left: try again"
            raise CommandRefused(f"group {group_id!r} has members, {members}; stop them, or wait until they have left")
        raise self._translated(KafkaException(reason), f"group {group_id}")

    def not_found(self, topic: str, names: Iterable[str]) -> TopicNotFound:
        """The error for a topic that does not exist."""
        listed = ", ".join(repr(name) for name in names)
        return TopicNotFound(
            f"topic {topic!r} does not exist on {self.servers}; create it, or correct topics=[{listed}]"
        )

    def _altered(self, group_id: str, wanted: list[ClientTopicPartition]) -> list[tuple[str, KafkaError]]:
        """Alter a group's offsets; the topics of those that are refused, and why, unless its coordinator moves."""
        request = ConsumerGroupTopicPartitions(group_id, wanted)
        admin = self._admin
        until = _until(REQUEST_TIMEOUT_S)
        answer = admin.alter_consumer_group_offsets([request], request_timeout=REQUEST_TIMEOUT_S)[group_id]
        failed = [(tp.topic, tp.error) for tp in self._answer(answer, until).topic_partitions if tp.error is not None]
        for _, reason in failed:
            if is_coordinator_moving(reason):
                raise KafkaException(reason)
        return failed

    def _insisting(self, ask: Callable[[], T]) -> T:
        return insisting(ask, COORDINATOR_TIMEOUT_S, self._is_given_up)

    def _anew(self, ask: Callable[[float], T]) -> T:
        return asked_anew(ask, self._connection.failed, self._is_given_up)

    def _answer(self, asked: Future[Any], until: float) -> Any:
        """What was asked for, unless we are refused or give up; librdkafka has left some without any answer."""
        while True:
            try:
                answer = asked.result(min(_GIVE_UP_WITHIN_S, max(0.0, until - time.monotonic())))
            except TimeoutError:
                if time.monotonic() >= until:
                    raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from None  # noqa: SLF001
                self._admin.poll(0)
                if (refused := self._refused()) is not None:
                    raise refused from None
                if self._is_given_up():
                    raise BrokerUnavailable(
                        f"{self.servers} had not answered when waiting for it was given up"
                    ) from None
            else:
                self._last.error = None
                return answer

    def _refused(self) -> KafkaStreamError | None:
        error = self._last.error
        return None if error is None else refusal(error, self.servers, "access to the cluster")

    def _described(self, names: Sequence[str], timeout_s: float) -> Mapping[str, TopicInfo]:
        """Librdkafka asks the controller, which is any broker that it was told to be one."""
        admin, until = self._admin, _until(timeout_s)
        described: Mapping[str, Future[Any]] = admin.describe_topics(
            TopicCollection(list(names)), request_timeout=timeout_s
        )
        infos = {}
        for name in names:
            try:
                description = self._answer(described[name], until)
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
            admin, until = self._admin, _until(patiences_s[0])  # the client is held until it has answered
            answers: Mapping[ClientTopicPartition, Future[Any]] = admin.list_offsets(
                wanted, isolation_level=isolation, request_timeout=patiences_s[0]
            )
            wanted, unanswered = {}, None
            for partition, answer in answers.items():
                try:
                    found[TopicPartition(partition.topic, partition.partition)] = self._offset(answer, until)
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

    def _offset(self, asked: Future[Any], until: float) -> int:
        offset = int(self._answer(asked, until).offset)
        if offset == OFFSET_INVALID:  # no error, and no answer either: its leader has just gone
            raise KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE))
        return offset

    def _translated(self, error: KafkaException, what: str) -> KafkaStreamError:
        reason = error.args[0]
        if (refused := refusal(reason, self.servers, f"access to {what}")) is not None:
            return refused
        self._connection.failed(reason)
        return BrokerUnavailable(
            f"{self.servers} did not answer about {what} ({reason.str()}); is the cluster healthy?"
        )


__all__ = ["Cluster"]
