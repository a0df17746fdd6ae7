"""What listens where no broker could be reached: whether it is TLS, plain text, or asks for credentials.

librdkafka sees only that a connection ends, and goes on trying; which setting is wrong shows by asking otherwise.
"""

from __future__ import annotations

import enum
import socket
import ssl
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from kafka_stream.errors import ConfigurationError
from kafka_stream.source.connection import servers_of

_TIMEOUT_S = 1.0
_DEFAULT_PORT = 9092
_API_VERSIONS, _METADATA = 18, 3
_NUMBER = 4711
_CLIENT_ID = b"kafka-stream"


class _Answer(enum.Enum):
    RESPONSE = "response"  # a Kafka broker's
    CLOSED = "closed"
    OTHER = "other"  # no Kafka broker's, or none in time


def wrong_protocol(config: Mapping[str, Any]) -> ConfigurationError | None:
    """Why no broker can be reached as ``security.protocol`` says, if a server that is named speaks otherwise."""
    protocol = str(config.get("security.protocol") or "plaintext").upper()
    servers = servers_of(config)
    for server in filter(None, map(str.strip, servers.split(","))):
        with suppress(OSError):
            if (found := _otherwise(*_address(server), protocol)) is not None:
                does, remedy = found
                return ConfigurationError(
                    f"{server} {does}, but security.protocol is {protocol}, so no broker could be reached: "
                    f"set it to {remedy}"
                )
    return None


def _otherwise(host: str, port: int, protocol: str) -> tuple[str, str] | None:
    is_plain = _ask_in_plain_text(host, port, _API_VERSIONS) is _Answer.RESPONSE
    if protocol.endswith("SSL"):
        wanted = "PLAINTEXT, or to SASL_PLAINTEXT where it asks for credentials"
        return ("does not speak TLS", wanted) if is_plain else None
    if not is_plain:
        wanted = "SSL, or to SASL_SSL where it asks for credentials"
        return ("speaks TLS", wanted) if _speaks_tls(host, port) else None
    if protocol == "PLAINTEXT" and _ask_in_plain_text(host, port, _METADATA) is _Answer.CLOSED:
        return "asks for credentials", "SASL_PLAINTEXT, and sasl.mechanism, sasl.username and sasl.password"
    return None


def _speaks_tls(host: str, port: int) -> bool:
    """Whether a handshake comes to its end, whoever it is: nothing is told or believed here."""
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname = False
    anybody.verify_mode = ssl.CERT_NONE
    with socket.create_connection((host, port), _TIMEOUT_S) as connection:
        try:
            anybody.wrap_socket(connection, server_hostname=host).close()
        except ssl.SSLError as error:
            return "ALERT" in (error.reason or "")  # such as one that wants a client's certificate
        except OSError:
            return False
    return True


def _ask_in_plain_text(host: str, port: int, kind: int) -> _Answer:
    """What becomes of a request in its oldest version."""
    body = struct.pack(">hhih", kind, 0, _NUMBER, len(_CLIENT_ID)) + _CLIENT_ID
    if kind == _METADATA:
        body += struct.pack(">i", 0)  # of all topics: this version cannot ask for none
    with socket.create_connection((host, port), _TIMEOUT_S) as connection:
        connection.settimeout(_TIMEOUT_S)
        try:
            connection.sendall(struct.pack(">i", len(body)) + body)
            answer = connection.recv(8, socket.MSG_WAITALL)
        except TimeoutError:
            return _Answer.OTHER
        except OSError:
            return _Answer.CLOSED
    if not answer:
        return _Answer.CLOSED
    return _Answer.RESPONSE if answer[4:] == struct.pack(">i", _NUMBER) else _Answer.OTHER


def _address(server: str) -> tuple[str, int]:
    """Of ``host``, ``host:port``, ``[::1]:port``, with or without a protocol before it."""
    host, colon, port = server.rpartition("://")[2].rpartition(":")
    if not colon or not port.isdigit():
        host, port = server.rpartition("://")[2], str(_DEFAULT_PORT)
    return host.strip("[]"), int(port)


__all__ = ["wrong_protocol"]
