"""A TCP proxy on 127.0.0.1 that breaks connections on demand, for a database also at the very COMMIT."""

from __future__ import annotations

import contextlib
import enum
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import ClassVar, Self

from integration_tests.client_messages import ClientMessages, MariadbMessages, PostgresMessages

_CHUNK = 1 << 16


class _Cut(enum.Enum):
    BEFORE_COMMIT = "before"
    AFTER_COMMIT = "after"


class TcpProxy:
    """Forwards each connection to a target; a context manager. ``host``, a loopback, and ``port`` are its own."""

    def __init__(self, target_host: str, target_port: int, host: str = "127.0.0.1", port: int = 0) -> None:
        self._target = (target_host, target_port)
        self._listener = socket.create_server((host, port))
        self.host = host
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._connections: set[_Connection] = set()
        self._flowing = threading.Event()
        self._flowing.set()
        self._refusing = False
        self._closed = False
        self._acceptor = threading.Thread(target=self._accept, name="proxy-accept", daemon=True)

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join(10)
        self.cut()
        self.resume()

    def pause(self) -> None:
        """Hold all bytes back, in both directions; connections stay open."""
        self._flowing.clear()

    def resume(self) -> None:
        """Forward again, first what was held back."""
        self._flowing.set()

    def cut(self) -> None:
        """Break all connections that are open now, as a crash would (RST)."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.cut()

    def refuse(self) -> None:
        """Break all connections, and each new one, until ``admit``: the server is gone."""
        self._refusing = True
        self.cut()

    def refuse_new(self) -> None:
        """Break each new connection until ``admit``; those that are open stay."""
        self._refusing = True

    def admit(self) -> None:
        """Take new connections again."""
        self._refusing = False

    @property
    def connections(self) -> int:
        """How many connections are open."""
        with self._lock:
            return len(self._connections)

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refusing:
                _reset(client)
                continue
            try:
                server = socket.create_connection(self._target, timeout=10)
            except OSError:
                _reset(client)
                continue
            server.settimeout(None)
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = self._connect(client, server)
            with self._lock:
                self._connections.add(connection)
            connection.start()

    def _connect(self, client: socket.socket, server: socket.socket) -> _Connection:
        return _Connection(self, client, server)


class _Connection:
    """One client's connection and its two forwarding threads."""

    def __init__(self, proxy: TcpProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server

    def start(self) -> None:
        for name, forward in (("up", self._forward_up), ("down", self._forward_down)):
            threading.Thread(target=self._run, args=(forward,), name=f"proxy-{name}", daemon=True).start()

    def _run(self, forward: Callable[[], None]) -> None:
        with contextlib.suppress(OSError):
            forward()
        self.cut()

    def cut(self) -> None:
        with self._proxy._lock:
            self._proxy._connections.discard(self)
        _reset(self._client)
        _reset(self._server)

    def _forward_up(self) -> None:
        while data := self._client.recv(_CHUNK):
            self._proxy._flowing.wait()
            self._server.sendall(data)

    def _forward_down(self) -> None:
        while data := self._server.recv(_CHUNK):
            self._proxy._flowing.wait()
            self._client.sendall(data)


class CommitProxy(TcpProxy):
    """A proxy that also breaks a connection at its COMMIT, before or after the server has seen it.

    It reads what the client says, so the connections must be unencrypted.
    """

    messages: ClassVar[type[ClientMessages]]

    def __init__(self, target_host: str, target_port: int) -> None:
        super().__init__(target_host, target_port)
        self._armed: _Cut | None = None
        self._having: bytes | None = None
        self._commit_cut = threading.Event()
        self.url = ""
        """The database behind the proxy as a SQLAlchemy URL, where a fixture has set it."""

    def cut_before_commit(self, having: bytes | None = None) -> None:
        """At the next COMMIT, once: break the connection instead of forwarding it. The server rolls back.

        With ``having`` only a transaction counts in which a statement with this text was executed.
        """
        self._arm(_Cut.BEFORE_COMMIT, having)

    def cut_after_commit(self, having: bytes | None = None) -> None:
        """At the next COMMIT, once: forward it, wait for the server's answer, swallow that, break the connection."""
        self._arm(_Cut.AFTER_COMMIT, having)

    def _arm(self, cut: _Cut, having: bytes | None) -> None:
        with self._lock:
            self._commit_cut.clear()
            self._armed, self._having = cut, having

    def wait_for_commit_cut(self, timeout_s: float) -> bool:
        """Whether a COMMIT has been cut since the last arming; waits for it."""
        return self._commit_cut.wait(timeout_s)

    def _disarm(self, statements: list[bytes]) -> _Cut | None:
        """What to do with a COMMIT of a transaction that executed these statements; only one COMMIT is ever cut."""
        with self._lock:
            if self._having is not None and not any(self._having in statement for statement in statements):
                return None
            armed, self._armed = self._armed, None
            return armed

    def _connect(self, client: socket.socket, server: socket.socket) -> _Connection:
        return _CommitConnection(self, client, server)


class _CommitConnection(_Connection):
    def __init__(self, proxy: CommitProxy, client: socket.socket, server: socket.socket) -> None:
        super().__init__(proxy, client, server)
        self._commit_proxy = proxy
        self._messages = proxy.messages()
        self._swallowing = threading.Event()

    def _forward_up(self) -> None:
        while data := self._client.recv(_CHUNK):
            self._proxy._flowing.wait()
            for statements in self._messages.commits(data):
                cut = self._commit_proxy._disarm(statements)
                if cut is _Cut.BEFORE_COMMIT:
                    self._cut_at_commit()
                    return
                if cut is _Cut.AFTER_COMMIT:
                    self._swallowing.set()
            self._server.sendall(data)

    def _forward_down(self) -> None:
        while data := self._server.recv(_CHUNK):
            self._proxy._flowing.wait()
            if self._swallowing.is_set():
                # The client waits for each answer before it commits, so the answer to COMMIT starts here.
                answer = bytearray(data)
                while not self._messages.is_complete(answer) and (data := self._server.recv(_CHUNK)):
                    answer += data
                self._cut_at_commit()
                return
            self._client.sendall(data)

    def _cut_at_commit(self) -> None:
        self.cut()
        self._commit_proxy._commit_cut.set()


class PostgresProxy(CommitProxy):
    """For PostgreSQL."""

    messages = PostgresMessages


class MariadbProxy(CommitProxy):
    """For MariaDB and MySQL."""

    messages = MariadbMessages


def _reset(end: socket.socket) -> None:
    """Close with RST, and wake the thread that reads from it."""
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RD)
    end.close()
