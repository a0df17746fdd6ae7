"""A PostgreSQL and its synchronous replica, which a test promotes."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest

from integration_tests.engine import CLUSTER_FILE, Compose, DockerEngine, wait_until
from integration_tests.proxy import TcpProxy
from integration_tests.servers import PostgresDatabase, free_port, random_name

PRIMARY, REPLICA = "postgres-primary", "postgres-replica"
_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class FailoverDatabase(PostgresDatabase):
    """A database of both servers: whoever connects gets to the one that takes writes."""

    addresses: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of(cls, name: str, addresses: tuple[tuple[str, int], ...], **options: str) -> FailoverDatabase:
        """By its name; ``options`` are libpq's."""
        hosts = [f"host={host}:{port}" for host, port in addresses]
        more = [f"{option}={value}" for option, value in options.items()]
        query = "&".join([*hosts, "target_session_attrs=read-write", *more])
        return cls(f"postgresql+psycopg://test:test@/{name}?{query}", addresses)

    @property
    def conninfo(self) -> str:
        """As libpq has it."""
        hosts = ",".join(host for host, _ in self.addresses)
        ports = ",".join(str(port) for _, port in self.addresses)
        rest = "target_session_attrs=read-write connect_timeout=3"
        return f"host={hosts} port={ports} user=test password=test dbname={self.name} {rest}"


class PostgresPair:
    """Both servers. ``replication`` is the link between them; ``primary`` and ``replica`` are their ports."""

    def __init__(self, compose: Compose, primary: int, replica: int, replication: TcpProxy) -> None:
        self.primary, self.replica, self.replication = primary, replica, replication
        self._compose = compose
        self._paused: set[str] = set()

    def create_database(self) -> FailoverDatabase:
        """A fresh database on both."""
        name = random_name()
        self.on(self.primary, "test").execute(f'CREATE DATABASE "{name}"')
        return FailoverDatabase.of(name, (("127.0.0.1", self.primary), ("127.0.0.1", self.replica)))

    def on(self, port: int, database: str) -> PostgresDatabase:
        """A database of one of the two, whatever it is in charge of."""
        return PostgresDatabase(f"postgresql+psycopg://test:test@127.0.0.1:{port}/{database}")

    def kill_primary(self) -> None:
        """End it with SIGKILL."""
        self._compose("kill", "--signal", "KILL", PRIMARY)

    def stop_primary(self) -> None:
        """Stop it in order."""
        self._compose("stop", "--timeout", "30", PRIMARY)

    def start_primary(self) -> None:
        """Have it back as it was: it takes itself for the primary still."""
        self._compose("start", PRIMARY)
        self._wait_for(self.primary)

    def pause_primary(self) -> None:
        """Freeze it: its connections stay open and nothing answers."""
        self._compose("pause", PRIMARY)
        self._paused.add(PRIMARY)

    def unpause_primary(self) -> None:
        """Let it go on."""
        self._compose("unpause", PRIMARY)
        self._paused.discard(PRIMARY)

    def pause_replica(self) -> None:
        """Freeze the replica: no commit of the primary's is acknowledged."""
        self._compose("pause", REPLICA)
        self._paused.add(REPLICA)

    def unpause_replica(self) -> None:
        """Let it go on."""
        self._compose("unpause", REPLICA)
        self._paused.discard(REPLICA)

    def promote(self) -> None:
        """Make the replica the primary; return when it takes writes."""
        promoted = self.on(self.replica, "test").execute("SELECT pg_promote(true, 60)")
        assert promoted == [(True,)]

    def is_replicating(self) -> bool:
        """Whether the replica follows, and commits wait for it."""
        query = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync' AND state = 'streaming'"
        return self.on(self.primary, "test").execute(query) == [(1,)]

    def wait_until_up(self) -> None:
        """Return when both answer and the replica follows."""
        self._wait_for(self.primary)
        self._wait_for(self.replica)
        assert wait_until(self.is_replicating, _TIMEOUT_S), self._compose("logs", "--tail", "20", PRIMARY, REPLICA)

    def end(self) -> None:
        """Remove both."""
        for service in sorted(self._paused):
            self._compose("unpause", service)
        self._compose("down", "--volumes", "--timeout", "5")

    def _wait_for(self, port: int) -> None:
        def answers() -> bool:
            with contextlib.suppress(psycopg.OperationalError):
                return bool(self.on(port, "test").execute("SELECT 1"))
            return False

        assert wait_until(answers, _TIMEOUT_S), self._compose("logs", "--tail", "20", PRIMARY, REPLICA)


@contextlib.contextmanager
def running_pair(engine: DockerEngine) -> Iterator[PostgresPair]:
    """A primary and its replica on ports of their own, for as long as the block lasts."""
    primary, replica = free_port(), free_port()
    project = f"kafka-stream-pair-{uuid.uuid4().hex[:8]}"
    with TcpProxy("127.0.0.1", primary) as replication:
        ports = {"PRIMARY_PORT": primary, "REPLICA_PORT": replica, "REPLICATION_PORT": replication.port}
        compose = engine.compose_of(CLUSTER_FILE, project, **{name: str(port) for name, port in ports.items()})
        pair = PostgresPair(compose, primary, replica, replication)
        try:
            compose.up(PRIMARY, REPLICA)
            pair.wait_until_up()
            yield pair
        finally:
            replication.resume()
            pair.end()


@pytest.fixture
def postgres_pair(engine: DockerEngine) -> Iterator[PostgresPair]:
    """Of the test's own: a failover is not taken back."""
    with running_pair(engine) as pair:
        yield pair
