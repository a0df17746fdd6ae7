"""Offsets with metadata as the Java client commits them: without the NUL that librdkafka's own end with."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping

from integration_tests.servers import KafkaServer
from kafka_stream.types import TopicPartition

_OFFSET_COMMIT, _VERSION = 8, 2
_NO_GENERATION, _NO_RETENTION = -1, -1
_TIMEOUT_S = 30.0


def commit_as_java(server: KafkaServer, group_id: str, offsets: Mapping[TopicPartition, tuple[int, str]]) -> None:
    """Commit each partition's offset and metadata for a group without members, in one request."""
    host, _, port = server.bootstrap_servers.partition(":")
    with socket.create_connection((host, int(port)), _TIMEOUT_S) as connection:
        request = _request(group_id, offsets)
        connection.sendall(struct.pack(">i", len(request)) + request)
        answer = connection.makefile("rb")
        (size,) = struct.unpack(">i", answer.read(4))
        errors = _errors(answer.read(size))
    assert errors == [0] * len(offsets), f"the broker refused: {errors}"


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">h", len(data)) + data


def _request(group_id: str, offsets: Mapping[TopicPartition, tuple[int, str]]) -> bytes:
    header = struct.pack(">hhi", _OFFSET_COMMIT, _VERSION, 0) + _string("java")
    member = _string(group_id) + struct.pack(">i", _NO_GENERATION) + _string("") + struct.pack(">q", _NO_RETENTION)
    topics = struct.pack(">i", len(offsets))
    for tp, (offset, metadata) in offsets.items():  # a topic once per partition, which the broker takes
        topics += _string(tp.topic) + struct.pack(">iiq", 1, tp.partition, offset) + _string(metadata)
    return header + member + topics


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
