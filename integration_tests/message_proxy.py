"""A TCP proxy that breaks a connection at any message of its client."""

from __future__ import annotations

import socket
import threading

from integration_tests.proxy import _CHUNK, TcpProxy, _Connection


class MessageProxy(TcpProxy):
    """A proxy that also breaks a connection at what a client sends next but so many, whatever that is."""

    def __init__(self, target_host: str, target_port: int) -> None:
        super().__init__(target_host, target_port)
        self._left = 0
        self._answered = False
        self._cut = threading.Event()

    def cut_at(self, number: int, *, answered: bool) -> None:
        """At the ``number``-th from now on, once: do not forward it, or if ``answered``, swallow what comes back."""
        with self._lock:
            self._cut.clear()
            self._left, self._answered = number, answered

    def was_cut(self) -> bool:
        """Whether that has happened; if not, it will not."""
        with self._lock:
            self._left = 0
        return self._cut.is_set()

    def _is_it(self) -> bool:
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self._cut.set()
                return True
            return False

    def _connect(self, client: socket.socket, server: socket.socket) -> _Connection:
        return _MessageConnection(self, client, server)


class _MessageConnection(_Connection):
    def __init__(self, proxy: MessageProxy, client: socket.socket, server: socket.socket) -> None:
        super().__init__(proxy, client, server)
        self._message_proxy = proxy
        self._swallowing = False

    def _forward_up(self) -> None:
        while data := self._client.recv(_CHUNK):
            if self._message_proxy._is_it():
                if not self._message_proxy._answered:
                    return  # which cuts it
                self._swallowing = True
            self._server.sendall(data)

    def _forward_down(self) -> None:
        while (data := self._server.recv(_CHUNK)) and not self._swallowing:
            self._client.sendall(data)
