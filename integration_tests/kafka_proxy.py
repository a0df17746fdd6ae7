"""A proxy that stands for a broker, and breaks the connection at the very request that ends a transaction.

Both ways each message is a length and that many bytes. A request begins with its kind (API key), version and number,
a response with the request's number. Brokers say where they are, so the proxy says in their responses that they are
where it is.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator

from integration_tests.proxy import TcpProxy, _Connection, _Cut

_CHUNK = 1 << 16
_END_TXN = 26
_REQUEST = struct.Struct(">hhi")


class KafkaProxy(TcpProxy):
    """Goes away at the next end of a transaction, before or after the broker has seen it, until ``admit``."""

    def __init__(self, target_host: str, target_port: int) -> None:
        super().__init__(target_host, target_port)
        self._there = target_host.encode() + struct.pack(">i", target_port)
        self._here = target_host.encode() + struct.pack(">i", self.port)
        self._armed: _Cut | None = None
        self.was_cut = threading.Event()

    @property
    def bootstrap_servers(self) -> str:
        """Its address."""
        return f"{self.host}:{self.port}"

    def cut_before_end(self) -> None:
        """The next transaction's end does not reach the broker."""
        self._arm(_Cut.BEFORE_COMMIT)

    def cut_after_end(self) -> None:
        """The next transaction's end reaches the broker, and its answer does not come back."""
        self._arm(_Cut.AFTER_COMMIT)

    def _arm(self, cut: _Cut) -> None:
        self.was_cut.clear()
        self._armed = cut

    def _disarm(self) -> _Cut | None:
        with self._lock:
            armed, self._armed = self._armed, None
            return armed

    def _connect(self, client: socket.socket, server: socket.socket) -> _Connection:
        return _KafkaConnection(self, client, server)


class _KafkaConnection(_Connection):
    def __init__(self, proxy: KafkaProxy, client: socket.socket, server: socket.socket) -> None:
        super().__init__(proxy, client, server)
        self._kafka = proxy
        self._swallowed: int | None = None

    def _forward_up(self) -> None:
        for message in _messages(self._client):
            kind, _version, number = _REQUEST.unpack_from(message, 4)
            cut = self._kafka._disarm() if kind == _END_TXN else None
            if cut is _Cut.BEFORE_COMMIT:
                self._go_away()
                return
            if cut is _Cut.AFTER_COMMIT:
                self._swallowed = number
            self._server.sendall(message)

    def _forward_down(self) -> None:
        for message in _messages(self._server):
            if self._swallowed is not None and struct.unpack_from(">i", message, 4)[0] == self._swallowed:
                self._go_away()
                return
            self._client.sendall(message.replace(self._kafka._there, self._kafka._here))

    def _go_away(self) -> None:
        self._kafka.refuse()
        self._kafka.was_cut.set()


def _messages(connection: socket.socket) -> Iterator[bytes]:
    pending = bytearray()
    while data := connection.recv(_CHUNK):
        pending += data
        while len(pending) >= 4 and len(pending) >= (end := 4 + int.from_bytes(pending[:4])):
            yield bytes(pending[:end])
            del pending[:end]


__all__ = ["KafkaProxy"]
