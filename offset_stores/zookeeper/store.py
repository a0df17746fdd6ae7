"""``ZooKeeperOffsetStore``: a znode per partition, moved by versioned writes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from kazoo.security import ACL

from kafka_stream.errors import KafkaStreamError
from kafka_stream.offset_stores.zookeeper import administration, history, start, takeover
from kafka_stream.offset_stores.zookeeper.commands import Command
from kafka_stream.offset_stores.zookeeper.connection import Connection
from kafka_stream.offset_stores.zookeeper.ensemble.access import Access, checked_acl, checked_auth, merged_options
from kafka_stream.offset_stores.zookeeper.ensemble.address import Address
from kafka_stream.offset_stores.zookeeper.errors import blames_records
from kafka_stream.offset_stores.zookeeper.letters import Letters
from kafka_stream.offset_stores.zookeeper.positions import Positions
from kafka_stream.offset_stores.zookeeper.requests import DEFAULT_MAX_REQUEST_BYTES
from kafka_stream.offset_stores.zookeeper.transaction import ZooKeeperTransaction
from kafka_stream.offset_stores.zookeeper.znodes import Layout
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
    TopicStatus,
)
from kafka_stream.types import Claim, Owner, StoredPosition, TopicPartition


class ZooKeeperOffsetStore:
    """Keeps positions as JSON in one znode per partition, and commits them with the results in one ``multi``.

    ``hosts`` is ``"host:port,host:port/chroot"``, or the same as a URL, ``"zookeeper://user:password@host:port/chroot"``;
    a chroot that is missing is created. Below it, positions lie in ``/kafka_stream/<stream>/<topic>/<partition>``.

    ``auth`` is a scheme and its credential, as ``("digest", "user:password")``. New znodes get ``acl`` (a list of
    ``kazoo.security.ACL``): by default only what has authenticated as we have may do anything with them, and anybody
    if there is no ``auth``. ``session_timeout_s`` is asked of the ensemble, and bounds each wait for it.
    ``max_request_bytes`` is the servers' ``jute.maxbuffer``: what one batch's results and offsets have to fit into.
    ``client_options`` are ``KazooClient``'s own for TLS and SASL (``use_ssl``, ``ca``, ``sasl_options``, …); a URL may
    have those for TLS, too: ``?use_ssl=true&ca=/etc/ssl/zookeeper.pem``. The server's name is looked at unless
    ``check_hostname`` is false.

    A session is not what makes this process the owner: the versions of the znodes and the epochs in them are. A
    session that expires takes only the batch in hand with it.

    Raises:
        ConfigurationError: an option cannot work; connects to nothing to find out.
    """

    def __init__(
        self,
        hosts: str,
        *,
        auth: tuple[str, str] | None = None,
        acl: Sequence[ACL] | None = None,
        session_timeout_s: float = 10.0,
        max_request_bytes: int = DEFAULT_MAX_REQUEST_BYTES,
        client_options: Mapping[str, Any] | None = None,
    ) -> None:
        address = Address.parsed(hosts)
        checked = checked_auth(auth, address)
        self._connection = Connection(
            Access(
                address=address,
                auth=checked,
                acl=checked_acl(acl, checked, address),
                session_timeout_s=session_timeout_s,
                max_request_bytes=max_request_bytes,
                client_options=merged_options(client_options, address),
            )
        )
        self._positions = Positions(self._connection, Layout(address.chroot))

    def __repr__(self) -> str:
        return f"<ZooKeeperOffsetStore {self.describe()}>"

    @property
    def capabilities(self) -> StoreCapabilities:
        """A ZooKeeper transaction, claims that the versions of znodes refuse, and plans that are durable."""
        return StoreCapabilities(transaction="zookeeper", compare_and_set=True, durable_plan=True)

    def describe(self) -> str:
        """The servers and the chroot."""
        return self._connection.where

    def open(self) -> None:
        """Connect, and create the chroot and what the positions lie in."""
        with self._connection.mapping(f"looking for {self._positions.layout.root}"):
            self._connection.create_missing(self._positions.layout.root)

    def close(self) -> None:
        """End the session."""
        self._connection.close()

    def is_started(self, stream: str, topic: str) -> bool:
        """Whether the topic's marker is there and not deleted; see ``OffsetStore``."""
        with self._connection.mapping("looking for the stream's start"):
            return start.is_started(self._positions, stream, topic)

    def initialise(self, stream: str, topic: str, starts: Mapping[int, int], topic_id: str | None) -> None:
        """Store the starts and the marker, unless the marker is there; see ``OffsetStore``."""
        with self._connection.mapping("storing the start"):
            start.initialise(self._positions, stream, topic, starts, topic_id)

    def take_over(
        self, stream: str, owner: Owner, partitions: Sequence[TopicPartition], topic_ids: Mapping[str, str]
    ) -> Mapping[TopicPartition, StoredPosition]:
        """Raise the epochs and read what is stored after that; see ``OffsetStore``."""
        with self._connection.mapping("taking over the partitions"):
            return takeover.Takeover(self._positions, stream, owner, topic_ids).of(sorted(set(partitions)))

    def reclaim(self, claim: Claim) -> Mapping[TopicPartition, StoredPosition]:
        """Raise the claim's epochs if they are still ours, and read; see ``OffsetStore``."""
        with self._connection.mapping("settling a commit"):
            return takeover.reclaim(self._positions, claim)

    def reposition(self, claim: Claim) -> None:
        """Move positions without records; see ``OffsetStore``."""
        with self._connection.mapping("moving positions"):
            takeover.reposition(self._positions, claim)

    def plan(self, claim: Claim) -> None:
        """Make the claim's ranges durable as plans; see ``OffsetStore``."""
        with self._connection.mapping("storing a plan"):
            takeover.plan(self._positions, claim)

    @contextmanager
    def begin(self, claim: Claim) -> Iterator[ZooKeeperTransaction]:
        """Compare every range with what is stored; the commit fails if that has changed; see ``OffsetStore``."""
        transaction = ZooKeeperTransaction(self._positions, claim)
        try:
            yield transaction
        finally:
            transaction.close()

    def classify(self, error: BaseException) -> KafkaStreamError | None:
        """Nothing: a handler asks through the transaction, which sends nothing before the commit."""
        return None

    def positions(self, stream: str) -> Mapping[TopicPartition, StoredPosition]:
        """What is stored for a stream; see ``OffsetStore``."""
        with self._connection.mapping("reading positions"):
            return self._positions.of_stream(stream)

    # DeadLetterStore ------------------------------------------------------------------------------------------------

    def blames_records(self, error: BaseException) -> bool:
        """Not what a kazoo client of the handler's ran into, unless its operation did not apply."""
        return blames_records(error)

    def letters(
        self, stream: str, wanted: LetterFilter = EVERY_LETTER, *, payloads: bool = True
    ) -> Iterator[DeadLetter]:
        """Read by the page; see ``DeadLetterStore``."""
        yield from Letters(self._positions, stream).find(wanted, payloads=payloads)

    def mark_letters(
        self, stream: str, ids: Collection[LetterId], was: LetterStatus, now: LetterStatus, note: str | None = None
    ) -> Sequence[LetterId]:
        """By versioned writes in one ``multi``, which takes some thousands; see ``DeadLetterStore``.

        Raises:
            CommandRefused: they are too many; it says how many it takes.
        """
        with self._connection.mapping("changing dead letters"):
            return Letters(self._positions, stream).mark(ids, was, now, note)

    def begin_replay(self, stream: str, replay: Replay) -> None:
        """The plan is a znode; see ``DeadLetterStore``. Raises ``CommandRefused`` as ``mark_letters`` does, too."""
        with self._connection.mapping("beginning a replay"):
            Letters(self._positions, stream).begin(replay)

    def replay_under_way(self, stream: str) -> Replay | None:
        """What the plan's znode holds; see ``DeadLetterStore``."""
        with self._connection.mapping("looking for a replay"):
            return Letters(self._positions, stream).under_way()

    def end_replay(
        self, stream: str, replay: Replay, sent: int, sent_are: LetterStatus = LetterStatus.REPLAYED
    ) -> None:
        """Remove the plan with the letters' change; see ``DeadLetterStore``."""
        with self._connection.mapping("ending a replay"):
            Letters(self._positions, stream).end(replay, sent, sent_are)

    # AdministeredStore ----------------------------------------------------------------------------------------------

    @property
    def keeps_history(self) -> bool:
        """In znodes of its own, of which there are never more than about 1,500 per stream."""
        return True

    def identity(self) -> str:
        """The transaction that made the znode above all others here, and when; see ``AdministeredStore``."""
        with self._connection.mapping("asking which ensemble it is"):
            return administration.identity(self._positions)

    def streams(self) -> Sequence[str]:
        """The names of all streams; see ``AdministeredStore``."""
        with self._connection.mapping("looking for streams"):
            return administration.streams(self._positions)

    def topics(self, stream: str) -> Mapping[str, TopicStatus]:
        """The markers of a stream's topics; see ``AdministeredStore``."""
        with self._connection.mapping("looking for topics"):
            return administration.topics(self._positions, stream)

    def change(
        self, stream: str, partitions: Collection[TopicPartition], action: Action, decide: Decide
    ) -> Mapping[TopicPartition, StoredPosition]:
        """Move positions by versioned writes in one ``multi``; see ``AdministeredStore``.

        All partitions go in one request, which takes about 2,500 of them; more are refused, and nothing is changed.

        What was seen is not locked while ``decide`` is called, with two exceptions: where a planned range is stored
        that it may discard, and where batches have come in between three times. Then the topics are held meanwhile:
        nobody takes them over, and owners have their epochs raised, also if ``decide`` refuses.
        """
        with self._connection.mapping(f"moving offsets ({action.kind})"):
            return Command(self._positions, stream, action).change(partitions, decide)

    def rehearse(self, stream: str, changes: Sequence[Change]) -> None:
        """Ask for the change together with something that cannot be; see ``AdministeredStore``."""
        with self._connection.mapping("rehearsing a move"):
            Command(self._positions, stream, Action("rehearsal", ActionKind.MIGRATE, "")).rehearse(changes)

    def close_topics(self, stream: str, topics: Collection[str], action: Action, reason: str | None) -> None:
        """Close positions and markers, in several requests if there are many; see ``AdministeredStore``."""
        with self._connection.mapping("closing topics"):
            Command(self._positions, stream, action).close_topics(topics, reason)

    def live_owners(self, stream: str) -> Sequence[str]:
        """The stored owners that have not recorded a stop; see ``AdministeredStore``."""
        with self._connection.mapping("looking for owners"):
            return administration.live_owners(self._positions, stream)

    def record(self, stream: str, entries: Sequence[HistoryEntry], keep_for: timedelta) -> None:
        """Remember takeovers, batches and stops; see ``AdministeredStore``."""
        with self._connection.mapping("recording the history"):
            history.record(self._positions, stream, entries, keep_for)

    def history(
        self, stream: str, limit: int, kinds: Collection[ActionKind] = tuple(ActionKind)
    ) -> Sequence[HistoryEntry]:
        """The latest actions, newest first; see ``AdministeredStore``."""
        with self._connection.mapping("reading the history"):
            return history.latest(self._positions, stream, limit, kinds)


__all__ = ["ZooKeeperOffsetStore"]
