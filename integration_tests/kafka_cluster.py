"""Three brokers, of which a test takes one away: who leads what, and how to kill, freeze and stop each."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from integration_tests.engine import CLUSTER_FILE, Compose, DockerEngine, wait_until
from integration_tests.framed_proxy import framed_messages
from integration_tests.servers import KafkaServer, cluster_id, free_port, random_name

NODES = (1, 2, 3)
BROKERS = tuple(f"kafka-{node}" for node in NODES)
"""The services of docker-compose.cluster.yml that are brokers."""
_TIMEOUT_S = 120.0
_START_AGAIN_S = 20.0
_HASH_BITS = 32


def a_port_each() -> dict[int, int]:
    """Ports of 127.0.0.1 by node, no two of them the same."""
    found: set[int] = set()
    while len(found) < len(NODES):
        found.add(free_port())
    return dict(zip(NODES, found, strict=True))


@dataclass(frozen=True)
class ClusterPorts:
    """The ports of one cluster, by node: for clients (``broker`` and ``linked``), other brokers, and controllers.

    Who comes in by ``linked`` is sent on to ``link``, where a proxy may be: without one it is the same.
    """

    broker: dict[int, int] = field(default_factory=a_port_each)
    linked: dict[int, int] = field(default_factory=a_port_each)
    between: dict[int, int] = field(default_factory=a_port_each)
    controller: dict[int, int] = field(default_factory=a_port_each)
    link: dict[int, int] = field(default_factory=dict)

    @property
    def bootstrap_servers(self) -> str:
        """All brokers' addresses."""
        return ",".join(f"127.0.0.1:{port}" for port in self.broker.values())

    def variables(self) -> dict[str, str]:
        """What docker-compose.cluster.yml reads."""
        named = {
            "BROKER": self.broker,
            "LINKED": self.linked,
            "LINK": self.link or self.linked,
            "BETWEEN": self.between,
            "CONTROLLER": self.controller,
        }
        return {f"{name}_PORT_{node}": str(port) for name, ports in named.items() for node, port in ports.items()}


class KafkaCluster(KafkaServer):
    """Three brokers; topics are on all of them, and two must have what is acknowledged. ``node`` is a broker's id."""

    def __init__(self, compose: Compose, ports: ClusterPorts) -> None:
        super().__init__(ports.bootstrap_servers, replicas=len(NODES))
        self.ports = ports
        self._compose = compose
        self._paused: set[int] = set()

    def leader_of(self, topic: str, partition: int) -> int:
        """The broker that leads a partition, as soon as one does."""
        found: list[int] = []

        def is_led() -> bool:
            with contextlib.suppress(KafkaException):
                topics = AdminClient(self._config()).list_topics(timeout=5).topics
                if topic in topics and (leader := topics[topic].partitions[partition].leader) >= 0:
                    found.append(leader)
            return bool(found)

        assert wait_until(is_led, _TIMEOUT_S), f"{topic}[{partition}] has no leader"
        return found[-1]

    def coordinator_of(self, group_id: str) -> int:
        """The broker that keeps a group's offsets, whether the group exists or not."""
        return self.leader_of("__consumer_offsets", _partition_of(group_id))

    def transaction_coordinator_of(self, transactional_id: str) -> int:
        """The broker that keeps the state of an id's transactions."""
        return self.leader_of("__transaction_state", _partition_of(transactional_id))

    def controller(self) -> int:
        """The broker that leads the cluster's own log, as soon as one does; brokers tell clients of any other one."""
        found: list[int] = []

        def is_led() -> bool:
            for node, port in self.ports.broker.items():
                if node not in self._paused:
                    with contextlib.suppress(OSError, struct.error, IndexError):
                        found.extend(leader for leader in [_quorum_leader(port)] if leader in NODES)
            return bool(found)

        assert wait_until(is_led, _TIMEOUT_S), "the cluster has no controller"
        return found[-1]

    def name_beside(self, group_id: str) -> str:
        """A new name of a group that has the same coordinator, wherever that goes."""
        return next(
            name for name in iter(lambda: random_name("stream"), "") if _partition_of(name) == _partition_of(group_id)
        )

    def replicas_of(self, topic: str) -> dict[int, list[int]]:
        """The brokers that each partition of a topic is on, the preferred one first."""
        partitions = AdminClient(self._config()).list_topics(topic, timeout=_TIMEOUT_S).topics[topic].partitions
        return {number: list(partition.replicas) for number, partition in sorted(partitions.items())}

    def client(self) -> AdminClient:
        """A new client, for what is not to be had here."""
        return AdminClient(self._config())

    def in_sync(self, topic: str, partition: int) -> list[int]:
        """The brokers that have all of a partition, as it is known now."""
        found = AdminClient(self._config()).list_topics(topic, timeout=_TIMEOUT_S).topics[topic]
        return sorted(found.partitions[partition].isrs)

    def create_topic(self, name: str | None = None, partitions: int = 4, **config: object) -> str:
        """As one broker does; asked for again while the three are still to agree on their controller."""
        wanted, created = name or random_name(), super().create_topic

        def is_created() -> bool:
            try:
                created(wanted, partitions, **config)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.NOT_CONTROLLER:
                    raise
                return False
            return True

        assert wait_until(is_created, _TIMEOUT_S), f"no broker took topic {wanted}"
        return wanted

    def kill(self, node: int) -> None:
        """End a broker with SIGKILL."""
        self._compose("kill", "--signal", "KILL", f"kafka-{node}")

    def stop(self, node: int) -> None:
        """Stop a broker in order: it hands over what it leads first."""
        self._compose("stop", "--timeout", "30", f"kafka-{node}")

    def start(self, node: int) -> None:
        """Start a broker that was killed or stopped; ``wait_until_up`` waits for it."""
        self._compose("start", f"kafka-{node}")

    def pause(self, node: int) -> None:
        """Freeze a broker: its connections stay open and nothing answers."""
        self._paused.add(node)

        def is_frozen() -> bool:  # which the kernel may not manage at once where others have the processors
            with contextlib.suppress(RuntimeError):
                self._compose("pause", f"kafka-{node}")
                return True
            return False

        assert wait_until(is_frozen, _TIMEOUT_S), f"broker {node} cannot be frozen"

    def unpause(self, node: int) -> None:
        """Let a frozen broker go on."""
        self._compose("unpause", f"kafka-{node}")
        self._paused.discard(node)

    def restore(self) -> None:
        """Whatever a test did to the brokers, have all of them up again."""
        self._producer = None  # it may have forgotten brokers
        for node in sorted(self._paused):
            self.unpause(node)
        self._compose("start", *BROKERS)
        self.wait_until_up()

    def missing(self) -> str | None:
        """Why the cluster is not whole; None if every partition has its leader and all of its replicas."""
        # Without a controller a broker tells of the others as they were.
        if gone := [node for node, port in self.ports.broker.items() if not _takes_connections(port)]:
            return f"brokers {gone} take no connections"
        self._admin = AdminClient(self._config())
        try:
            found = self._admin.list_topics(timeout=5)
        except KafkaException as error:
            return f"it does not answer ({error})"
        if len(found.brokers) < len(NODES):
            return f"only brokers {sorted(found.brokers)} are there"
        lacking = [
            f"{name}[{number}]"
            for name, topic in found.topics.items()
            for number, partition in topic.partitions.items()
            if partition.leader < 0 or len(partition.isrs) < len(partition.replicas)
        ]
        return f"partitions without all of their replicas: {lacking[:5]}" if lacking else None

    def wait_until_up(self) -> None:
        """Return when all brokers answer and every partition has its leader and replicas.

        A broker may end by itself: one that is told to stop before it was quite up, say. It is started again, as its
        supervisor would.
        """
        deadline = time.monotonic() + _TIMEOUT_S
        while not wait_until(self.is_up, _START_AGAIN_S):
            if time.monotonic() > deadline:
                lines = self._compose("logs", "--tail", "20", *BROKERS)
                raise TimeoutError(f"the cluster is not whole: {self.missing()}: {lines}")
            self._compose("start", *(f"kafka-{node}" for node in NODES if node not in self._paused))


def _partition_of(key: str) -> int:
    """As Java's ``String.hashCode`` has it, among the four partitions of docker-compose.yml."""
    hashed = 0
    for character in key:
        hashed = (31 * hashed + ord(character)) % 2**_HASH_BITS
    return (hashed & 0x7FFFFFFF) % 4


def _takes_connections(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


def _quorum_leader(port: int) -> int:
    """What a broker says who leads the cluster's metadata (KIP-595, DescribeQuorum in its first version)."""
    topic = b"__cluster_metadata"
    body = b"\x02" + bytes([len(topic) + 1]) + topic + b"\x02" + struct.pack(">i", 0) + b"\0\0\0"
    request = struct.pack(">hhih", 55, 0, 1, -1) + b"\0" + body
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        answer = next(framed_messages(connection), b"")
    leader_at = 4 + 4 + 1 + 2 + 1 + 1 + len(topic) + 1 + 4 + 2
    (leader,) = struct.unpack_from(">i", answer, leader_at)
    return int(leader)


@contextlib.contextmanager
def running_cluster(
    engine: DockerEngine, ports: ClusterPorts | None = None, **variables: str
) -> Iterator[KafkaCluster]:
    """A cluster on ports of its own, for as long as the block lasts; ``variables`` are docker-compose.cluster.yml's."""
    ports = ports or ClusterPorts()
    project = f"kafka-stream-cluster-{uuid.uuid4().hex[:8]}"
    variables = {"KAFKA_CLUSTER_ID": cluster_id(), **ports.variables(), **variables}
    compose = engine.compose_of(CLUSTER_FILE, project, **variables)
    try:
        compose.up(*BROKERS)
        cluster = KafkaCluster(compose, ports)
        cluster.wait_until_up()
        topic = cluster.create_topic(partitions=1)  # used, so that Kafka's own topics exist while all are there
        cluster.transaction(topic, ["a record"])
        cluster.read_committed(topic)
        cluster.wait_until_up()
        yield cluster
    finally:
        compose("down", "--volumes", "--timeout", "5")


@pytest.fixture(scope="session")
def cluster_brokers(engine: DockerEngine) -> Iterator[KafkaCluster]:
    """The containers behind ``kafka_cluster``."""
    with running_cluster(engine) as cluster:
        yield cluster


@pytest.fixture
def kafka_cluster(cluster_brokers: KafkaCluster) -> Iterator[KafkaCluster]:
    """Three brokers, each of which the test may kill, stop and freeze; all are up again for the next test."""
    yield cluster_brokers
    cluster_brokers.restore()
