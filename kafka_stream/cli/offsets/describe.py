"""``offsets describe``: a stream's partitions, beside what the brokers have of them."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from kafka_stream.cli.exit_status import without_passwords
from kafka_stream.cli.interrupts import interrupts
from kafka_stream.cli.offsets.rows import (
    LESS_IMPORTANT_OF_PARTITIONS,
    PARTITION_FIELDS,
    notes,
    partition_for_people,
    partition_row,
)
from kafka_stream.cli.offsets.target import BROKER_TIMEOUT_S, StreamOptions, Target, connected
from kafka_stream.cli.option_classes import takes
from kafka_stream.cli.options import interval_option
from kafka_stream.cli.output import Output, print_rows

if TYPE_CHECKING:
    from kafka_stream.admin.describe import Observation, PartitionDescription
    from kafka_stream.source.cluster import Cluster
    from kafka_stream.types import StoredPosition, TopicPartition

T = TypeVar("T")
CLEAR_SCREEN = "\x1b[H\x1b[2J\x1b[3J"


@dataclass(frozen=True, slots=True)
class DescribeOptions(StreamOptions):
    """How much, and how often."""

    no_time: Annotated[
        bool,
        typer.Option(
            "--no-time",
            envvar="KAFKA_STREAM_NO_TIME",
            help="Leave out how old the next records are, for which some have to be read.",
        ),
    ] = False
    watch: Annotated[
        bool, typer.Option("--watch", envvar="KAFKA_STREAM_WATCH", help="Show it again and again, until Ctrl-C.")
    ] = False
    interval_s: Annotated[float, interval_option("How long --watch waits in between.")] = 2.0


@takes(DescribeOptions)
def describe(options: DescribeOptions) -> None:
    """Show each partition's stored offset, its owner, and how far behind it is.

    Behind is counted in offsets and by the age of the next record; it is left
    out where no brokers are given. A partition that needs an operator is
    marked: its topic is gone or was created again, its offset is gone, an open
    transaction keeps records from being read, a planned range was left behind.
    """
    with connected(options) as target:
        looks = Looks(target, with_times=not options.no_time)
        if options.watch:
            watch(looks.look, lambda view: view.show(options.output), options.interval_s)
        else:
            looks.look().show(options.output)


@dataclass(frozen=True, slots=True)
class View:
    """What one look has found, and when; ``new`` are partitions that are not stored yet."""

    title: str
    partitions: Sequence[PartitionDescription]
    new: Sequence[TopicPartition]
    at: datetime

    def show(self, output: Output) -> None:
        """Print it."""
        if self.new:
            listed = ", ".join(map(str, self.new))
            sys.stderr.write(f"warning: {listed}: not taken over yet; reading begins at offset 0\n")
        if output is not Output.TABLE:
            print_rows([partition_row(each) for each in self.partitions], output, fields=PARTITION_FIELDS)
            sys.stderr.writelines(f"warning: {note}\n" for note in notes(self.partitions))
            return
        from kafka_stream.admin.describe import total_lag

        rows = [partition_for_people(each, self.at) for each in self.partitions]
        print_rows(rows, output, self.title, less_important=LESS_IMPORTANT_OF_PARTITIONS)
        if (lag := total_lag(self.partitions)) is not None:
            sys.stdout.write(f"total lag: {lag}\n")
        for note in notes(self.partitions):
            sys.stdout.write(f"! {note}\n")


class Looks:
    """One stream, looked at once or more often."""

    def __init__(self, target: Target, *, with_times: bool) -> None:
        self._target = target
        self._with_times = with_times
        self._cluster: Cluster | None = None

    def look(self) -> View:
        """What there is now.

        Raises:
            KafkaStreamError: there is no such stream, or somebody did not answer.
        """
        from kafka_stream.admin.describe import described, not_stored

        positions = self._target.positions()
        observation = self._observed(positions) if self._target.has_brokers else None
        now = datetime.now(UTC)
        return View(
            f"{self._target.stream} in {self._target.store.describe()}",
            described(positions, observation, now),
            not_stored(positions, observation) if observation is not None else (),
            now,
        )

    def _observed(self, positions: Mapping[TopicPartition, StoredPosition]) -> Observation:
        from kafka_stream.admin.observation import observe, with_times

        if self._cluster is None:
            self._cluster = self._target.cluster()
        observation = observe(self._cluster, positions)
        if not self._with_times:
            return observation
        return with_times(observation, positions, self._target.kafka, BROKER_TIMEOUT_S)


def watch(
    look: Callable[[], T],
    show: Callable[[T], None],
    interval_s: float,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Look and show again and again, until Ctrl-C; once it has worked, a server that is away is waited for."""
    from kafka_stream.errors import TransientError

    shown = False
    with interrupts(signal.SIGINT) as interrupted, suppress(KeyboardInterrupt):
        while not interrupted():
            try:
                found = look()
            except TransientError as error:
                if not shown:
                    raise
                sys.stderr.write(without_passwords(f"warning: {error}\n"))
            else:
                if sys.stdout.isatty():
                    sys.stdout.write(CLEAR_SCREEN)
                show(found)
                sys.stdout.flush()
                shown = True
            wait(interval_s)


__all__ = ["CLEAR_SCREEN", "DescribeOptions", "Looks", "View", "describe", "watch"]
