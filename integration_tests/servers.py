"""Kafka and PostgreSQL as the tests see them, through plain clients of their own: nothing here uses the library."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import shlex
import socket
import subprocess
import uuid
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psycopg
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.admin._metadata import TopicMetadata
from confluent_kafka.cimpl import NewPartitions, NewTopic

from integration_tests import log_tail
from integration_tests.engine import Compose, wait_until

# A leader that was just elected may not know it yet; the admin client does not call these errors retriable.
_LEADER_NOT_READY = {
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.UNKNOWN_LEADER_EPOCH,
}

Text = bytes | str | None
Record = Text | tuple[Text, Text]
"""A value, or a key and a value."""

KEPT_PROJECT = "kafka-stream-kept"
KEPT_PORTS = "ports.json"

_TIMEOUT_S = 60.0
_KAFKA_DATA = "/var/lib/kafka/data"
# Librdkafka would log every refused connection to stderr, and back off for 10 s while a broker is down.
_CLIENT = {"log_level": 2, "reconnect.backoff.max.ms": 500, "socket.connection.setup.timeout.ms": 5000}
_GIVEN: deque[int] = deque(maxlen=500)


def random_name(prefix: str = "t") -> str:
    """A name that no other test has; fit for topics, databases and streams."""
    return f"{prefix}_{uuid.uuid4().hex[:12]}"


def free_port() -> int:
    """A port on 127.0.0.1 that nothing listens on now, nor will by chance.

    It lies below the ports that the kernel hands to clients: while a broker is down, a client that keeps dialling a
    port of that range may be given that very port, and then has connected to itself. Each of several workers of one run
    has ports of its own to choose from, and the last ones that were given are not given again: whoever has one of them
    may not listen yet.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = 20_000 + 1_500 * (worker % 8)
    for port in random.sample(range(first, first + 1_500), 200):
        with contextlib.suppress(OSError), socket.socket() as probe:
            if port not in _GIVEN:
                probe.bind(("127.0.0.1", port))
                _GIVEN.append(port)
                return port
    raise RuntimeError(f"no port between {first} and {first + 1_500} is free on 127.0.0.1")


def cluster_id() -> str:
    """The id of a new Kafka cluster; the tool that formats its disks would take a dash at its start for an option."""
    found = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    return cluster_id() if found.startswith("-") else found


@dataclass(frozen=True)
class ServerPorts:
    """The ports of one copy of docker-compose.yml's servers."""

    kafka: int = field(default_factory=free_port)
    kafka_controller: int = field(default_factory=free_port)
    postgres: int = field(default_factory=free_port)
    zookeeper: int = field(default_factory=free_port)
    mariadb: int = field(default_factory=free_port)

    @classmethod
    def kept(cls, path: Path) -> ServerPorts:
        """The ports that an earlier run wrote down, or new ones; they are written down."""
        ports = cls(**json.loads(path.read_text())) if path.exists() else cls()
        path.write_text(json.dumps(vars(ports)))
        return ports

    @property
    def bootstrap_servers(self) -> str:
        """Kafka's address."""
        return f"127.0.0.1:{self.kafka}"

    @property
    def postgres_url(self) -> str:
        """PostgreSQL's administrative database, as a SQLAlchemy URL."""
        return f"postgresql+psycopg://test:test@127.0.0.1:{self.postgres}/test"

    @property
    def zookeeper_address(self) -> str:
        """ZooKeeper's address."""
        return f"127.0.0.1:{self.zookeeper}"

    @property
    def mariadb_url(self) -> str:
        """MariaDB's administrative database, as a SQLAlchemy URL."""
        return f"mysql+pymysql://root:test@127.0.0.1:{self.mariadb}/mysql"

    def variables(self) -> dict[str, str]:
        """What docker-compose.yml reads."""
        return {
            "KAFKA_PORT": str(self.kafka),
            "KAFKA_CONTROLLER_PORT": str(self.kafka_controller),
            "POSTGRES_PORT": str(self.postgres),
            "ZOOKEEPER_PORT": str(self.zookeeper),
            "MARIADB_PORT": str(self.mariadb),
        }


class OpenTransaction:
    """A Kafka transaction whose records are in the log, and which nobody has ended yet."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer

    def commit(self) -> None:
        """Make the records visible to read-committed consumers."""
        self._producer.commit_transaction(_TIMEOUT_S)

    def abort(self) -> None:
        """End it; read-committed consumers never see the records."""
        self._producer.abort_transaction(_TIMEOUT_S)


class KafkaServer:
    """A broker, or several, and what tests do to it from outside."""

    def __init__(self, bootstrap_servers: str, replicas: int = 1) -> None:
        self.bootstrap_servers = bootstrap_servers
        self._replicas = replicas
        self._created_topics: set[str] = set()
        self._producer: Producer | None = None
        self._admin = AdminClient(self._config())

    def _config(self, **more: Any) -> dict[str, Any]:
        named = {name.replace("_", "."): value for name, value in more.items()}
        return {"bootstrap.servers": self.bootstrap_servers, **_CLIENT, **named}

    def is_up(self) -> bool:
        """Whether the broker answers and every partition has a leader."""
        return self.missing() is None

    def missing(self) -> str | None:
        """Why the broker is not up; None if it answers and every partition has a leader."""
        self._admin = AdminClient(self._config())  # another may have forgotten the broker (librdkafka issue 5301)
        try:
            topics = self._admin.list_topics(timeout=2).topics
        except KafkaException as error:
            return f"it does not answer ({error})"
        leaderless = {
            name: numbers
            for name, topic in topics.items()
            if (numbers := [number for number, partition in topic.partitions.items() if partition.leader < 0])
        }
        return f"partitions without a leader: {leaderless}" if leaderless else None

    def create_topic(self, name: str | None = None, partitions: int = 4, **config: object) -> str:
        """Create a topic, wait until it can be used, and return its name. ``segment_bytes=…`` is ``segment.bytes``."""
        name = name or random_name()
        settings = {key.replace("_", "."): str(value) for key, value in config.items()}
        created = self._admin.create_topics([NewTopic(name, partitions, self._replicas, config=settings)])
        created[name].result(_TIMEOUT_S)
        self._wait_for_partitions(name, partitions)
        self._created_topics.add(name)
        return name

    def delete_topic(self, name: str) -> None:
        """Delete a topic and wait until the broker no longer lists it."""
        self._producer = None  # its sequence numbers would not begin anew with a new topic of that name
        self._admin.delete_topics([name])[name].result(_TIMEOUT_S)
        self._created_topics.discard(name)
        if not wait_until(lambda: self._topic(name) is None, _TIMEOUT_S):
            raise TimeoutError(f"topic {name} is still there {_TIMEOUT_S:.0f} s after it was deleted")

    def delete_created_topics(self) -> None:
        """Delete what ``create_topic`` created and nobody deleted."""
        if self._created_topics:
            # Each name once: a request with a name twice ends the process with a segmentation fault.
            for deleted in self._admin.delete_topics(sorted(self._created_topics)).values():
                deleted.result(_TIMEOUT_S)
        self._created_topics = set()

    def add_partitions(self, name: str, total: int) -> None:
        """Give a topic more partitions, ``total`` in all."""
        self._producer = None  # it remembers for minutes how many there were
        self._admin.create_partitions([NewPartitions(name, total)])[name].result(_TIMEOUT_S)
        self._wait_for_partitions(name, total)

    def topic_id(self, name: str) -> str:
        """The id that tells a topic from an earlier one of its name."""
        described = self._admin.describe_topics(TopicCollection([name]))[name].result(_TIMEOUT_S)
        return str(described.topic_id)

    def _wait_for_partitions(self, name: str, total: int) -> None:
        def usable() -> bool:
            topic = self._topic(name)
            return (
                topic is not None
                and len(topic.partitions) == total
                and all(p.leader >= 0 for p in topic.partitions.values())
            )

        if not wait_until(usable, _TIMEOUT_S):
            raise TimeoutError(f"topic {name} has not got its {total} partitions within {_TIMEOUT_S:.0f} s")

    def produce(self, topic: str, records: Iterable[Record], partition: int | None = None) -> None:
        """Produce outside of any transaction; returns when the broker has acknowledged every record.

        Without ``partition`` the key decides, and records without a key are spread by the client.
        """
        if self._producer is None:
            self._producer = Producer(self._config(enable_idempotence=True, linger_ms=20, compression_type="lz4"))
        failed = _send(self._producer, topic, records, partition)
        if (left := self._producer.flush(_TIMEOUT_S)) or failed:
            raise RuntimeError(f"{left} records to {topic} were not delivered; {len(failed)} failed: {failed[:1]}")

    def produce_large(self, topic: str, value_bytes: int, partition: int) -> None:
        """Produce one record of a value of that size; the topic must take it (``max_message_bytes=…``)."""
        producer = Producer(self._config(message_max_bytes=2 * value_bytes))
        failed = _send(producer, topic, [b"x" * value_bytes], partition)
        if producer.flush(_TIMEOUT_S) or failed:
            raise RuntimeError(f"a record of {value_bytes} bytes to {topic} was not delivered: {failed}")

    def open_transaction(
        self, topic: str, values: Iterable[Record], partition: int | None = None, timeout_s: float = 600
    ) -> OpenTransaction:
        """Write records in a transaction and leave it open; the broker aborts it by itself after ``timeout_s``."""
        config = self._config(transactional_id=random_name("test-producer"), linger_ms=5)
        producer = Producer({**config, "transaction.timeout.ms": int(timeout_s * 1000)})
        producer.init_transactions(_TIMEOUT_S)
        producer.begin_transaction()
        failed = _send(producer, topic, values, partition)
        if (left := producer.flush(_TIMEOUT_S)) or failed:
            raise RuntimeError(f"{left} records to {topic} were not delivered; {len(failed)} failed: {failed[:1]}")
        return OpenTransaction(producer)

    def transaction(
        self,
        topic: str,
        values: Iterable[Record],
        partition: int | None = None,
        outcome: Literal["commit", "abort"] = "commit",
    ) -> None:
        """Write records in a transaction of their own and end it."""
        opened = self.open_transaction(topic, values, partition)
        if outcome == "commit":
            opened.commit()
        else:
            opened.abort()

    def delete_records(self, topic: str, partition: int, before_offset: int) -> None:
        """Do what retention does: move the log's start to ``before_offset``."""
        wanted = TopicPartition(topic, partition, before_offset)
        for deleted in self._admin.delete_records([wanted]).values():
            deleted.result(_TIMEOUT_S)

    def end_offsets(self, topic: str, *, committed: bool = True) -> dict[int, int]:
        """Each partition's end: the last stable offset, or with ``committed=False`` the high watermark."""
        isolation = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        partitions = self._partitions(topic)
        latest: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        asked = dict.fromkeys(partitions, latest)
        found: dict[int, int] = {}

        def answered() -> bool:
            answers = self._admin.list_offsets(asked, isolation_level=isolation)
            try:
                found.update({tp.partition: answer.result(_TIMEOUT_S).offset for tp, answer in answers.items()})
            except KafkaException as error:
                if error.args[0].code() not in _LEADER_NOT_READY:
                    raise
            return len(found) == len(asked)

        if not wait_until(answered, _TIMEOUT_S):
            raise TimeoutError(f"{topic}: no end offsets within {_TIMEOUT_S:.0f} s")
        return found

    def _partitions(self, topic: str) -> list[TopicPartition]:
        if (found := self._topic(topic)) is None:
            raise ValueError(f"topic {topic} does not exist")
        return [TopicPartition(topic, number, OFFSET_BEGINNING) for number in sorted(found.partitions)]

    def _topic(self, name: str) -> TopicMetadata | None:
        # Asking for a topic by its name would create it, where the broker is set to do so.
        return self._admin.list_topics(timeout=_TIMEOUT_S).topics.get(name)

    def read_committed(self, topic: str) -> list[tuple[int, int, bytes | None, bytes | None]]:
        """Every committed record up to the last stable offsets: (partition, offset, key, value), sorted."""
        config = self._config(group_id=random_name("reader"), isolation_level="read_committed")
        config |= {"enable.partition.eof": True, "enable.auto.commit": False, "auto.offset.reset": "earliest"}
        config["fetch.wait.max.ms"] = 20
        records: list[tuple[int, int, bytes | None, bytes | None]] = []
        partitions = self._partitions(topic)
        reading = {tp.partition for tp in partitions}
        with Consumer(config) as consumer:
            consumer.assign(partitions)

            def drained() -> bool:
                for message in consumer.consume(10_000, 0.2):
                    number, offset = message.partition() or 0, message.offset() or 0
                    if (error := message.error()) is None:
                        records.append((number, offset, _bytes(message.key()), _bytes(message.value())))
                    elif error.code() == KafkaError._PARTITION_EOF:
                        reading.discard(number)
                    elif not error.retriable():
                        raise KafkaException(error)
                return not reading

            if not wait_until(drained, 4 * _TIMEOUT_S):
                raise TimeoutError(f"{topic}: no end seen of partitions {sorted(reading)}")
        return sorted(records, key=lambda record: record[:2])


def _bytes(data: str | bytes | None) -> bytes | None:
    return data.encode() if isinstance(data, str) else data


def _send(producer: Producer, topic: str, records: Iterable[Record], partition: int | None) -> list[KafkaError]:
    """Hand all records to the producer; the list gets the errors, up to the flush that follows."""
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: object) -> None:
        if error is not None:
            failed.append(error)

    for record in records:
        key, value = record if isinstance(record, tuple) else (None, record)
        number = -1 if partition is None else partition
        while True:
            try:
                producer.produce(topic, value, key, number, on_delivery=delivered)
            except BufferError:
                producer.poll(0.1)  # the queue is full: wait for deliveries
            else:
                break
        producer.poll(0)
    return failed


class PrivateKafka(KafkaServer):
    """A broker in a container of its own, which a test may kill, stop, freeze, and rob of its log's tail."""

    def __init__(self, compose: Compose, ports: ServerPorts) -> None:
        super().__init__(ports.bootstrap_servers)
        self._compose = compose
        self._paused = False

    def kill(self) -> None:
        """End the broker with SIGKILL."""
        self._producer = None  # its sequence numbers may be cut off the log
        self._compose("kill", "--signal", "KILL", "kafka")

    def stop(self) -> None:
        """Stop the broker in order."""
        self._producer = None
        self._compose("stop", "--timeout", "30", "kafka")

    def start(self) -> None:
        """Start the broker, and return when it answers and every partition has its leader."""
        self._compose("start", "kafka")
        self.wait_until_up()

    def pause(self) -> None:
        """Freeze the broker: its connections stay open and nothing answers."""
        self._producer = None  # it may forget the broker when that goes on, fenced for a moment
        self._compose("pause", "kafka")
        self._paused = True

    def unpause(self) -> None:
        """Let a frozen broker go on."""
        self._compose("unpause", "kafka")
        self._paused = False

    def restore(self) -> None:
        """Whatever a test did to the broker, have it up again."""
        if self._paused:
            self.unpause()
        self.start()

    def wait_until_up(self) -> None:
        """Return when the broker answers and every partition has its leader."""
        if not wait_until(self.is_up, 2 * _TIMEOUT_S):
            log = self._compose("logs", "--tail", "20", "kafka")
            raise TimeoutError(f"the broker at {self.bootstrap_servers} does not come up; {self.missing()}: {log}")

    def truncate_tail(self, topic: str, partition: int, from_offset: int) -> int:
        """While the broker is stopped, remove the record batches from ``from_offset`` on; return the new log end.

        The cut lies between batches, so the log may end before ``from_offset``. Indexes, producer snapshots and the
        marks of a clean shutdown go too: the broker then recovers the log from what the segments still hold.
        """
        container = self._compose.container("kafka")
        if _docker("inspect", "--format", "{{.State.Running}}", container).strip() != b"false":
            raise ValueError("stop or kill the broker before its log is cut")
        directory = f"{_KAFKA_DATA}/{topic}-{partition}"
        logs = log_tail.segments(_docker("cp", f"{container}:{directory}", "-"))
        cut = log_tail.cut_before(logs, from_offset)
        script = (
            f"set -eu; cd {_KAFKA_DATA}; rm -f .kafka_cleanshutdown recovery-point-offset-checkpoint; "
            f"cd {shlex.quote(directory)}; truncate -s {cut.size} {cut.segment}; "
            f"rm -f {' '.join(cut.later_segments)} *.index *.timeindex *.txnindex *.snapshot"
        )
        shell = ("run", "--rm", "--network", "none", "--volumes-from", container, "--entrypoint", "/bin/sh")
        _docker(*shell, self._compose.environment["KAFKA_IMAGE"], "-c", script)
        return cut.end_offset


def _docker(*arguments: str) -> bytes:
    done = subprocess.run(["docker", *arguments], capture_output=True, timeout=120, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"`docker {arguments[0]}` failed: {done.stderr.decode(errors='replace')[-2000:]}")
    return done.stdout


@dataclass(frozen=True)
class PostgresDatabase:
    """A database of one test's own; ``url`` is SQLAlchemy's."""

    url: str

    @property
    def conninfo(self) -> str:
        """The same address for psycopg and libpq."""
        return self.url.replace("postgresql+psycopg://", "postgresql://", 1)

    @property
    def name(self) -> str:
        """The database's name."""
        return self.url.partition("?")[0].rpartition("/")[2]

    def execute(self, sql: str, parameters: tuple[Any, ...] | Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Run a statement in autocommit on a connection of its own; return its rows, if it has any."""
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            cursor = connection.execute(sql.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def at(self, host: str, port: int) -> PostgresDatabase:
        """The same database behind another address, unencrypted, so that a proxy can read what passes."""
        conninfo = psycopg.conninfo.conninfo_to_dict(self.conninfo)
        user, password = conninfo["user"], conninfo["password"]
        options = "sslmode=disable&gssencmode=disable"
        return PostgresDatabase(f"postgresql+psycopg://{user}:{password}@{host}:{port}/{self.name}?{options}")


class PostgresServer:
    """A server, where each test gets a database of its own."""

    def __init__(self, url: str) -> None:
        self._admin = PostgresDatabase(url)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        conninfo = psycopg.conninfo.conninfo_to_dict(self._admin.conninfo)
        return str(conninfo["host"]), int(conninfo.get("port") or 5432)

    def create_database(self) -> PostgresDatabase:
        """A fresh, empty database."""
        name = random_name()
        self._admin.execute(f'CREATE DATABASE "{name}"')
        base, _, options = self._admin.url.partition("?")
        return PostgresDatabase(f"{base.rpartition('/')[0]}/{name}" + (f"?{options}" if options else ""))

    def drop_database(self, database: PostgresDatabase) -> None:
        """Drop it, and end the sessions that are left in it.

        The server waits up to a minute for clients anywhere that froze while they logged in: cut those first.
        """
        self._admin.execute(f'DROP DATABASE IF EXISTS "{database.name}" WITH (FORCE)')
