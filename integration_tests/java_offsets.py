"""Requests about a group's offsets that librdkafka does not make: metadata without a NUL at its end, and forgetting."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping

from integration_tests.servers import KafkaServer
from kafka_stream.types import TopicPartition

_OFFSET_COMMIT, _OFFSET_DELETE = (8, 2), (47, 0)
_NO_GENERATION, _NO_RETENTION = -1, -1
_TIMEOUT_S = 30.0


def commit_as_java(server: KafkaServer, group_id: str, offsets: Mapping[TopicPartition, tuple[int, str]]) -> None:
    """Commit each partition's offset and metadata for a group without members, in one request, as Java does."""
    errors = _errors(_asked(server, _OFFSET_COMMIT, _commit(group_id, offsets)))
    assert errors == [0] * len(offsets), f"the broker refused: {errors}"


def forget_offset(server: KafkaServer, group_id: str, tp: TopicPartition) -> None:
    """What the broker does by itself with an offset that has expired."""
    body = _string(group_id) + struct.pack(">i", 1) + _string(tp.topic) + struct.pack(">ii", 1, tp.partition)
    (error,) = struct.unpack_from(">h", _asked(server, _OFFSET_DELETE, body), 4)
    assert error == 0, f"the broker refused: {error}"


def _asked(server: KafkaServer, api: tuple[int, int], body: bytes) -> bytes:
    host, _, port = server.bootstrap_servers.partition(":")
    request = struct.pack(">hhi", *api, 0) + _string("java") + body
    with socket.create_connection((host, int(port)), _TIMEOUT_S) as connection, connection.makefile("rb") as answer:
        connection.sendall(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", answer.read(4))
        return answer.read(size)


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">h", len(data)) + data


def _commit(group_id: str, offsets: Mapping[TopicPartition, tuple[int, str]]) -> bytes:
    member = _string(group_id) + struct.pack(">i", _NO_GENERATION) + _string("") + struct.pack(">q", _NO_RETENTION)
    topics = struct.pack(">i", len(offsets))
    for tp, (offset, metadata) in offsets.items():  # a topic once per partition, which the broker takes
        topics += _string(tp.topic) + struct.pack(">iiq", 1, tp.partition, offset) + _string(metadata)
    return member + topics


def _errors(answer: bytes) -> list[int]:
    at, found = 4, []
    (topics,) = struct.unpack_from(">i", answer, at)
    at += 4
    for _ in range(topics):
        (length,) = struct.unpack_from(">h", answer, at)
        _, _, error = struct.unpack_from(">iih", answer, at + 2 + length)
        found.append(error)
        at += 2 + length + 10
    return found
