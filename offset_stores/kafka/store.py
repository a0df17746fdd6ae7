"""``KafkaOffsetStore``: positions are the consumer group's own offsets, committed in the results' transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from kafka_stream.errors import ConfigurationError, KafkaStreamError
from kafka_stream.offset_stores.kafka import administration, rehearsal, start
from kafka_stream.offset_stores.kafka.access import Access
from kafka_stream.offset_stores.kafka.letters.keeping import KeepsLetters
from kafka_stream.offset_stores.kafka.letters.stream_letters import StreamLetters
from kafka_stream.offset_stores.kafka.settings import (
    checked_config,
    dead_letters_topic_in,
    merged_config,
    refuse_mock,
    servers_of,
)
from kafka_stream.offset_stores.kafka.tenure import Tenure
from kafka_stream.offset_stores.kafka.transaction import KafkaTransaction
from kafka_stream.protocols import (
    Action,
    ActionKind,
    Change,
    Decide,
    HistoryEntry,
    StoreCapabilities,
    StreamBinding,
    TopicStatus,
    dead_letters_topic_of,
)
from kafka_stream.types import Claim, Owner, StoredPosition, TopicPartition


class KafkaOffsetStore(KeepsLetters):
    """Keeps positions as Kafka's own group offsets, and commits them with the records that a batch produces.

    ``config`` are librdkafka's settings of the transactional producer, or a URL ``kafka://h1:9092,h2:9092``. Brokers
    and security are the stream's if none are named. The group is named after the stream, so that the offsets of any
    plain consumer group of that name are valid positions; what else belongs to a position is JSON in the offset's
    metadata. ``transaction.timeout.ms`` is what a member's session lasts unless it is set (the stream's
    ``session.timeout.ms``, or the group's ``consumer.session.timeout.ms``): a batch whose writing takes longer is
    aborted and repeated. Offsets of a stream that does not run expire after the brokers'
    ``offsets.retention.minutes``. ``now`` is a clock for tests.

    Dead letters of a stream go to the topic ``<stream>.dead-letters``, unless the stream's ``DeadLetters`` names
    another one; commands, which know no stream's settings, are told by ``dead_letters_topic``, or by
    ``?dead_letters_topic=…`` in the URL.

    The idea is KIP-98 (transactions) and KIP-447 (a group's offsets in them).

    Raises:
        ConfigurationError: a setting cannot work; connects to nothing to find out.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | str | None = None,
        *,
        dead_letters_topic: str | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._own = checked_config(config)
        self._letters_topic = dead_letters_topic or dead_letters_topic_in(config)
        self._now = now
        self._config = merged_config(self._own, {})
        self._binding: StreamBinding | None = None
        self._access: Access | None = None
        self._tenure: Tenure | None = None
        self._letters: dict[str, StreamLetters] = {}

    def __repr__(self) -> str:
        return f"<KafkaOffsetStore {self.describe()}>"

    @property
    def capabilities(self) -> StoreCapabilities:
        """A Kafka transaction, which has no compare-and-set; fencing stands in for it."""
        return StoreCapabilities(transaction="kafka", compare_and_set=False, durable_plan=True)

    def describe(self) -> str:
        """The brokers, and that it is a consumer group."""
        group = f"consumer group {self._binding.group_id!r}" if self._binding else "consumer groups"
        return f"{group} at {servers_of(self._config) or 'the brokers of the stream'}"

    def bind(self, binding: StreamBinding) -> None:
        """Take the stream's brokers and assignment; see ``BoundStore``."""
        if not binding.kafka:
            raise ConfigurationError(
                "a Kafka offset store needs the brokers that the stream reads from, and this stream reads from none "
                "(MemoryKafka); test it with kafka_stream.testing.MemoryOffsetStore"
            )
        if binding.group_id != binding.stream:
            raise ConfigurationError(
                f"group_id={binding.group_id!r} differs from the stream's name {binding.stream!r}: with a Kafka offset "
                "store the stream's positions are the offsets of the group that has its name; leave group_id out"
            )
        refuse_mock(binding.kafka)
        self._topic_of(binding.stream, binding)
        self.close()
        self._binding = binding
        self._config = merged_config(self._own, binding.kafka)

    def open(self) -> None:
        """Connect, and create the topic of the dead letters if the stream wants one; see ``OffsetStore``.

        Raises:
            NotAuthorized, ConfigurationError: it is missing, and cannot be created.
        """
        self._opened()
        if self._binding is not None and self._binding.dead_letters_topic is not None:
            self._letters_of(self._binding.stream).create_topic()

    def close(self) -> None:
        """Give the clients up; see ``OffsetStore``."""
        access, self._access = self._access, None
        tenure, self._tenure = self._tenure, None
        letters, self._letters = self._letters, {}
        for each in letters.values():
            each.close()
        if tenure is not None:
            tenure.close()
        if access is not None:
            access.close()

    def waits_for(self) -> tuple[str, float] | None:
        """The request that has not been answered yet, and since when; see ``WaitingStore``."""
        access = self._access
        if access is None or (waits := access.waits.longest()) is None:
            return None
        return f"{servers_of(self._config)} to answer while {waits[0]}", waits[1]

    def check_cluster(self, cluster_id: str | None) -> None:
        """Refuse a stream that reads another cluster; see ``BoundStore``."""
        access = self._opened()
        ours = access.brokers.cluster_id()
        if cluster_id is not None and cluster_id != ours:
            raise ConfigurationError(
                f"the stream reads cluster {cluster_id}, but {access.where} is of cluster {ours}: a transaction spans "
                "one cluster, so keep the offsets in the one that is read, or in a SQL store"
            )

    def is_started(self, stream: str, topic: str) -> bool:
        """Whether a stream has committed an offset of the topic, rather than a plain group; see ``OffsetStore``."""
        return start.is_started(self._opened(), stream, topic)

    def initialise(self, stream: str, topic: str, starts: Mapping[int, int], topic_id: str | None) -> None:
        """Commit the starts, beside the offsets of a plain group if there are some; see ``OffsetStore``."""
        start.initialise(self._opened(), stream, topic, starts, topic_id)

    def take_over(
        self, stream: str, owner: Owner, partitions: Sequence[TopicPartition], topic_ids: Mapping[str, str]
    ) -> Mapping[TopicPartition, StoredPosition]:
        """Fence older owners, then read what is stored; see ``OffsetStore``.

        Raises:
            OwnershipLost: this stream is static, and its consumer group has members.
        """
        return self._held(stream).take_over(owner, partitions, topic_ids)

    def reclaim(self, claim: Claim) -> Mapping[TopicPartition, StoredPosition]:
        """Settle a commit whose outcome is unknown; see ``OffsetStore``."""
        return self._held(claim.stream).reclaim(claim)

    def reposition(self, claim: Claim) -> None:
        """Move positions without records; see ``OffsetStore``."""
        self._held(claim.stream).reposition(claim)

    def plan(self, claim: Claim) -> None:
        """Store ranges as planned, in a transaction of its own; see ``OffsetStore``."""
        self._held(claim.stream).plan(claim)

    def refresh(self, claim: Claim) -> None:
        """Commit a static owner's positions anew, before the brokers forget them; see ``BoundStore``."""
        self._held(claim.stream).refresh(claim)

    @contextmanager
    def begin(self, claim: Claim) -> Iterator[KafkaTransaction]:
        """Begin a transaction for the claim's ranges; see ``OffsetStore``.

        The broker hears of it with the first record: the claim is compared with what this process knows to be stored,
        and the fence refuses the rest.
        """
        with KafkaTransaction(self._held(claim.stream), claim, self._letters_of(claim.stream)) as transaction:
            yield transaction

    def classify(self, error: BaseException) -> KafkaStreamError | None:
        """Nothing: what goes wrong in ``produce`` is raised as the library's own error."""
        return None

    def positions(self, stream: str) -> Mapping[TopicPartition, StoredPosition]:
        """What is stored for a stream; see ``OffsetStore``."""
        return {tp: each.position for tp, each in sorted(self._opened().stored(stream).items())}

    @property
    def keeps_history(self) -> bool:
        """An offset's metadata holds who changed it last, and nothing of before."""
        return False

    def identity(self) -> str:
        """The cluster's own id; see ``AdministeredStore``."""
        return f"kafka {self._opened().brokers.cluster_id()}"

    def streams(self) -> Sequence[str]:
        """The groups that a stream has committed in; plain consumer groups are none. See ``AdministeredStore``."""
        return administration.streams(self._opened())

    def topics(self, stream: str) -> Mapping[str, TopicStatus]:
        """What the metadata of their offsets says; see ``AdministeredStore``."""
        return administration.topics(self._opened(), stream)

    def change(
        self, stream: str, partitions: Collection[TopicPartition], action: Action, decide: Decide
    ) -> Mapping[TopicPartition, StoredPosition]:
        """Fence whoever owns the partitions, and commit their new offsets; see ``AdministeredStore``.

        A static owner's batch in flight is dropped and repeated even if nothing is changed in the end.
        """
        return administration.change(self._opened(), stream, partitions, action, decide)

    def rehearse(self, stream: str, changes: Sequence[Change]) -> None:
        """Commit the offsets in a transaction that is aborted; see ``AdministeredStore``."""
        rehearsal.rehearse(self._opened(), stream, changes)

    def close_topics(self, stream: str, topics: Collection[str], action: Action, reason: str | None) -> None:
        """Close positions in their metadata, so that their epochs live on; see ``AdministeredStore``."""
        administration.close_topics(self._opened(), stream, topics, action, reason)

    def live_owners(self, stream: str) -> Sequence[str]:
        """The group's members, or the static owners that are stored; see ``AdministeredStore``."""
        return administration.live_owners(self._opened(), stream)

    def record(self, stream: str, entries: Sequence[HistoryEntry], keep_for: timedelta) -> None:
        """Nothing: there is no history."""

    def history(
        self, stream: str, limit: int, kinds: Collection[ActionKind] = tuple(ActionKind)
    ) -> Sequence[HistoryEntry]:
        """Empty."""
        return ()

    def _letters_of(self, stream: str) -> StreamLetters:
        if stream not in self._letters:
            self._letters[stream] = StreamLetters(self._opened(), stream, self._topic_of(stream, self._binding))
        return self._letters[stream]

    def _topic_of(self, stream: str, binding: StreamBinding | None) -> str:
        default = dead_letters_topic_of(stream)
        bound = binding.dead_letters_topic if binding is not None and binding.stream == stream else None
        if self._letters_topic is not None and bound not in (None, default, self._letters_topic):
            raise ConfigurationError(
                f"the dead letters of stream {stream!r} go to {bound!r} by DeadLetters(topic=…), and to "
                f"{self._letters_topic!r} by dead_letters_topic of its KafkaOffsetStore; say it once"
            )
        return self._letters_topic or bound or default

    def _opened(self) -> Access:
        if self._access is None:
            if servers_of(self._config) is None:
                raise ConfigurationError(
                    "this Kafka offset store names no brokers, and no stream has bound it: give it a URL or "
                    "{'bootstrap.servers': …}"
                )
            binding = self._binding
            member_of = binding.group_id if binding is not None and binding.shard is None else None
            access = Access(self._config, self.describe(), self._now, member_of)
            try:
                access.brokers.cluster_id()  # says at once what other requests would wait for: who refuses us
            except BaseException:
                access.close()
                raise
            self._access = access
        return self._access

    def _held(self, stream: str) -> Tenure:
        binding = self._binding
        if binding is None or binding.stream != stream:
            raise ConfigurationError(
                f"this Kafka offset store is not bound to stream {stream!r}: only that stream takes over and commits"
            )
        if self._tenure is None:
            self._tenure = Tenure(self._opened(), stream, binding.shard)
        return self._tenure


__all__ = ["KafkaOffsetStore"]
