"""A TCP proxy on 127.0.0.1 that breaks connections on demand, for PostgreSQL also at the very COMMIT.

PostgreSQL's messages are read as "Frontend/Backend Protocol" describes them: after the start-up message each is a type
byte, a length that counts itself, and the body. Connections must be unencrypted for that.
"""

from __future__ import annotations

import contextlib
import enum
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

_CHUNK = 1 << 16
_COMMIT = re.compile(rb"\s*(COMMIT|END)\b(?!\s+PREPARED)", re.IGNORECASE)
_OTHER_BOUND = re.compile(rb"\s*(BEGIN|START|ROLLBACK|ABORT)\b(?!\s+(TO|PREPARED)\b)", re.IGNORECASE)
_UNTYPED = struct.Struct(">ii")
_NEGOTIATIONS = {80877103, 80877104}  # SSLRequest, GSSENCRequest: a start-up message follows them


class _Cut(enum.Enum):
    BEFORE_COMMIT = "before"
    AFTER_COMMIT = "after"


class TcpProxy:
    """Forwards each connection to a target; a context manager. ``port`` is its own port on 127.0.0.1."""

    def __init__(self, target_host: str, target_port: int) -> None:
        self._target = (target_host, target_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = "127.0.0.1"
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


class PostgresProxy(TcpProxy):
    """A proxy that also breaks a connection at its COMMIT, before or after the server has seen it."""

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
        return _PostgresConnection(self, client, server)


class _PostgresConnection(_Connection):
    def __init__(self, proxy: PostgresProxy, client: socket.socket, server: socket.socket) -> None:
        super().__init__(proxy, client, server)
        self._commit_proxy = proxy
        self._messages = _ClientMessages()
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
                while not _holds_ready_for_query(answer) and (data := self._server.recv(_CHUNK)):
                    answer += data
                self._cut_at_commit()
                return
            self._client.sendall(data)

    def _cut_at_commit(self) -> None:
        self.cut()
        self._commit_proxy._commit_cut.set()


class _ClientMessages:
    """Follows a PostgreSQL client's messages; anything else passes without being understood."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._started = False
        self._prepared: dict[bytes, bytes] = {}
        self._executed: list[bytes] = []

    def commits(self, data: bytes) -> Iterator[list[bytes]]:
        """For each COMMIT in the data, the statements that its transaction executed."""
        self._pending += data
        while (message := self._next()) is not None:
            kind, body = message
            statement = self._statement(kind, body)
            if statement is None:
                continue
            if _COMMIT.match(statement):
                yield self._executed
                self._executed = []
            elif _OTHER_BOUND.match(statement):
                self._executed = []
            elif len(self._executed) < 1000 and statement not in self._executed:
                self._executed.append(statement)

    def _next(self) -> tuple[int, bytes] | None:
        if not self._started:
            return self._next_untyped()
        if len(self._pending) < 5:
            return None
        kind, length = self._pending[0], int.from_bytes(self._pending[1:5])
        if len(self._pending) < 1 + length:
            return None
        body = bytes(self._pending[5 : 1 + length])
        del self._pending[: 1 + length]
        return kind, body

    def _next_untyped(self) -> tuple[int, bytes] | None:
        if len(self._pending) < _UNTYPED.size:
            return None
        length, code = _UNTYPED.unpack_from(self._pending)
        if len(self._pending) < length:
            return None
        self._started = code not in _NEGOTIATIONS
        del self._pending[:length]
        return 0, b""

    def _statement(self, kind: int, body: bytes) -> bytes | None:
        """The text of the statement that a message executes or is about to."""
        if kind == ord("Q"):
            return body.rstrip(b"\0")
        if kind == ord("P"):
            name, query, _ = body.split(b"\0", 2)
            self._prepared[name] = query
            return query
        if kind == ord("B"):
            _, name, _ = body.split(b"\0", 2)
            return self._prepared.get(name)
        return None


def _holds_ready_for_query(answer: bytearray) -> bool:
    position = 0
    while position + 5 <= len(answer):
        if answer[position] == ord("Z"):
            return True
        position += 1 + int.from_bytes(answer[position + 1 : position + 5])
    return False


def _reset(end: socket.socket) -> None:
    """Close with RST, and wake the thread that reads from it."""
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RD)
    end.close()
