"""ZooKeeper as the tests see it, through a plain client of their own: nothing here uses the library."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from kazoo.client import KazooClient

from integration_tests.servers import random_name

_TIMEOUT_S = 30.0


class ZooKeeperServer:
    """A server, where each test gets a chroot of its own; a context manager."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.client = KazooClient(address)

    def __enter__(self) -> Self:
        self.client.start(_TIMEOUT_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.client.stop()
        self.client.close()

    def create_chroot(self) -> str:
        """A fresh znode, as a path, for use behind the address."""
        return str(self.client.create(f"/{random_name()}"))

    def remove_chroot(self, chroot: str) -> None:
        """Remove it with all it holds, also what a test has removed already."""
        self.client.delete(chroot, recursive=True)
