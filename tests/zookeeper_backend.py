"""A chroot with results beside the offsets, as the stores' contract wants it, reached with a client of its own."""

from __future__ import annotations

from collections.abc import Sequence

from kazoo.client import KazooClient

from kafka_stream.offset_stores.zookeeper import ZooKeeperOffsetStore, ZooKeeperTransaction
from kafka_stream.offset_stores.zookeeper.znodes import Layout


class ZooKeeperBackend:
    """Reaches round the stores; ``address`` is ``host:port/chroot``."""

    def __init__(self, address: str) -> None:
        self.address = address
        hosts, _, chroot = address.partition("/")
        self.layout = Layout(f"/{chroot}")
        self.client = KazooClient(hosts)
        self.client.start()
        self.client.create(f"/{chroot}/results")
        self._results = 0

    def close(self) -> None:
        self.client.stop()
        self.client.close()

    def store(self) -> ZooKeeperOffsetStore:
        return ZooKeeperOffsetStore(self.address)

    def write(self, transaction: ZooKeeperTransaction, value: int) -> None:
        self._results += 1
        transaction.create(f"/results/{value}-{self._results}")

    def results(self) -> Sequence[int]:
        return [int(name.split("-")[0]) for name in self.client.get_children(f"{self.layout.chroot}/results")]
