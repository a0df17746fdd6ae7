"""A reader of slices, as tests use it: of the first partition of a topic, with its consumers counted."""

from __future__ import annotations

from dataclasses import dataclass

from confluent_kafka import Consumer, Message

from integration_tests.servers import KafkaServer
from kafka_stream.executors.pieces import Piece
from kafka_stream.executors.slice_reader import SliceReader
from kafka_stream.protocols.executors import Slice
from kafka_stream.types import OffsetRange, TopicPartition


class Consumers:
    """Makes a reader's consumers, and counts them."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, config: dict[str, object]) -> Consumer:
        self.made += 1
        return Consumer(config)


@dataclass(frozen=True)
class Reading:
    """A reader, and the consumers that it has made."""

    reader: SliceReader
    consumers: Consumers

    def pieces(
        self, topic: str, begin: int, until: int, *, piece_bytes: int | None = None, epoch: int | None = None
    ) -> list[Piece]:
        part = Slice(OffsetRange(TopicPartition(topic, 0), begin, until), epoch)
        return list(self.reader.read(part, piece_bytes))

    def records(self, topic: str, begin: int, until: int, *, epoch: int | None = None) -> list[Message]:
        return [m for piece in self.pieces(topic, begin, until, epoch=epoch) for m in piece.messages]

    def offsets(self, topic: str, begin: int, until: int, *, epoch: int | None = None) -> list[int | None]:
        return [m.offset() for m in self.records(topic, begin, until, epoch=epoch)]


def reading_of(kafka: KafkaServer) -> Reading:
    consumers = Consumers()
    return Reading(SliceReader({"bootstrap.servers": kafka.bootstrap_servers}, "slices", consumers), consumers)
