"""PostgreSQL, MariaDB and ZooKeeper that speak TLS, with certificates of a test's own authority."""

from __future__ import annotations

import contextlib
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from integration_tests.engine import TLS_FILE, DockerEngine, wait_until
from integration_tests.mariadb_server import MariadbServer
from integration_tests.servers import PostgresDatabase, ServerPorts, free_port
from integration_tests.tls_listener import Authority, Certificate, TlsListener

_WAIT_S = 60.0
_PASSWORD = "database-secret"


@dataclass
class TlsServers:
    """Three servers, and the URLs by which a store reaches them encrypted.

    Each URL takes the certificate of an authority, and may take another password and another name for 127.0.0.1, which
    the certificate is not for.
    """

    ports: ServerPorts
    zookeeper_port: int
    authority: Authority
    other_authority: Authority
    mounted: Path

    @property
    def _right(self) -> str:
        return str(self.authority.certificate)

    def postgres(self, ca: str | None = None, password: str = _PASSWORD, host: str = "127.0.0.1") -> str:
        """Of a database of one user's own."""
        where = f"postgresql://tls:{password}@{host}:{self.ports.postgres}/tls"
        return f"{where}?sslmode=verify-full&sslrootcert={ca or self._right}"

    def mariadb(self, ca: str | None = None, password: str = _PASSWORD, host: str = "127.0.0.1") -> str:
        """Of a database of one user's own, who may not log in without TLS."""
        return f"mysql://tls:{password}@{host}:{self.ports.mariadb}/tls?ssl_ca={ca or self._right}"

    def zookeeper(self, ca: str | None = None, password: str = _PASSWORD, host: str = "127.0.0.1") -> str:
        """Of one chroot; whose znodes are there are the first password's."""
        where = f"zookeeper://tls:{password}@{host}:{self.zookeeper_port}/tls"
        return f"{where}?use_ssl=true&ca={ca or self._right}"

    def prepare(self) -> None:
        """Users and databases, and PostgreSQL's certificate."""
        postgres = PostgresDatabase(self.ports.postgres_url)
        self._load_certificate(postgres)
        for setting, name in (("ssl_cert_file", "server.pem"), ("ssl_key_file", "server.key"), ("ssl", "on")):
            postgres.execute(f"ALTER SYSTEM SET {setting} = '{name}'")
        postgres.execute("SELECT pg_reload_conf()")
        assert wait_until(lambda: postgres.execute("SHOW ssl") == [("on",)], _WAIT_S)
        postgres.execute(f"CREATE USER tls PASSWORD '{_PASSWORD}'")
        postgres.execute("CREATE DATABASE tls OWNER tls")
        mariadb = MariadbServer(self.ports.mariadb_url)
        mariadb.execute("CREATE DATABASE tls CHARACTER SET utf8mb4")
        mariadb.execute("CREATE USER tls@'%%' IDENTIFIED BY %s REQUIRE SSL", (_PASSWORD,))
        mariadb.execute("GRANT ALL ON tls.* TO tls@'%'")

    @contextlib.contextmanager
    def expired(self) -> Iterator[None]:
        """The databases show an expired certificate to new connections; something that does stands for ZooKeeper."""
        expired, port = self.authority.issue("expired", days=-1), self.zookeeper_port
        self._show(expired)
        try:
            with TlsListener(expired) as listener:
                self.zookeeper_port = int(listener.address.partition(":")[2])
                yield
        finally:
            self.zookeeper_port = port
            self._show(self.authority.issue("server"))

    def end_sessions(self, store: str) -> None:
        """Those of a database's user that are connected now."""
        if store == "postgresql":
            ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'tls'"
            PostgresDatabase(self.ports.postgres_url).execute(ends)
        else:
            MariadbServer(self.ports.mariadb_url).execute("KILL USER tls")

    def _show(self, certificate: Certificate) -> None:
        write_certificate(certificate, self.mounted)
        postgres = PostgresDatabase(self.ports.postgres_url)
        self._load_certificate(postgres)
        before = postgres.execute("SELECT pg_conf_load_time()")
        postgres.execute("SELECT pg_reload_conf()")
        assert wait_until(lambda: postgres.execute("SELECT pg_conf_load_time()") != before, _WAIT_S)
        MariadbServer(self.ports.mariadb_url).execute("FLUSH SSL")

    def _load_certificate(self, postgres: PostgresDatabase) -> None:
        """Into PostgreSQL's own folder, since the key must be its own."""
        for name, mode in (("server.pem", "644"), ("server.key", "600")):
            content = (self.mounted / name).read_text()
            write = f"COPY (SELECT 1) TO PROGRAM 'cat > {name} <<EOF\n{content}EOF\nchmod {mode} {name}'"
            postgres.execute(write)


def write_certificate(certificate: Certificate, mounted: Path) -> None:
    """What the servers read, where they read it."""
    key, shown = certificate.key.read_text(), certificate.path.read_text()
    for name, content in (("server.key", key), ("server.pem", shown), ("server.keystore", key + shown)):
        (mounted / name).write_text(content)
        (mounted / name).chmod(0o644)


@contextlib.contextmanager
def running_tls_servers(engine: DockerEngine) -> Iterator[TlsServers]:
    """Such servers on ports of their own, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="kafka-stream-tls-") as directory:
        authority, other = Authority(Path(directory) / "authority"), Authority(Path(directory) / "other-authority")
        mounted = Path(directory) / "servers"
        mounted.mkdir()
        write_certificate(authority.issue("server"), mounted)
        (mounted / "ca.pem").write_text(authority.certificate.read_text())
        (mounted / "ca.pem").chmod(0o644)
        for each in (Path(directory), mounted):
            each.chmod(0o755)  # the servers' users are others
        servers = TlsServers(ServerPorts(), free_port(), authority, other, mounted)
        variables = {"TLS_CERTIFICATES": str(mounted), "ZOOKEEPER_TLS_PORT": str(servers.zookeeper_port)}
        name = f"kafka-stream-tls-{uuid.uuid4().hex[:8]}"
        compose = engine.compose_of(TLS_FILE, name, **servers.ports.variables(), **variables)
        try:
            compose.up("postgres", "mariadb", "zookeeper")
            servers.prepare()
            yield servers
        finally:
            compose("down", "--volumes", "--timeout", "5")


@pytest.fixture(scope="session")
def tls_servers(engine: DockerEngine) -> Iterator[TlsServers]:
    """PostgreSQL, MariaDB and ZooKeeper with TLS."""
    with running_tls_servers(engine) as servers:
        yield servers


__all__ = ["TlsServers", "running_tls_servers", "tls_servers", "write_certificate"]
