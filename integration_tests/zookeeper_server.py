"""ZooKeeper as the tests see it, through a plain client of their own: nothing here uses the library."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kazoo.client import KazooClient

from integration_tests.servers import random_name

_TIMEOUT_S = 30.0


class ZooKeeperServer:
    """A server, where each test gets a chroot of its own.

    Between tests nobody is connected: a client's thread draws from Python's global random generator now and then, which
    is not to happen while Hypothesis draws from it.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    @contextmanager
    def connected(self) -> Iterator[KazooClient]:
        """A client of this server."""
        client = KazooClient(self.address)
        client.start(_TIMEOUT_S)
        try:
            yield client
        finally:
            client.stop()
            client.close()

    def create_chroot(self) -> str:
        """A fresh znode, as a path, for use behind the address."""
        with self.connected() as client:
            return str(client.create(f"/{random_name()}"))

    def remove_chroot(self, chroot: str) -> None:
        """Remove it with all it holds, also what a test has removed already."""
        with self.connected() as client:
            client.delete(chroot, recursive=True)
