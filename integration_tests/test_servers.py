"""The tests' own tools do what the other tests rely on."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psycopg
import pymysql
import pytest
from kazoo.client import KazooClient
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from integration_tests.engine import wait_until
from integration_tests.mariadb_server import MariadbDatabase, MariadbServer
from integration_tests.proxy import MariadbProxy, PostgresProxy, TcpProxy
from integration_tests.servers import KafkaServer, PostgresDatabase, PostgresServer, PrivateKafka, ServerPorts
from integration_tests.streams import WAIT_S, wait_for_stable_end
from integration_tests.zookeeper_server import ZooKeeperServer


def values(server: KafkaServer, topic: str) -> list[bytes | None]:
    return [value for _, _, _, value in server.read_committed(topic)]


def test_records_come_back_by_partition_and_offset(kafka: KafkaServer) -> None:
    topic = kafka.create_topic(partitions=2)
    kafka.produce(topic, [("k", "a"), "b", None], partition=1)
    assert kafka.read_committed(topic) == [(1, 0, b"k", b"a"), (1, 1, None, b"b"), (1, 2, None, None)]
    assert kafka.end_offsets(topic) == {0: 0, 1: 3}


def test_only_committed_transactions_are_read(kafka: KafkaServer) -> None:
    topic = kafka.create_topic(partitions=1)
    kafka.transaction(topic, ["kept"], 0)
    kafka.transaction(topic, ["aborted"], 0, outcome="abort")
    still_open = kafka.open_transaction(topic, ["late"], 0)
    kafka.produce(topic, ["behind the open one"], 0)
    assert wait_until(lambda: kafka.end_offsets(topic) == {0: 4}, WAIT_S)
    assert values(kafka, topic) == [b"kept"]
    assert kafka.end_offsets(topic, committed=False) == {0: 6}
    still_open.commit()
    assert wait_for_stable_end(kafka, topic) == {0: 7}
    assert values(kafka, topic) == [b"kept", b"late", b"behind the open one"]


def test_topics_grow_lose_records_and_come_again(kafka: KafkaServer) -> None:
    topic = kafka.create_topic(partitions=1, retention_ms=-1)
    kafka.produce(topic, map(str, range(10)), 0)
    kafka.delete_records(topic, 0, before_offset=7)
    assert [offset for _, offset, _, _ in kafka.read_committed(topic)] == [7, 8, 9]
    kafka.add_partitions(topic, 3)
    assert set(kafka.end_offsets(topic)) == {0, 1, 2}
    first = kafka.topic_id(topic)
    kafka.delete_topic(topic)
    kafka.create_topic(topic, partitions=1)
    assert kafka.topic_id(topic) != first
    assert kafka.end_offsets(topic) == {0: 0}


def test_a_killed_broker_comes_back_with_its_records(private_kafka: PrivateKafka) -> None:
    topic = private_kafka.create_topic(partitions=1)
    private_kafka.transaction(topic, ["a", "b"], 0)
    assert wait_for_stable_end(private_kafka, topic) == {0: 3}  # markers are written after the answer
    private_kafka.kill()
    assert not private_kafka.is_up()
    private_kafka.start()
    assert values(private_kafka, topic) == [b"a", b"b"]


def test_a_paused_broker_answers_when_it_goes_on(private_kafka: PrivateKafka) -> None:
    private_kafka.pause()
    assert not private_kafka.is_up()
    private_kafka.unpause()
    private_kafka.wait_until_up()


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_truncated_log_ends_earlier_and_takes_records_again(private_kafka: PrivateKafka, end: str) -> None:
    topic = private_kafka.create_topic(partitions=2)
    for start in range(0, 100, 10):
        private_kafka.produce(topic, map(str, range(start, start + 10)), 0)
    private_kafka.transaction(topic, ["other partition"], 1)
    assert wait_for_stable_end(private_kafka, topic) == {0: 100, 1: 2}
    getattr(private_kafka, end)()
    assert private_kafka.truncate_tail(topic, 0, from_offset=60) == 60
    private_kafka.start()
    assert private_kafka.end_offsets(topic) == {0: 60, 1: 2}
    private_kafka.produce(topic, ["new"], 0)
    assert values(private_kafka, topic) == [*(str(n).encode() for n in range(60)), b"new", b"other partition"]


def test_truncation_spans_segments(private_kafka: PrivateKafka) -> None:
    topic = private_kafka.create_topic(partitions=1, segment_bytes=1024 * 1024)
    for _ in range(5):
        private_kafka.produce(topic, [bytes([n]) * 1000 * 100 for n in range(5)], 0)
    private_kafka.stop()
    cut_at = private_kafka.truncate_tail(topic, 0, from_offset=3)
    assert cut_at <= 3
    private_kafka.start()
    assert private_kafka.end_offsets(topic) == {0: cut_at}


def test_a_running_broker_is_not_truncated(private_kafka: PrivateKafka) -> None:
    topic = private_kafka.create_topic(partitions=1)
    with pytest.raises(ValueError, match="stop or kill"):
        private_kafka.truncate_tail(topic, 0, from_offset=0)


def test_databases_are_fresh_and_dropped_with_their_sessions(postgres_server: PostgresServer) -> None:
    database = postgres_server.create_database()
    database.execute("CREATE TABLE t (n int)")
    database.execute("INSERT INTO t VALUES (%s)", (7,))
    assert database.execute("SELECT n FROM t") == [(7,)]
    with psycopg.connect(database.conninfo) as left_open:
        postgres_server.drop_database(database)
        with pytest.raises(psycopg.OperationalError):
            left_open.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        database.execute("SELECT 1")


def test_mariadb_databases_are_fresh_and_dropped_with_their_sessions(mariadb_server: MariadbServer) -> None:
    database = mariadb_server.create_database()
    database.execute("CREATE TABLE t (n int)")
    database.execute("INSERT INTO t VALUES (%s)", (7,))
    assert database.execute("SELECT n FROM t") == [(7,)]
    with contextlib.closing(database.connect()) as left_open:
        left_open.begin()
        left_open.query("UPDATE t SET n = 8")
        mariadb_server.drop_database(database)
        with pytest.raises(pymysql.err.OperationalError):
            left_open.query("SELECT 1")
    with pytest.raises(pymysql.err.OperationalError, match="Access denied"):
        database.execute("SELECT 1")
    assert (database.name,) not in mariadb_server.execute("SHOW DATABASES")


def test_a_mariadb_database_s_user_sees_no_other(mariadb_server: MariadbServer) -> None:
    first, second = mariadb_server.create_database(), mariadb_server.create_database()
    try:
        with pytest.raises(pymysql.err.OperationalError, match="denied"):
            first.execute(f"CREATE TABLE {second.name}.t (n int)")
    finally:
        mariadb_server.drop_database(first)
        mariadb_server.drop_database(second)


def test_chroots_are_empty_and_removed_with_all_they_hold(zookeeper_server: ZooKeeperServer) -> None:
    chroot = zookeeper_server.create_chroot()
    client = KazooClient(zookeeper_server.address + chroot)
    client.start()
    try:
        client.create("/a/b", b"1", makepath=True)
        with zookeeper_server.connected() as admin:
            assert admin.exists(f"{chroot}/a/b")
        zookeeper_server.remove_chroot(chroot)
        zookeeper_server.remove_chroot(chroot)
        with zookeeper_server.connected() as admin:
            assert not admin.exists(chroot)
        assert not client.exists("/a")
    finally:
        client.stop()
        client.close()


def test_ports_that_an_older_run_kept_are_used_again(tmp_path: Path) -> None:
    kept = tmp_path / "ports.json"
    kept.write_text('{"kafka": 1, "kafka_controller": 2, "postgres": 3}')
    ports = ServerPorts.kept(kept)
    assert (ports.kafka, ports.kafka_controller, ports.postgres) == (1, 2, 3)
    assert ServerPorts.kept(kept) == ports


def insert(url: str, number: int) -> None:
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO t VALUES (:n)"), {"n": number})
    finally:
        engine.dispose()


@pytest.fixture
def table(postgres: PostgresDatabase) -> PostgresDatabase:
    postgres.execute("CREATE TABLE t (n int)")
    return postgres


def test_the_proxy_forwards(table: PostgresDatabase, postgres_proxy: PostgresProxy) -> None:
    insert(postgres_proxy.url, 1)
    assert table.execute("SELECT n FROM t") == [(1,)]


@pytest.mark.parametrize(("cut", "stored"), [("cut_before_commit", []), ("cut_after_commit", [(1,)])])
def test_a_commit_is_cut_before_or_after_it_took_effect(
    table: PostgresDatabase, postgres_proxy: PostgresProxy, cut: str, stored: list[tuple[int]]
) -> None:
    getattr(postgres_proxy, cut)()
    with pytest.raises(Exception, match=r"server closed the connection|Connection reset|consuming input failed"):
        insert(postgres_proxy.url, 1)
    assert postgres_proxy.wait_for_commit_cut(10)
    assert table.execute("SELECT n FROM t") == stored
    insert(postgres_proxy.url, 2)
    assert table.execute("SELECT n FROM t") == [*stored, (2,)]


@pytest.mark.parametrize(("cut", "stored"), [("cut_before_commit", []), ("cut_after_commit", [(1,)])])
def test_a_commit_to_mariadb_is_cut_before_or_after_it_took_effect(
    mariadb: MariadbDatabase, mariadb_proxy: MariadbProxy, cut: str, stored: list[tuple[int]]
) -> None:
    mariadb.execute("CREATE TABLE t (n int)")
    mariadb.execute("CREATE TABLE marked (n int)")
    getattr(mariadb_proxy, cut)(having=b"INTO t")
    with contextlib.closing(create_engine(mariadb_proxy.url).raw_connection()) as connection:
        connection.cursor().execute("INSERT INTO marked VALUES (1)")
        connection.commit()
    with pytest.raises(OperationalError, match="Lost connection"):
        insert(mariadb_proxy.url, 1)
    assert mariadb_proxy.wait_for_commit_cut(10)
    assert mariadb.execute("SELECT n FROM t") == stored
    assert mariadb.execute("SELECT n FROM marked") == [(1,)]
    insert(mariadb_proxy.url, 2)
    assert mariadb.execute("SELECT n FROM t") == [*stored, (2,)]


def test_commits_of_other_transactions_pass(table: PostgresDatabase, postgres_proxy: PostgresProxy) -> None:
    table.execute("CREATE TABLE marked (n int)")
    postgres_proxy.cut_before_commit(having=b"INTO marked")
    insert(postgres_proxy.url, 1)
    with psycopg.connect(postgres_proxy.url.replace("+psycopg", "")) as connection:
        connection.execute("INSERT INTO marked VALUES (1)", prepare=True)
        connection.rollback()
        connection.execute("INSERT INTO t VALUES (2)")
        connection.commit()
        connection.execute("INSERT INTO marked VALUES (1)", prepare=True)
        with pytest.raises(psycopg.OperationalError):
            connection.commit()
    assert postgres_proxy.wait_for_commit_cut(10)
    assert table.execute("SELECT n FROM t") == [(1,), (2,)]
    assert table.execute("SELECT n FROM marked") == []


def test_connections_are_cut_refused_and_admitted(table: PostgresDatabase, postgres_proxy: PostgresProxy) -> None:
    conninfo = postgres_proxy.url.replace("+psycopg", "")
    with psycopg.connect(conninfo) as connection:
        postgres_proxy.refuse()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(conninfo)
    postgres_proxy.admit()
    insert(postgres_proxy.url, 3)
    assert table.execute("SELECT n FROM t") == [(3,)]


def test_a_paused_proxy_holds_back_what_it_forwards_later(
    postgres_server: PostgresServer, postgres: PostgresDatabase
) -> None:
    with TcpProxy(*postgres_server.address) as proxy:
        behind = postgres.at(proxy.host, proxy.port).conninfo
        proxy.pause()
        with pytest.raises(psycopg.OperationalError, match="timeout"):
            psycopg.connect(behind, connect_timeout=2)
        proxy.resume()
        psycopg.connect(behind, connect_timeout=30).close()
