"""The servers that are measured: those of the tests' compose file, with durability on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks import records
from integration_tests.engine import docker_engine
from integration_tests.mariadb_server import MariadbServer
from integration_tests.servers import KafkaServer, PostgresServer, ServerPorts

DURABLE = {"POSTGRES_FSYNC": "on", "MARIADB_FLUSH_LOG": "1"}


@dataclass
class Servers:
    """A broker with filled topics, and databases to be had."""

    kafka: KafkaServer
    postgres: PostgresServer
    mariadb: MariadbServer | None

    def __post_init__(self) -> None:
        self._topics: dict[tuple[int, int, int], str] = {}

    def topic(self, partitions: int, count: int, keys: int) -> str:
        """A topic that holds so many records of so many keys; the same one each time."""
        wanted = (partitions, count, keys)
        if wanted not in self._topics:
            topic = self.kafka.create_topic(partitions=partitions, retention_ms=-1)  # their times are of long ago
            self._topics[wanted] = topic
            records.produce(self.kafka.bootstrap_servers, topic, count, keys)
        return self._topics[wanted]

    @contextlib.contextmanager
    def database(self, server: str) -> Iterator[str]:
        """The URL of a fresh database of that server; of none, if it is empty."""
        if server == "postgres":
            database = self.postgres.create_database()
            database.execute("CHECKPOINT")  # else one contender may pay for what another one wrote
            try:
                yield database.url
            finally:
                self.postgres.drop_database(database)
        elif server == "mariadb":
            assert self.mariadb is not None, "no MariaDB is there"
            in_mariadb = self.mariadb.create_database()
            try:
                yield in_mariadb.url
            finally:
                self.mariadb.drop_database(in_mariadb)
        else:
            yield ""


@contextlib.contextmanager
def running() -> Iterator[Servers]:
    """The servers that ``KAFKA_STREAM_BENCH_KAFKA``, ``…_POSTGRES`` and ``…_MARIADB`` name, or ones of our own."""
    named = {name: os.environ.get(f"KAFKA_STREAM_BENCH_{name}") for name in ("KAFKA", "POSTGRES", "MARIADB")}
    with contextlib.ExitStack() as stack:
        if not named["KAFKA"] or not named["POSTGRES"]:
            named.update(stack.enter_context(_started()))
        kafka, postgres, mariadb = named["KAFKA"], named["POSTGRES"], named["MARIADB"]
        assert kafka is not None and postgres is not None
        servers = Servers(KafkaServer(kafka), PostgresServer(postgres), MariadbServer(mariadb) if mariadb else None)
        stack.callback(servers.kafka.delete_created_topics)
        yield servers


@contextlib.contextmanager
def _started() -> Iterator[dict[str, str | None]]:
    ports = ServerPorts()
    with docker_engine() as engine:
        compose = engine.compose(f"kafka-stream-bench-{os.getpid()}", **ports.variables(), **DURABLE)
        try:
            compose("up", "--detach", "--wait", "--wait-timeout", "180", "kafka", "postgres", "mariadb")
            yield {"KAFKA": ports.bootstrap_servers, "POSTGRES": ports.postgres_url, "MARIADB": ports.mariadb_url}
        finally:
            compose("down", "--volumes", "--timeout", "5")
