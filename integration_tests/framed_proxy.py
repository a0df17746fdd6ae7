"""What the proxies of Kafka and ZooKeeper share: messages with their length before them, one of which is cut."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

from integration_tests.proxy import TcpProxy, _Cut

_CHUNK = 1 << 16


class FramedProxy(TcpProxy):
    """A proxy that is armed for one message; ``was_cut`` is set when it has come."""

    def __init__(self, target_host: str, target_port: int) -> None:
        super().__init__(target_host, target_port)
        self._armed: _Cut | None = None
        self.was_cut = threading.Event()

    def _arm(self, cut: _Cut) -> None:
        self.was_cut.clear()
        self._armed = cut

    def _disarm(self) -> _Cut | None:
        with self._lock:
            armed, self._armed = self._armed, None
            return armed


def framed_messages(connection: socket.socket) -> Iterator[bytes]:
    """Each message whole, with its length of four bytes."""
    pending = bytearray()
    while data := connection.recv(_CHUNK):
        pending += data
        while len(pending) >= 4 and len(pending) >= (end := 4 + int.from_bytes(pending[:4])):
            yield bytes(pending[:end])
            del pending[:end]


__all__ = ["FramedProxy", "framed_messages"]
