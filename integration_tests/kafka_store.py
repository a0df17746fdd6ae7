"""Kafka's offset store as the contract's tests see it, and short ways into its group."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

from confluent_kafka import Consumer

from integration_tests.engine import wait_until
from integration_tests.servers import KafkaServer, random_name
from kafka_stream.errors import KafkaStreamError, StoreUnavailable
from kafka_stream.offset_stores.kafka import KafkaOffsetStore, KafkaTransaction
from kafka_stream.protocols import (
    EVERY_LETTER,
    Action,
    ActionKind,
    Change,
    DeadLetter,
    Decide,
    HistoryEntry,
    LetterFilter,
    LetterId,
    LetterStatus,
    Replay,
    StoreCapabilities,
    StreamBinding,
    TopicStatus,
    dead_letters_topic_of,
)
from kafka_stream.testing.store_backend import claim_of
from kafka_stream.types import Claim, Owner, StoredPosition, TopicPartition

Positions = Mapping[TopicPartition, StoredPosition]
WAIT_S = 60.0


def bound(
    server: KafkaServer, stream: str, shard: str | None = "static", letters_topic: str | None = None, **config: Any
) -> KafkaOffsetStore:
    """A store as a stream would have it; ``transaction_timeout_ms=…`` is a setting of its own."""
    store = KafkaOffsetStore({name.replace("_", "."): value for name, value in config.items()})
    kafka = {"bootstrap.servers": server.bootstrap_servers}
    store.bind(StreamBinding(stream, stream, kafka, shard, letters_topic))
    return store


class RenamedStreams:
    """A store whose streams have names of one test's own on a shared broker; whoever uses it sees its own names."""

    def __init__(self, server: KafkaServer, suffix: str, *, keeps_letters: bool = False) -> None:
        self._server = server
        self._suffix = suffix
        self._keeps_letters = keeps_letters
        self._store: KafkaOffsetStore | None = None

    def _of(self, stream: str) -> KafkaOffsetStore:
        if self._store is None:
            name = self._name(stream)
            self._store = bound(
                self._server, name, letters_topic=dead_letters_topic_of(name) if self._keeps_letters else None
            )
        return self._store

    def _name(self, stream: str) -> str:
        return f"{stream}-{self._suffix}"

    def _renamed(self, claim: Claim) -> Claim:
        return replace(claim, stream=self._name(claim.stream))

    @property
    def capabilities(self) -> StoreCapabilities:
        return KafkaOffsetStore().capabilities

    def describe(self) -> str:
        return self._of("orders").describe()

    def open(self) -> None:
        self._of("orders").open()

    def close(self) -> None:
        self._of("orders").close()

    def classify(self, error: BaseException) -> KafkaStreamError | None:
        return self._of("orders").classify(error)

    def is_started(self, stream: str, topic: str) -> bool:
        return self._of("orders").is_started(self._name(stream), topic)

    def initialise(self, stream: str, topic: str, starts: Mapping[int, int], topic_id: str | None) -> None:
        self._of("orders").initialise(self._name(stream), topic, starts, topic_id)

    def take_over(
        self, stream: str, owner: Owner, partitions: Sequence[TopicPartition], topic_ids: Mapping[str, str]
    ) -> Mapping[TopicPartition, StoredPosition]:
        return self._of(stream).take_over(self._name(stream), owner, partitions, topic_ids)

    def reclaim(self, claim: Claim) -> Mapping[TopicPartition, StoredPosition]:
        return self._of(claim.stream).reclaim(self._renamed(claim))

    def reposition(self, claim: Claim) -> None:
        self._of(claim.stream).reposition(self._renamed(claim))

    def plan(self, claim: Claim) -> None:
        self._of(claim.stream).plan(self._renamed(claim))

    @contextmanager
    def begin(self, claim: Claim) -> Iterator[KafkaTransaction]:
        with self._of(claim.stream).begin(self._renamed(claim)) as transaction:
            yield RenamedTransaction(transaction, self._name) if self._keeps_letters else transaction

    def positions(self, stream: str) -> Mapping[TopicPartition, StoredPosition]:
        return self._of("orders").positions(self._name(stream))

    @property
    def keeps_history(self) -> bool:
        return self._of("orders").keeps_history

    def identity(self) -> str:
        return self._of("orders").identity()

    def streams(self) -> Sequence[str]:
        ours = [name for name in self._of("orders").streams() if name.endswith(self._suffix)]
        return [name.removesuffix(f"-{self._suffix}") for name in ours]

    def topics(self, stream: str) -> Mapping[str, TopicStatus]:
        return self._of("orders").topics(self._name(stream))

    def change(
        self, stream: str, partitions: Collection[TopicPartition], action: Action, decide: Decide
    ) -> Mapping[TopicPartition, StoredPosition]:
        return self._of("orders").change(self._name(stream), partitions, action, decide)

    def rehearse(self, stream: str, changes: Sequence[Change]) -> None:
        self._of("orders").rehearse(self._name(stream), changes)

    def close_topics(self, stream: str, topics: Collection[str], action: Action, reason: str | None) -> None:
        self._of("orders").close_topics(self._name(stream), topics, action, reason)

    def live_owners(self, stream: str) -> Sequence[str]:
        return self._of("orders").live_owners(self._name(stream))

    def record(self, stream: str, entries: Sequence[HistoryEntry], keep_for: timedelta) -> None:
        self._of("orders").record(self._name(stream), entries, keep_for)

    def history(
        self, stream: str, limit: int, kinds: Collection[ActionKind] = tuple(ActionKind)
    ) -> Sequence[HistoryEntry]:
        return self._of("orders").history(self._name(stream), limit, kinds)

    def blames_records(self, error: BaseException) -> bool:
        return self._of("orders").blames_records(error)

    def letters(
        self, stream: str, wanted: LetterFilter = EVERY_LETTER, *, payloads: bool = True
    ) -> Iterator[DeadLetter]:
        for letter in self._of("orders").letters(self._name(stream), wanted, payloads=payloads):
            yield replace(letter, stream=stream)

    def mark_letters(
        self, stream: str, ids: Collection[LetterId], was: LetterStatus, now: LetterStatus, note: str | None = None
    ) -> Sequence[LetterId]:
        return self._of("orders").mark_letters(self._name(stream), ids, was, now, note)

    def begin_replay(self, stream: str, replay: Replay) -> None:
        self._of("orders").begin_replay(self._name(stream), replay)

    def replay_under_way(self, stream: str) -> Replay | None:
        return self._of("orders").replay_under_way(self._name(stream))

    def end_replay(
        self, stream: str, replay: Replay, sent: int, sent_are: LetterStatus = LetterStatus.REPLAYED
    ) -> None:
        self._of("orders").end_replay(self._name(stream), replay, sent, sent_are)


class RenamedTransaction(KafkaTransaction):
    """Another's, whose letters are of a stream of one test's own."""

    def __init__(self, transaction: KafkaTransaction, name: Callable[[str], str]) -> None:
        self.__dict__ = transaction.__dict__
        self._name = name

    def set_aside(self, letters: Sequence[DeadLetter]) -> None:
        super().set_aside([replace(letter, stream=self._name(letter.stream)) for letter in letters])


class KafkaBackend:
    """A ``StoreBackend`` on a broker that others use too: streams have names of their own, topics have not."""

    def __init__(self, server: KafkaServer, *, keeps_letters: bool = False) -> None:
        self._server = server
        self._keeps_letters = keeps_letters
        self._suffix = random_name("c")
        self._results = server.create_topic(partitions=1)

    def store(self) -> RenamedStreams:
        return RenamedStreams(self._server, self._suffix, keeps_letters=self._keeps_letters)

    def write(self, transaction: KafkaTransaction, value: int) -> None:
        transaction.produce(self._results, value=str(value))

    def results(self) -> Sequence[int]:
        return [int(value or b"") for _, _, _, value in self._server.read_committed(self._results)]

    def close_topic(self, stream: str, topic: str, reason: str) -> None:
        raise NotImplementedError

    def delete_topic(self, stream: str, topic: str) -> None:
        raise NotImplementedError


class Place:
    """A stream of one topic on the session's broker, with a topic for its results; its members join by a protocol."""

    def __init__(self, server: KafkaServer, stack: ExitStack, protocol: str = "classic") -> None:
        self.server = server
        self.protocol = protocol
        self.stream = random_name("stream")
        self.topic = server.create_topic(partitions=6)
        self.results_topic = server.create_topic(partitions=1)
        self.partitions = [TopicPartition(self.topic, number) for number in range(6)]
        self._stack = stack

    def store(self, shard: str | None = "static", **config: Any) -> KafkaOffsetStore:
        """The store of one more process."""
        store = bound(self.server, self.stream, shard, **config)
        store.open()
        self._stack.callback(store.close)
        return store

    def take_over(self, store: KafkaOffsetStore, owner: Owner, *numbers: int) -> Positions:
        return store.take_over(self.stream, owner, [self.partitions[number] for number in numbers], {})

    def claim(
        self, owner: Owner, positions: Positions, bounds: Mapping[int, tuple[int, int]], member: object = None
    ) -> Claim:
        """What a batch claims; ``member`` is the group metadata of a member's."""
        by_partition = {self.partitions[number]: each for number, each in bounds.items()}
        return replace(claim_of(owner, by_partition, positions, self.stream), group_metadata=member)

    def commit(self, store: KafkaOffsetStore, claim: Claim, value: int = 0) -> None:
        """One batch with one result."""
        with store.begin(claim) as transaction:
            transaction.produce(self.results_topic, value=str(value))
            transaction.advance()
            transaction.commit()

    def reclaim(self, store: KafkaOffsetStore, claim: Claim) -> Positions:
        """As a stream does it, which asks until it is told."""
        answers: list[Positions] = []

        def is_answered() -> bool:
            with suppress(StoreUnavailable):
                answers.append(store.reclaim(claim))
            return bool(answers)

        assert wait_until(is_answered, WAIT_S)
        return answers[0]

    def written(self) -> int:
        """How far the log of the results reaches, markers and what was aborted included."""
        return self.server.end_offsets(self.results_topic, committed=False)[0]

    def results(self) -> list[int]:
        return [int(value or b"") for *_, value in self.server.read_committed(self.results_topic)]

    def stored(self) -> dict[int, int]:
        """What is committed, by partition."""
        positions = self.store().positions(self.stream)
        return {tp.partition: position.next_offset for tp, position in positions.items()}

    def member(self, client_id: str = "member", beside: Consumer | None = None) -> Consumer:
        """A member of the group that has joined; another member goes along with the rebalance meanwhile."""
        config: dict[str, Any] = {"bootstrap.servers": self.server.bootstrap_servers, "group.id": self.stream}
        config |= {"client.id": client_id, "enable.auto.commit": False, "auto.offset.reset": "earliest"}
        config["group.protocol"] = self.protocol
        if self.protocol == "classic":
            config["partition.assignment.strategy"] = "cooperative-sticky"
        consumer = Consumer(config)
        self._stack.callback(consumer.close)
        consumer.subscribe([self.topic])

        def joined() -> bool:
            for each in (beside, consumer):
                if each is not None:
                    each.poll(0.1)
            shared = sum(len(each.assignment()) for each in (beside, consumer) if each is not None)
            return bool(consumer.assignment()) and shared == len(self.partitions)

        assert wait_until(joined, WAIT_S)
        return consumer


__all__ = ["WAIT_S", "KafkaBackend", "Place", "RenamedStreams", "bound"]
