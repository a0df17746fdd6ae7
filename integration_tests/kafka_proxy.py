"""A proxy that stands for a broker, and breaks the connection at the very request that ends a transaction.

Both ways each message is a length and that many bytes. A request begins with its kind (API key), version and number,
a response with the request's number. Brokers say where they are, so the proxy says in their responses that they are
where it is.
"""

from __future__ import annotations

import socket
import struct

from integration_tests.framed_proxy import FramedProxy, framed_messages
from integration_tests.proxy import _Connection, _Cut

_METADATA = 3
_SASL_HANDSHAKE = 17
_INIT_PRODUCER_ID = 22
_FLEXIBLE_METADATA = 9
_END_TXN = 26
_REQUEST = struct.Struct(">hhi")


class KafkaProxy(FramedProxy):
    """Goes away at the next end of a transaction, before or after the broker has seen it, until ``admit``."""

    def __init__(self, target_host: str, target_port: int) -> None:
        super().__init__(target_host, target_port)
        self._there = target_host.encode() + struct.pack(">i", target_port)
        self._here = target_host.encode() + struct.pack(">i", self.port)
        self.forgets = False
        self.forgotten = 0
        self.swallows_metadata = False
        self.metadata_swallowed = 0
        self.cuts_logins = False
        self.logins_cut = 0
        self._arming = 0
        self._of_new_producer = False

    @property
    def bootstrap_servers(self) -> str:
        """Its address."""
        return f"{self.host}:{self.port}"

    def forget_brokers(self) -> None:
        """Each client's metadata names no broker until ``remember_brokers``, as a lone broker's that is fenced."""
        self.forgets = True

    def remember_brokers(self) -> None:
        """Metadata as the broker gives it."""
        self.forgets = False

    def swallow_metadata(self) -> None:
        """Whoever asks for metadata (topics are described so) waits for ever, until ``answer_metadata``."""
        self.swallows_metadata = True

    def answer_metadata(self) -> None:
        """Give it again to those who ask from now on."""
        self.swallows_metadata = False

    def cut_logins(self) -> None:
        """Every connection breaks, and every new one as it begins to log in, until ``admit_logins``."""
        self.cuts_logins = True
        self.cut()

    def admit_logins(self) -> None:
        """Let clients log in again."""
        self.cuts_logins = False

    def cut_before_end(self) -> None:
        """The next transaction's end does not reach the broker."""
        self._of_new_producer = False
        self._arm(_Cut.BEFORE_COMMIT)

    def cut_after_end(self, *, of_new_producer: bool = False) -> None:
        """The next transaction's end reaches the broker, and its answer does not come back.

        With ``of_new_producer`` that of one which begins from now on: one that was thrown away goes on trying.
        """
        self._arming += 1
        self._of_new_producer = of_new_producer
        self._arm(_Cut.AFTER_COMMIT)

    def _cut_for(self, arming: int) -> _Cut | None:
        """What to do with a transaction's end, of a producer that began when the proxy had been armed so often."""
        return None if self._of_new_producer and arming < self._arming else self._disarm()

    def _connect(self, client: socket.socket, server: socket.socket) -> _Connection:
        return _KafkaConnection(self, client, server)


class _KafkaConnection(_Connection):
    def __init__(self, proxy: KafkaProxy, client: socket.socket, server: socket.socket) -> None:
        super().__init__(proxy, client, server)
        self._kafka = proxy
        self._swallowed: int | None = None
        self._asked_for_metadata: set[int] = set()
        self._began_at = -1

    def _forward_up(self) -> None:
        for message in framed_messages(self._client):
            kind, version, number = _REQUEST.unpack_from(message, 4)
            if kind == _METADATA and version > 0:  # no client of librdkafka's asks in that one
                assert version >= _FLEXIBLE_METADATA, version
                self._asked_for_metadata.add(number)
            elif kind == _INIT_PRODUCER_ID:
                self._began_at = self._kafka._arming
            elif kind == _SASL_HANDSHAKE and self._kafka.cuts_logins:
                self._kafka.logins_cut += 1
                self.cut()
                return
            cut = self._kafka._cut_for(self._began_at) if kind == _END_TXN else None
            if cut is _Cut.BEFORE_COMMIT:
                self._go_away()
                return
            if cut is _Cut.AFTER_COMMIT:
                self._swallowed = number
            self._server.sendall(message)

    def _forward_down(self) -> None:
        for message in framed_messages(self._server):
            (number,) = struct.unpack_from(">i", message, 4)
            if number == self._swallowed:
                self._go_away()
                return
            if number in self._asked_for_metadata:
                self._asked_for_metadata.discard(number)
                if self._kafka.swallows_metadata:
                    self._kafka.metadata_swallowed += 1
                    continue
                if self._kafka.forgets:
                    self._kafka.forgotten += 1
                    message = _without_brokers(message)
            self._client.sendall(message.replace(self._kafka._there, self._kafka._here))

    def _go_away(self) -> None:
        self._kafka.refuse()
        self._kafka.was_cut.set()


def _without_brokers(message: bytes) -> bytes:
    """A metadata response from version 9 on (KIP-482: lengths are varints, plus one), without its brokers."""
    begin = at = 4 + 4 + 1 + 4  # length, number, no tags, throttle time
    count, at = _varint(message, at)
    for _ in range(count - 1):
        at += 4  # node id
        length, at = _varint(message, at)
        at += length - 1 + 4  # host, port
        length, at = _varint(message, at)
        at += max(0, length - 1) + 1  # rack, no tags
    body = message[4:begin] + b"\x01" + message[at:]
    return struct.pack(">i", len(body)) + body


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


__all__ = ["KafkaProxy"]
