"""Three servers of ZooKeeper, of which a test takes one or two away: who leads, and how to kill and freeze each."""

from __future__ import annotations

import contextlib
import socket
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from integration_tests.engine import CLUSTER_FILE, Compose, DockerEngine, wait_until
from integration_tests.kafka_cluster import NODES, a_port_each
from integration_tests.zookeeper_server import ZooKeeperServer

SERVICES = tuple(f"zookeeper-{node}" for node in NODES)
_TIMEOUT_S = 90.0


@dataclass(frozen=True)
class EnsemblePorts:
    """The ports of one ensemble, by node: for clients, for followers, and for elections."""

    client: dict[int, int] = field(default_factory=a_port_each)
    peer: dict[int, int] = field(default_factory=a_port_each)
    election: dict[int, int] = field(default_factory=a_port_each)

    def variables(self) -> dict[str, str]:
        """What docker-compose.cluster.yml reads."""
        named = {"ENSEMBLE_PORT": self.client, "ENSEMBLE_PEER_PORT": self.peer, "ENSEMBLE_ELECTION_PORT": self.election}
        return {f"{name}_{node}": str(port) for name, ports in named.items() for node, port in ports.items()}


class ZooKeeperEnsemble(ZooKeeperServer):
    """Three servers, two of which have to agree. ``node`` is a server's id."""

    def __init__(self, compose: Compose, ports: EnsemblePorts) -> None:
        super().__init__(",".join(f"127.0.0.1:{port}" for port in ports.client.values()))
        self._ports = ports
        self._compose = compose
        self._paused: set[int] = set()

    def leader(self) -> int:
        """The server that leads, as soon as one does."""
        found: list[int] = []

        def is_led() -> bool:
            found.extend(node for node, mode in self._modes().items() if mode == "leader")
            return bool(found)

        assert wait_until(is_led, _TIMEOUT_S), f"the ensemble has no leader: {self._modes()}"
        return found[-1]

    def kill(self, node: int) -> None:
        """End a server with SIGKILL."""
        self._compose("kill", "--signal", "KILL", f"zookeeper-{node}")

    def pause(self, node: int) -> None:
        """Freeze a server: its connections stay open and nothing answers."""
        self._paused.add(node)
        self._compose("pause", f"zookeeper-{node}")

    def unpause(self, node: int) -> None:
        """Let a frozen server go on."""
        self._compose("unpause", f"zookeeper-{node}")
        self._paused.discard(node)

    def start(self, *nodes: int) -> None:
        """Start servers that were killed."""
        self._compose("start", *(f"zookeeper-{node}" for node in nodes))

    def restore(self) -> None:
        """Whatever a test did to the servers, have all of them up again."""
        for node in sorted(self._paused):
            self.unpause(node)
        self.start(*NODES)
        self.wait_until_up()

    def wait_until_up(self) -> None:
        """Return when one leads and the others follow."""

        def is_whole() -> bool:
            return sorted(self._modes().values()) == ["follower", "follower", "leader"]

        if not wait_until(is_whole, _TIMEOUT_S):
            lines = self._compose("logs", "--tail", "20", *SERVICES)
            raise TimeoutError(f"the ensemble is not whole: {self._modes()}: {lines}")

    def _modes(self) -> dict[int, str]:
        found = {}
        for node, port in self._ports.client.items():
            if node not in self._paused:
                with contextlib.suppress(OSError):
                    found[node] = _mode_at(port)
        return found


def _mode_at(port: int) -> str:
    """What a server calls itself (the four letters ``srvr``); empty while it does not serve."""
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        connection.sendall(b"srvr")
        said = b""
        while data := connection.recv(4096):
            said += data
    lines = said.decode(errors="replace").splitlines()
    return next((line.removeprefix("Mode: ") for line in lines if line.startswith("Mode: ")), "")


@contextlib.contextmanager
def running_ensemble(engine: DockerEngine) -> Iterator[ZooKeeperEnsemble]:
    """Three servers on ports of their own, for as long as the block lasts."""
    ports = EnsemblePorts()
    project = f"kafka-stream-ensemble-{uuid.uuid4().hex[:8]}"
    compose = engine.compose_of(CLUSTER_FILE, project, **ports.variables())
    try:
        compose.up(*SERVICES)
        ensemble = ZooKeeperEnsemble(compose, ports)
        ensemble.wait_until_up()
        yield ensemble
    finally:
        compose("down", "--volumes", "--timeout", "5")


@pytest.fixture(scope="session")
def ensemble_servers(engine: DockerEngine) -> Iterator[ZooKeeperEnsemble]:
    """The containers behind ``zookeeper_ensemble``."""
    with running_ensemble(engine) as ensemble:
        yield ensemble


@pytest.fixture
def zookeeper_ensemble(ensemble_servers: ZooKeeperEnsemble) -> Iterator[ZooKeeperEnsemble]:
    """Three servers, each of which the test may kill and freeze; all are up again for the next test."""
    yield ensemble_servers
    ensemble_servers.restore()
