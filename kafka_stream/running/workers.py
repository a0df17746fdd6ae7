"""A stream with an executor: what its workers are to do, and what gives them the batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any

from confluent_kafka import Message

from kafka_stream.engine.elsewhere.dispatch import Dispatch, Reading
from kafka_stream.engine.preparing import Preparing, PreparingThread
from kafka_stream.errors import ConfigurationError
from kafka_stream.executors.named import executor_of
from kafka_stream.executors.slice_reader import SliceReader
from kafka_stream.protocols import ConvertingSink, Executor, RangeSink, Sink, Slice, Source, WhileWaiting, Work
from kafka_stream.protocols.sinks import workers_part
from kafka_stream.setting_checks import SourceFactory
from kafka_stream.settings import StreamSettings
from kafka_stream.source.range_source import RangeSource
from kafka_stream.types import OffsetRange, TopicPartition
from kafka_stream.user_code import FunctionSink

PIECE_BYTES = 16 * 2**20
"""How much of a slice a worker has in memory at once, in bytes of values."""


class WorkOfStream:
    """What workers do for a stream; the same object for as long as its sinks have learned nothing new."""

    def __init__(self, settings: StreamSettings, sinks: Sequence[Sink]) -> None:
        self._settings = settings
        self._sinks = sinks
        self._known: tuple[list[int], Work] | None = None

    def __call__(self) -> Work:
        """As of now."""
        learned = [sink.work_changed for sink in self._sinks if isinstance(sink, ConvertingSink)]
        if self._known is None or self._known[0] != learned:
            settings = self._settings
            kafka = {} if isinstance(settings.kafka, SourceFactory) else settings.kafka_config()
            self._known = (
                learned,
                Work(
                    stream=settings.name,
                    kafka=kafka,
                    prepare=settings.prepare,
                    sinks=[workers_part(sink) for sink in self._sinks],
                    by_range=[isinstance(sink, RangeSink) for sink in self._sinks],
                    piece_bytes=min(PIECE_BYTES, settings.max_bytes_per_batch),
                ),
            )
        return self._known[1]


class ReadHere:
    """Reads whole ranges in this process, for a batch that is done over."""

    def __init__(self, kafka: Mapping[str, Any], group_id: str) -> None:
        self._reader = SliceReader(kafka, group_id)

    def read(self, ranges: Sequence[OffsetRange], look: WhileWaiting) -> Mapping[TopicPartition, Sequence[Message]]:
        """See ``Reading``."""
        return {r.topic_partition: self._records(Slice(r), look) for r in ranges}

    def close(self) -> None:
        """See ``Reading``."""
        self._reader.close()

    def _records(self, wanted: Slice, look: WhileWaiting) -> Sequence[Message]:
        with closing(self._reader.read(wanted, None, look)) as pieces:
            return [message for piece in pieces for message in piece.messages]


def executor_for(settings: StreamSettings, sinks: Sequence[Sink]) -> Executor | None:
    """Where a stream's batches are prepared; ``None`` in this process.

    Raises:
        ConfigurationError: there is no such executor, its workers would have nothing to do, or cannot tell the records
            apart that are to be dead letters.
    """
    if settings.executor is None:
        return None
    if settings.prepare is None and all(isinstance(sink, FunctionSink) for sink in sinks):
        raise ConfigurationError(
            f"executor: workers have nothing to do for stream {settings.name!r}, which has no prepare and writes by a "
            "function of yours: give a prepare, or a sink that converts (SqlSink, KafkaSink, FileSink), or leave the "
            "executor out"
        )
    executor = executor_of(settings.executor)
    if settings.on_error == "dead-letter" and executor.takes_whole_batches:
        raise ConfigurationError(
            f'on_error: "dead-letter" needs to tell the records of stream {settings.name!r} apart, and a '
            f"{type(executor).__name__} prepares whole batches: handle what fails there, or leave on_error out"
        )
    return executor


def with_workers(
    settings: StreamSettings, sinks: Sequence[Sink], executor: Executor | None, source: Source
) -> tuple[Source, Callable[[PreparingThread], Preparing]]:
    """What one run plans by, and what prepares its batches: as they are, if there is no executor."""
    if executor is None:
        return source, lambda here: here
    kafka = settings.kafka
    group_id = settings.group_id or settings.name
    reading: Reading = kafka if isinstance(kafka, Reading) else ReadHere(settings.kafka_config(), group_id)
    work, ranges = WorkOfStream(settings, sinks), RangeSource(source)
    return ranges, lambda here: Dispatch(executor, work, here, ranges, reading)


__all__ = ["executor_for", "with_workers"]
