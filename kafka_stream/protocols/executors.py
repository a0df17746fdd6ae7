"""The port of an executor: where ``prepare`` runs when it does not run in the stream's own process.

The idea is Spark's direct stream: the driver plans offset ranges, workers read **their** ranges from Kafka and compute,
the driver commits what they give, together with the offsets. Ranges travel to workers, records do not; a worker holds
no transaction, so whatever becomes of it, a task may run again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeAlias, runtime_checkable

from kafka_stream.protocols.sources import PositionLost
from kafka_stream.types import OffsetRange

DEFAULT_RESULT_BYTES = 256 * 2**20
DEFAULT_TASK_TIMEOUT_S = 600.0

WhileWaiting: TypeAlias = Callable[[], None]
"""What is called now and then while a broker is waited for; what it raises ends the waiting."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of one partition's range that one worker reads, whole.

    ``leader_epoch`` is that under which the offset before it was read, where it is known (KIP-320): the broker checks
    it.
    """

    range: OffsetRange
    leader_epoch: int | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """What workers do with slices: of one run of one stream.

    ``kafka`` are librdkafka's settings to read with, secrets uncovered; ``prepare`` and ``sinks`` go to workers by
    reference (``module:name``), as ``pickle`` does it. ``sinks`` are what their ``for_workers`` gives, or the sinks
    themselves: of these ``prepare`` is called there. ``by_range`` says of each sink whether it keeps whole ranges.
    ``piece_bytes`` is how much of a slice a worker reads before it prepares that.
    """

    stream: str
    kafka: Mapping[str, Any] = field(repr=False)
    prepare: Callable[[Any], Any] | None
    sinks: Sequence[Any]
    by_range: Sequence[bool]
    piece_bytes: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one task came to. ``values`` is pickled: a list of pieces, each with one value for each sink, in order.

    ``records``, ``value_bytes`` and ``leader_epochs`` are of each slice, in their order; an epoch is that of the last
    record, where the slice ends right behind it. ``worker`` tells workers apart, for people; ``read_s`` and
    ``prepare_s`` are how long it took there, in seconds.
    """

    records: Sequence[int]
    value_bytes: Sequence[int]
    leader_epochs: Sequence[int | None]
    values: bytes | bytearray = field(repr=False)
    worker: str
    read_s: float
    prepare_s: float


class PositionGone(Exception):
    """A worker was told that the broker does not have what it was to read; ``lost`` says where, and how it was told."""

    def __init__(self, message: str, *, lost: PositionLost) -> None:
        super().__init__(message)
        self.lost = lost

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
        """It comes from another process."""
        return partial(type(self), lost=self.lost), self.args, self.__dict__


class Workers(Protocol):
    """The workers of one run. Called by the stream's own threads only."""

    @property
    def slots(self) -> int:
        """How many tasks run at once, now; at least 1."""

    def submit(self, slices: Sequence[Slice]) -> Future[Outcome]:
        """Have these read and prepared by one worker; one slice, unless a task is a whole batch. Returns at once.

        The future fails with

        - ``WorkerLost``: the worker, or who sends it tasks, has gone; it may have run, and is to be run again;
        - ``PositionGone``: the broker does not have what is to be read;
        - ``FailedElsewhere``: user code failed there; the message says how, with its traceback;
        - ``ConfigurationError``: the worker cannot load what it is to do;
        - ``TransientError``: what it needs does not answer;
        - another ``KafkaStreamError``: the partition cannot be read on, there as here.
        """

    def abandon(self, task: Future[Outcome], *, hangs: bool = False) -> None:
        """Nobody wants its outcome any more: it is not begun, if it was not, and what it gives is let go of.

        One that ``hangs`` is ended, if that is possible, so that its worker is free again; others that this takes with
        it fail with ``WorkerLost``. Returns at once, and raises nothing.
        """

    def change(self, work: Work) -> None:
        """Tasks that are submitted from now on do this."""

    def close(self) -> None:
        """End what was begun for this run, tasks included. Never raises."""


@runtime_checkable
class Executor(Protocol):
    """Where ``prepare`` runs: processes of this machine, or a cluster. Building one connects to nothing."""

    @property
    def takes_whole_batches(self) -> bool:
        """Whether a task is a whole batch, which the workers divide among themselves; constant.

        Then ``prepare`` cannot run in the stream's own process, and no record of a batch can be told from the others.
        """

    @property
    def task_timeout_s(self) -> float:
        """How long a task may take, in seconds; then it is abandoned, and run again."""

    @property
    def max_result_bytes(self) -> int:
        """How many bytes of outcomes may wait to be written, before no more batches are begun."""

    def describe(self) -> str:
        """What it is and where, for people; never holds a secret."""

    def start(self, work: Work) -> Workers:
        """Begin a run.

        Raises:
            ConfigurationError: the work cannot be sent (a lambda, a closure), or the executor cannot work.
            TransientError: the cluster does not answer.
        """


__all__ = [
    "DEFAULT_RESULT_BYTES",
    "DEFAULT_TASK_TIMEOUT_S",
    "Executor",
    "Outcome",
    "PositionGone",
    "Slice",
    "WhileWaiting",
    "Work",
    "Workers",
]
