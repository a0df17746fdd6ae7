"""A migration asks its target first: on real servers, each of which refuses in its own way; and undo on each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from sqlalchemy import make_url

from integration_tests.kafka_store import Place
from integration_tests.mariadb_server import MariadbDatabase
from integration_tests.servers import KafkaServer, PostgresDatabase, random_name
from kafka_stream.admin.migration import fence_and_migrate, take_back
from kafka_stream.admin.transfer import delete
from kafka_stream.errors import CommandRefused, KafkaStreamError, NotAuthorized, TopicNotFound
from kafka_stream.offset_stores.kafka import KafkaOffsetStore
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.offset_stores.zookeeper import ZooKeeperOffsetStore
from kafka_stream.protocols import AdministeredStore
from kafka_stream.testing.store_backend import OLDER, claim_of
from kafka_stream.types import Claim, TopicPartition


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def place(kafka: KafkaServer, stack: ExitStack) -> Place:
    return Place(kafka, stack)


class Source:
    """A stream in SQLite with an owner that is at work."""

    def __init__(self, path: Path, stream: str, topic: str, partitions: int) -> None:
        self.stream = stream
        self.partitions = [TopicPartition(topic, number) for number in range(partitions)]
        self.store = SqlOffsetStore(f"sqlite:///{path}")
        self.store.open()
        self.store.initialise(stream, topic, dict.fromkeys(range(partitions), 5), None)
        self._taken = self.store.take_over(stream, OLDER, self.partitions, {})

    def commit(self) -> None:
        """One batch of the owner: it fails if the stream was closed or fenced."""
        with self.store.begin(self._claim()) as transaction:
            transaction.advance()
            transaction.commit()

    def _claim(self) -> Claim:
        return claim_of(OLDER, {self.partitions[0]: (5, 6)}, self._taken, self.stream)


@pytest.fixture
def source(tmp_path: Path, place: Place, stack: ExitStack) -> Source:
    found = Source(tmp_path / "source.db", place.stream, place.topic, 6)
    stack.callback(found.store.close)
    return found


def refused(source: Source, target: AdministeredStore, error: type[KafkaStreamError], match: str) -> None:
    """The target says no, and the service goes on."""
    before = source.store.positions(source.stream)
    with pytest.raises(error, match=match):
        fence_and_migrate(source.store, target, source.stream)
    assert source.store.positions(source.stream) == before
    source.commit()


def kafka_store(server: KafkaServer, stack: ExitStack) -> KafkaOffsetStore:
    found = KafkaOffsetStore({"bootstrap.servers": server.bootstrap_servers})
    stack.callback(found.close)
    return found


def test_a_group_with_members_is_asked_before_anything_is_closed(
    source: Source, place: Place, stack: ExitStack
) -> None:
    place.member("the very stream")
    refused(source, kafka_store(place.server, stack), CommandRefused, "the very stream")


def test_a_topic_that_the_targets_cluster_does_not_have(tmp_path: Path, kafka: KafkaServer, stack: ExitStack) -> None:
    source = Source(tmp_path / "source.db", random_name("stream"), random_name("absent"), 2)
    stack.callback(source.store.close)
    refused(source, kafka_store(kafka, stack), TopicNotFound, "does not exist")


def test_a_target_that_is_too_small_for_the_request(tmp_path: Path, zookeeper: str, stack: ExitStack) -> None:
    source = Source(tmp_path / "source.db", "orders", "orders", 600)
    stack.callback(source.store.close)
    target = ZooKeeperOffsetStore(zookeeper, max_request_bytes=65_536)
    stack.callback(target.close)
    refused(source, target, CommandRefused, r"takes a request of [\d,]+ bytes")


def test_a_user_of_postgresql_who_may_only_read(source: Source, postgres: PostgresDatabase) -> None:
    user = random_name("reader")
    with closing(SqlOffsetStore(postgres.url)) as owner:
        owner.open()
        postgres.execute(f"CREATE ROLE {user} LOGIN PASSWORD 'hush-hush'")
        try:
            postgres.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {user}")
            url = make_url(postgres.url).set(username=user, password="hush-hush")
            with closing(SqlOffsetStore(url)) as target:
                refused(source, target, NotAuthorized, "this user may not read and write")
                assert target.identity() == owner.identity()
        finally:
            postgres.execute(f"DROP OWNED BY {user}")
            postgres.execute(f"DROP ROLE {user}")


@pytest.fixture(params=["kafka", "zookeeper", "postgresql", "mariadb"])
def target(request: pytest.FixtureRequest, kafka: KafkaServer, stack: ExitStack) -> AdministeredStore:
    found: AdministeredStore
    if request.param == "kafka":
        return kafka_store(kafka, stack)
    if request.param == "zookeeper":
        found = ZooKeeperOffsetStore(request.getfixturevalue("zookeeper"))
    elif request.param == "postgresql":
        postgres: PostgresDatabase = request.getfixturevalue("postgres")
        found = SqlOffsetStore(postgres.url)
    else:
        mariadb: MariadbDatabase = request.getfixturevalue("mariadb")
        found = SqlOffsetStore(mariadb.url)
    stack.callback(found.close)
    return found


def test_a_migration_that_stopped_between_its_steps_is_repeated_and_taken_back(
    source: Source, target: AdministeredStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for source_of, target_of in ((source.store, target), (target, source.store)):
        with monkeypatch.context() as patch:
            patch.setattr(target_of, "change", lambda *_: (_ for _ in ()).throw(KafkaStreamError("the power went")))
            with pytest.raises(KafkaStreamError, match="run the same command again"):
                fence_and_migrate(source_of, target_of, source.stream)
        take_back(source_of, target_of, source.stream)
        assert {p.next_offset for p in source_of.positions(source.stream).values()} == {5}
        with monkeypatch.context() as patch:
            patch.setattr(target_of, "change", lambda *_: (_ for _ in ()).throw(KafkaStreamError("the power went")))
            with pytest.raises(KafkaStreamError, match="run the same command again"):
                fence_and_migrate(source_of, target_of, source.stream)
        assert len(fence_and_migrate(source_of, target_of, source.stream).changed) == 6
        assert {p.next_offset for p in target_of.positions(source.stream).values()} == {5}
    delete(target, source.stream)
