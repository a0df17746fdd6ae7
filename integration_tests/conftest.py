"""The servers of docker-compose.yml, started once per session on free ports of 127.0.0.1.

Nothing here skips: where the servers cannot be had, the tests that need them fail with a sentence that says what to do.

    KAFKA_STREAM_TEST_KEEP=1        leave the servers (and a private engine) up; the next run with it reuses them
    KAFKA_STREAM_TEST_KAFKA=…       use this broker (127.0.0.1:29092) instead of starting one
    KAFKA_STREAM_TEST_POSTGRES=…    use this server (postgresql+psycopg://user:password@host:port/database) instead
    KAFKA_STREAM_TEST_ZOOKEEPER=…   use this server (host:port) instead
    KAFKA_STREAM_TEST_MARIADB=…     use this server (mysql+pymysql://user:password@host:port/database) instead; the user
                                    must be allowed to create databases and users
    KAFKA_IMAGE=… POSTGRES_IMAGE=… ZOOKEEPER_IMAGE=… MARIADB_IMAGE=…
                                    images for a Docker engine that answers; the official ones by default
"""

from __future__ import annotations

import contextlib
import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration_tests.command_line import APP, CommandLine, Orders
from integration_tests.dask_processes import dask  # noqa: F401 - a fixture
from integration_tests.engine import COMPOSE_FILE, KEEP, DockerEngine, docker_engine, state_directory
from integration_tests.kafka_cluster import cluster_brokers, kafka_cluster  # noqa: F401 - fixtures
from integration_tests.kafka_proxy import KafkaProxy
from integration_tests.mariadb_server import MariadbDatabase, MariadbServer
from integration_tests.poisoned import place  # noqa: F401 - a fixture
from integration_tests.postgres_pair import postgres_pair  # noqa: F401 - a fixture
from integration_tests.private_kafka import private_kafka_of
from integration_tests.proxy import MariadbProxy, PostgresProxy
from integration_tests.results import ResultTable
from integration_tests.running_service import Services
from integration_tests.secured_kafka import secured_broker, secured_kafka  # noqa: F401 - fixtures
from integration_tests.servers import (
    KEPT_PORTS,
    KEPT_PROJECT,
    KafkaServer,
    PostgresDatabase,
    PostgresServer,
    PrivateKafka,
    ServerPorts,
    cluster_id,
)
from integration_tests.tls_servers import tls_servers  # noqa: F401 - a fixture
from integration_tests.zookeeper_ensemble import ensemble_servers, zookeeper_ensemble  # noqa: F401 - fixtures
from integration_tests.zookeeper_server import ZooKeeperServer
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.testing.store_backend import TOPIC
from tests.sql_backend import SqlBackend, backend_at, opened_store


@pytest.fixture(scope="session")
def engine() -> Iterator[DockerEngine]:
    """The Docker engine, with the images."""
    before = signal.signal(signal.SIGTERM, _stop_in_order)
    try:
        with docker_engine() as running:
            yield running
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop_in_order(number: int, frame: object) -> None:
    """Tear the servers down as Ctrl-C does, instead of leaving them behind."""
    pytest.exit("terminated by SIGTERM", returncode=128 + number)


@pytest.fixture(scope="session")
def server_ports() -> ServerPorts:
    """The ports of this session's servers."""
    return ServerPorts.kept(state_directory() / KEPT_PORTS) if KEEP else ServerPorts()


@pytest.fixture(scope="session")
def docker_compose_project_name() -> str:
    return KEPT_PROJECT if KEEP else f"kafka-stream-{os.getpid()}"


@pytest.fixture(scope="session")
def docker_compose_file() -> str:
    return str(COMPOSE_FILE)


@pytest.fixture(scope="session")
def docker_compose_command(engine: DockerEngine, server_ports: ServerPorts) -> Iterator[str]:
    """What pytest-docker runs; the compose file's variables reach it through the environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**engine.images, **server_ports.variables()}.items():
            patch.setenv(name, value)
        yield " ".join(engine.compose_command)


@pytest.fixture(scope="session")
def docker_setup() -> list[str]:
    return ["up --detach --wait --wait-timeout 180"]


@pytest.fixture(scope="session")
def docker_cleanup() -> list[str]:
    return [] if KEEP else ["down --volumes --timeout 5"]


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> Iterator[KafkaServer]:
    """The session's broker: shared by all tests, so only for topics of one's own."""
    address = os.environ.get("KAFKA_STREAM_TEST_KAFKA")
    if address is None:
        request.getfixturevalue("docker_services")
        address = request.getfixturevalue("server_ports").bootstrap_servers
    server = KafkaServer(address)
    if not server.is_up():
        raise ConnectionError(f"Kafka does not answer at {address}: start it there, or unset KAFKA_STREAM_TEST_KAFKA")
    yield server
    server.delete_created_topics()


@pytest.fixture(scope="session")
def contract_topic(kafka: KafkaServer) -> str:
    """The topic that the stores' contracts name: Kafka commits no offsets of a topic that does not exist."""
    return kafka.create_topic(TOPIC, partitions=8)


@pytest.fixture
def kafka_proxy(kafka: KafkaServer) -> Iterator[KafkaProxy]:
    """A proxy that stands for the session's broker."""
    host, port = kafka.bootstrap_servers.split(":")
    with KafkaProxy(host, int(port)) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def private_broker(engine: DockerEngine) -> Iterator[PrivateKafka]:
    """The container behind ``private_kafka``: every test that uses it leaves it up and whole."""
    ports = ServerPorts()
    project = f"kafka-stream-private-{uuid.uuid4().hex[:8]}"
    compose = engine.compose(project, KAFKA_CLUSTER_ID=cluster_id(), KAFKA_BROKER_SESSION="6000", **ports.variables())
    with private_kafka_of(compose, ports) as broker:
        yield broker


@pytest.fixture
def private_kafka(private_broker: PrivateKafka) -> Iterator[PrivateKafka]:
    """A broker that the test may kill, stop, freeze and cut; it is up again for the next test."""
    yield private_broker
    private_broker.restore()


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> PostgresServer:
    """The session's PostgreSQL, with superuser rights."""
    url = os.environ.get("KAFKA_STREAM_TEST_POSTGRES")
    if url is None:
        request.getfixturevalue("docker_services")
        url = request.getfixturevalue("server_ports").postgres_url
    return PostgresServer(url)


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> Iterator[PostgresDatabase]:
    """A fresh database; dropped after the test, together with the sessions left in it."""
    database = postgres_server.create_database()
    with contextlib.ExitStack() as stack:
        stack.callback(postgres_server.drop_database, database)
        yield database


@pytest.fixture(scope="session")
def zookeeper_server(request: pytest.FixtureRequest) -> ZooKeeperServer:
    """The session's ZooKeeper."""
    address = os.environ.get("KAFKA_STREAM_TEST_ZOOKEEPER")
    if address is None:
        request.getfixturevalue("docker_services")
        address = request.getfixturevalue("server_ports").zookeeper_address
    return ZooKeeperServer(address)


@pytest.fixture
def zookeeper(zookeeper_server: ZooKeeperServer) -> Iterator[str]:
    """``host:port/chroot``: an empty chroot of the test's own; removed after it, with all it then holds."""
    chroot = zookeeper_server.create_chroot()
    with contextlib.ExitStack() as stack:
        stack.callback(zookeeper_server.remove_chroot, chroot)
        yield zookeeper_server.address + chroot


@pytest.fixture(scope="session")
def mariadb_server(request: pytest.FixtureRequest) -> MariadbServer:
    """The session's MariaDB, with an administrator's rights."""
    url = os.environ.get("KAFKA_STREAM_TEST_MARIADB")
    if url is None:
        request.getfixturevalue("docker_services")
        url = request.getfixturevalue("server_ports").mariadb_url
    return MariadbServer(url)


@pytest.fixture
def mariadb(mariadb_server: MariadbServer) -> Iterator[MariadbDatabase]:
    """A fresh database and its user; both go after the test, together with the sessions left in it."""
    database = mariadb_server.create_database()
    with contextlib.ExitStack() as stack:
        stack.callback(mariadb_server.drop_database, database)
        yield database


@pytest.fixture
def postgres_proxy(postgres_server: PostgresServer, postgres: PostgresDatabase) -> Iterator[PostgresProxy]:
    """A proxy in front of the server; ``url`` is the test's database through it."""
    with PostgresProxy(*postgres_server.address) as proxy:
        proxy.url = postgres.at(proxy.host, proxy.port).url
        yield proxy


@pytest.fixture
def mariadb_proxy(mariadb_server: MariadbServer, mariadb: MariadbDatabase) -> Iterator[MariadbProxy]:
    """A proxy in front of the server; ``url`` is the test's database through it."""
    with MariadbProxy(*mariadb_server.address) as proxy:
        proxy.url = mariadb.at(proxy.host, proxy.port).url
        yield proxy


@pytest.fixture
def table(postgres: PostgresDatabase) -> ResultTable:
    """The result table, empty, in the test's database."""
    return ResultTable(postgres)


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    """Starts processes of the consumer service; whatever state they are in, they end with the test."""
    with Services(tmp_path) as running:
        yield running


@pytest.fixture
def backend(postgres: PostgresDatabase) -> Iterator[SqlBackend]:
    """A database for the stores' tests."""
    with backend_at(postgres.url) as found:
        yield found


@pytest.fixture
def mariadb_backend(mariadb: MariadbDatabase) -> Iterator[SqlBackend]:
    """A database on MariaDB for the stores' tests."""
    with backend_at(mariadb.url) as found:
        yield found


@pytest.fixture
def mariadb_store(mariadb_backend: SqlBackend) -> Iterator[SqlOffsetStore]:
    """An open store in it."""
    with opened_store(mariadb_backend) as found:
        yield found


@pytest.fixture
def store(backend: SqlBackend) -> Iterator[SqlOffsetStore]:
    """An open store in it."""
    with opened_store(backend) as found:
        yield found


@pytest.fixture
def orders(kafka: KafkaServer, postgres: PostgresDatabase) -> Orders:
    postgres.execute("CREATE TABLE results (value text)")
    found = Orders(kafka, postgres, kafka.create_topic())
    found.produce()
    return found


@pytest.fixture
def command_line(orders: Orders, tmp_path: Path) -> Iterator[CommandLine]:
    (tmp_path / "app.py").write_text(APP)
    found = CommandLine(
        tmp_path,
        {
            "TEST_TOPIC": orders.topic,
            "TEST_KAFKA": orders.kafka.bootstrap_servers,
            "TEST_STORE": orders.database.url,
            "TMPDIR": str(tmp_path),
        },
    )
    yield found
    found.end()
