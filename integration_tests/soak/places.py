"""Where a soak's stream keeps its positions and its results, behind a proxy that breaks connections when told to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from kazoo.client import KazooClient

from integration_tests.kafka_proxy import KafkaProxy
from integration_tests.mariadb_server import MariadbServer
from integration_tests.proxy import CommitProxy, MariadbProxy, PostgresProxy, TcpProxy
from integration_tests.servers import KafkaServer, PostgresServer
from integration_tests.service_sinks import RESULTS
from integration_tests.soak.judgement import Read
from integration_tests.zookeeper_proxy import ZooKeeperProxy
from integration_tests.zookeeper_server import ZooKeeperServer


@dataclass(frozen=True)
class Servers:
    """What a soak runs on; those that it does not need may be missing."""

    kafka: KafkaServer
    postgres: PostgresServer | None = None
    mariadb: MariadbServer | None = None
    zookeeper: ZooKeeperServer | None = None


class Place:
    """A store and its results. ``url`` is what members are given, ``direct_url`` what commands use."""

    def __init__(self, url: str, direct_url: str, handler: str, proxy: TcpProxy | None) -> None:
        self.url = url
        self.direct_url = direct_url
        self.handler = handler
        self.proxy = proxy
        self.target = ""
        self.bootstrap_servers: str | None = None

    def cut_before_commit(self) -> None:
        """The next commit does not reach the server."""
        assert isinstance(self.proxy, CommitProxy)
        self.proxy.cut_before_commit()

    def cut_after_commit(self) -> None:
        """The next commit reaches the server, and its answer does not come back."""
        assert isinstance(self.proxy, CommitProxy)
        self.proxy.cut_after_commit()

    def was_cut(self) -> bool:
        """Whether that has happened since."""
        assert isinstance(self.proxy, CommitProxy)
        return self.proxy.wait_for_commit_cut(0)

    def cut(self) -> None:
        """Break all connections."""
        assert self.proxy is not None
        self.proxy.cut()

    def go_away(self) -> None:
        """Break all connections, and new ones, too."""
        assert self.proxy is not None
        self.proxy.refuse()

    def come_back(self) -> None:
        """Take connections again."""
        if self.proxy is not None:
            self.proxy.admit()

    def results(self) -> Iterable[Read]:
        """All of them, those of a key in the order in which they were written."""
        raise NotImplementedError


class SqlPlace(Place):
    """A table without any unique key but a number that grows."""

    def create(self, number: str | None) -> None:
        """The table; ``number`` is the type of a column that numbers its rows, where the database does not."""
        engine = sa.create_engine(self.direct_url)
        RESULTS.create(engine)
        if number is not None:
            with engine.begin() as connection:
                connection.execute(sa.text(f"ALTER TABLE {RESULTS.name} ADD COLUMN id {number}"))
        engine.dispose()
        self._order = "rowid" if number is None else "id"

    def results(self) -> Iterable[Read]:
        engine = sa.create_engine(self.direct_url)
        with engine.connect() as connection:
            found = [
                Read(*row) for row in connection.execute(RESULTS.select().order_by(sa.literal_column(self._order)))
            ]
        engine.dispose()
        return found


class KafkaPlace(Place):
    """A topic, in which a key's records are in one partition. The proxy stands for the broker."""

    def __init__(self, kafka: KafkaServer, proxy: KafkaProxy | None) -> None:
        servers = kafka.bootstrap_servers if proxy is None else proxy.bootstrap_servers
        super().__init__(f"kafka://{servers}", f"kafka://{kafka.bootstrap_servers}", "kafka sink", proxy)
        self._kafka = kafka
        self.target = kafka.create_topic(partitions=3)
        self.bootstrap_servers = servers

    def cut_before_commit(self) -> None:
        assert isinstance(self.proxy, KafkaProxy)
        self.proxy.cut_before_end()

    def cut_after_commit(self) -> None:
        assert isinstance(self.proxy, KafkaProxy)
        self.proxy.cut_after_end()

    def was_cut(self) -> bool:
        assert isinstance(self.proxy, KafkaProxy)
        return self.proxy.was_cut.is_set()

    def results(self) -> Iterable[Read]:
        return [read_of(json.loads(value or b"")) for *_, value in self._kafka.read_committed(self.target)]


class ZooKeeperPlace(Place):
    """A znode per batch."""

    def cut_before_commit(self) -> None:
        assert isinstance(self.proxy, ZooKeeperProxy)
        self.proxy.cut_before_multi()

    def cut_after_commit(self) -> None:
        assert isinstance(self.proxy, ZooKeeperProxy)
        self.proxy.cut_after_multi()

    def was_cut(self) -> bool:
        assert isinstance(self.proxy, ZooKeeperProxy)
        return self.proxy.was_cut.is_set()

    def results(self) -> Iterable[Read]:
        client = KazooClient(self.direct_url.removeprefix("zookeeper://"))
        client.start(30)
        try:
            names = [name for name in client.get_children("/") if name.startswith("rows-")]
            batches: list[tuple[int, list[Mapping[str, Any]]]] = []
            for first in range(0, len(names), 500):
                pending = [client.get_async(f"/{name}") for name in names[first : first + 500]]
                found = [one.get() for one in pending]
                batches += [(stat.czxid, json.loads(data)) for data, stat in found]
        finally:
            client.stop()
            client.close()
        return [read_of(row) for _, rows in sorted(batches, key=lambda batch: batch[0]) for row in rows]


def read_of(row: Mapping[str, Any]) -> Read:
    """A row of the results."""
    return Read(row["partition"], row["record_offset"], row["record_key"], row["value"])


@contextmanager
def place_of(store: str, servers: Servers, directory: Path, *, one_broker: bool) -> Iterator[Place]:
    """A place of a soak's own on these servers, which goes with it."""
    with ExitStack() as stack:
        if store == "sqlite":
            url = f"sqlite:///{directory / 'soak.db'}"
            in_file = SqlPlace(url, url, "sql sink", None)
            in_file.create(None)
            yield in_file
        elif store == "kafka":
            host, port = servers.kafka.bootstrap_servers.split(",")[0].split(":")
            proxy = stack.enter_context(KafkaProxy(host, int(port))) if one_broker else None
            yield KafkaPlace(servers.kafka, proxy)
        elif store == "zookeeper":
            yield _zookeeper(servers, stack)
        else:
            yield _postgres(servers, stack) if store == "postgres" else _mariadb(servers, stack)


def _postgres(servers: Servers, stack: ExitStack) -> SqlPlace:
    assert servers.postgres is not None
    database = servers.postgres.create_database()
    stack.callback(servers.postgres.drop_database, database)
    proxy = stack.enter_context(PostgresProxy(*servers.postgres.address))
    found = SqlPlace(database.at(proxy.host, proxy.port).url, database.url, "sql sink", proxy)
    found.create("bigserial")
    return found


def _mariadb(servers: Servers, stack: ExitStack) -> SqlPlace:
    assert servers.mariadb is not None
    database = servers.mariadb.create_database()
    stack.callback(servers.mariadb.drop_database, database)
    proxy = stack.enter_context(MariadbProxy(*servers.mariadb.address))
    found = SqlPlace(database.at(proxy.host, proxy.port).url, database.url, "sql sink", proxy)
    found.create("bigint AUTO_INCREMENT PRIMARY KEY")
    return found


def _zookeeper(servers: Servers, stack: ExitStack) -> ZooKeeperPlace:
    assert servers.zookeeper is not None
    chroot = servers.zookeeper.create_chroot()
    stack.callback(servers.zookeeper.remove_chroot, chroot)
    host, port = servers.zookeeper.address.split(":")
    proxy = stack.enter_context(ZooKeeperProxy(host, int(port)))
    behind = f"zookeeper://{proxy.host}:{proxy.port}{chroot}"
    return ZooKeeperPlace(behind, f"zookeeper://{servers.zookeeper.address}{chroot}", "rows per batch", proxy)


__all__ = ["Place", "Servers", "place_of"]
