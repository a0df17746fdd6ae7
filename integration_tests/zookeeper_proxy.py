"""A proxy that breaks a ZooKeeper connection at the very ``multi`` that commits a batch.

Both ways each packet is a length and that many bytes. A client's first one opens the session, all others begin with
their number (xid) and their type; the server's answers begin with the number, once the session is open.
"""

from __future__ import annotations

import socket
import struct

from integration_tests.framed_proxy import FramedProxy, framed_messages
from integration_tests.proxy import _Connection, _Cut

_MULTI = 14
_HEADER = struct.Struct(">ii")


class ZooKeeperProxy(FramedProxy):
    """Also cuts a connection at the next ``multi``, before or after the server has seen it."""

    def cut_before_multi(self) -> None:
        """At the next ``multi``, once: break the connection instead of forwarding it."""
        self._arm(_Cut.BEFORE_COMMIT)

    def cut_after_multi(self) -> None:
        """At the next ``multi``, once: forward it, wait for the server's answer, swallow that, break the connection."""
        self._arm(_Cut.AFTER_COMMIT)

    def _connect(self, client: socket.socket, server: socket.socket) -> _Connection:
        return _ZooKeeperConnection(self, client, server)


class _ZooKeeperConnection(_Connection):
    def __init__(self, proxy: ZooKeeperProxy, client: socket.socket, server: socket.socket) -> None:
        super().__init__(proxy, client, server)
        self._cutting_proxy = proxy
        self._swallowed: int | None = None

    def _forward_up(self) -> None:
        for number, packet in enumerate(framed_messages(self._client)):
            self._proxy._flowing.wait()
            if number > 0:
                xid, kind = _HEADER.unpack_from(packet, 4)
                cut = self._cutting_proxy._disarm() if kind == _MULTI else None
                if cut is _Cut.BEFORE_COMMIT:
                    self._cut_at_multi()
                    return
                if cut is _Cut.AFTER_COMMIT:
                    self._swallowed = xid
            self._server.sendall(packet)

    def _forward_down(self) -> None:
        for packet in framed_messages(self._server):
            self._proxy._flowing.wait()
            if self._swallowed is not None and struct.unpack_from(">i", packet, 4)[0] == self._swallowed:
                self._cut_at_multi()
                return
            self._client.sendall(packet)

    def _cut_at_multi(self) -> None:
        self.cut()
        self._cutting_proxy.was_cut.set()


__all__ = ["ZooKeeperProxy"]
