"""What a database's client says, followed message by message, to see each COMMIT and what its transaction executed."""

from __future__ import annotations

import re
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator

_COMMIT = re.compile(rb"\s*(COMMIT|END)\b(?!\s+PREPARED)", re.IGNORECASE)
_OTHER_BOUND = re.compile(rb"\s*(BEGIN|START|ROLLBACK|ABORT)\b(?!\s+(TO|PREPARED)\b)", re.IGNORECASE)
_UNTYPED = struct.Struct(">ii")
_NEGOTIATIONS = {80877103, 80877104}  # SSLRequest, GSSENCRequest: a start-up message follows them
_MYSQL_HEADER = 4
_COM_QUERY = 3


class ClientMessages(ABC):
    """Follows one connection; anything that is no statement passes without being understood."""

    def __init__(self) -> None:
        self._pending = bytearray()
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

    @abstractmethod
    def _next(self) -> tuple[int, bytes] | None:
        """The next whole message: its kind and body."""

    @abstractmethod
    def _statement(self, kind: int, body: bytes) -> bytes | None:
        """The text of the statement that a message executes or is about to."""

    @abstractmethod
    def is_complete(self, answer: bytearray) -> bool:
        """Whether this is the server's whole answer to a COMMIT."""


class PostgresMessages(ClientMessages):
    """PostgreSQL's "Frontend/Backend Protocol".

    After the start-up message each message is a type byte, a length that counts itself, and the body.
    """

    def __init__(self) -> None:
        super().__init__()
        self._started = False
        self._prepared: dict[bytes, bytes] = {}

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

    def is_complete(self, answer: bytearray) -> bool:
        position = 0
        while position + 5 <= len(answer):
            if answer[position] == ord("Z"):
                return True
            position += 1 + int.from_bytes(answer[position + 1 : position + 5])
        return False


class MariadbMessages(ClientMessages):
    """The "Client/Server Protocol" of MariaDB and MySQL: packets of a length (3 bytes), a sequence number and a body.

    A command begins with number 0; what the client says while it logs in does not.
    """

    def _next(self) -> tuple[int, bytes] | None:
        if len(self._pending) < _MYSQL_HEADER:
            return None
        end = _MYSQL_HEADER + int.from_bytes(self._pending[:3], "little")
        if len(self._pending) < end:
            return None
        number, body = self._pending[3], bytes(self._pending[_MYSQL_HEADER:end])
        del self._pending[:end]
        return number, body

    def _statement(self, kind: int, body: bytes) -> bytes | None:
        return body[1:] if kind == 0 and body[:1] == bytes([_COM_QUERY]) else None

    def is_complete(self, answer: bytearray) -> bool:
        return len(answer) >= _MYSQL_HEADER + int.from_bytes(answer[:3], "little")
