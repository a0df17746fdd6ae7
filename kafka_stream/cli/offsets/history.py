"""``offsets history``: what has moved a stream's offsets."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import starmap
from typing import TYPE_CHECKING, Annotated

import typer

from kafka_stream.cli.offsets.rows import (
    HISTORY_FIELDS,
    LAST_KNOWN_FIELDS,
    LESS_IMPORTANT_OF_HISTORY,
    LESS_IMPORTANT_OF_LAST_KNOWN,
    history_for_people,
    history_row,
    last_known_for_people,
    last_known_row,
)
from kafka_stream.cli.offsets.target import StreamOptions, connected
from kafka_stream.cli.option_classes import takes
from kafka_stream.cli.output import Output, print_rows

if TYPE_CHECKING:
    from kafka_stream.types import StoredPosition, TopicPartition


@dataclass(frozen=True, slots=True)
class HistoryOptions(StreamOptions):
    """How far back."""

    limit: Annotated[
        int,
        typer.Option(
            "--limit",
            metavar="N",
            envvar="KAFKA_STREAM_LIMIT",
            min=1,
            max=1_000_000,
            help="How many actions.",
        ),
    ] = 20


@takes(HistoryOptions)
def history(options: HistoryOptions) -> None:
    """Show who or what moved which offsets when, latest first.

    Takeovers, resets, imports and the like, and batches with their records,
    duration and code version; of batches that follow each other quickly, one
    entry a second. A Kafka store keeps only what an offset's metadata holds.
    """
    with connected(options) as target:
        store = target.administered()
        positions = target.positions()
        title = f"history of {target.stream} in {store.describe()}"
        entries = store.history(target.stream, options.limit) if store.keeps_history else ()
    if not store.keeps_history:
        sys.stderr.write(
            f"warning: {store.describe()} keeps no history, only when each position was changed last, and whose it is\n"
        )
        _print_last_known(positions, options.output, title)
        return
    now = datetime.now(UTC)
    for_people = options.output is Output.TABLE
    rows = [history_for_people(e, now) for e in entries] if for_people else [history_row(e) for e in entries]
    print_rows(rows, options.output, title, fields=HISTORY_FIELDS, less_important=LESS_IMPORTANT_OF_HISTORY)


def _print_last_known(positions: Mapping[TopicPartition, StoredPosition], output: Output, title: str) -> None:
    now, known = datetime.now(UTC), sorted(positions.items())
    for_people = output is Output.TABLE
    rows = [last_known_for_people(*each, now) for each in known] if for_people else list(starmap(last_known_row, known))
    print_rows(rows, output, title, fields=LAST_KNOWN_FIELDS, less_important=LESS_IMPORTANT_OF_LAST_KNOWN)


__all__ = ["HistoryOptions", "history"]
