"""``offsets history``: what has moved a stream's offsets."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

import typer

from kafka_stream.cli.offsets.rows import history_for_people, history_row, last_known_for_people, last_known_row
from kafka_stream.cli.offsets.target import StreamOptions, connected
from kafka_stream.cli.option_classes import takes
from kafka_stream.cli.output import Output, print_rows


@dataclass(frozen=True, slots=True)
class HistoryOptions(StreamOptions):
    """How far back."""

    limit: Annotated[
        int,
        typer.Option(
            "--limit", metavar="N", envvar="KAFKA_STREAM_LIMIT", min=1, help="How many actions, latest first."
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
    for_people = options.output is Output.TABLE
    if not store.keeps_history:
        sys.stderr.write(
            f"warning: {store.describe()} keeps no history, only when each position was changed last, and whose it is\n"
        )
        known = last_known_for_people if for_people else last_known_row
        print_rows([known(tp, positions[tp]) for tp in sorted(positions)], options.output, title)
        return
    row = history_for_people if for_people else history_row
    print_rows([row(entry) for entry in entries], options.output, title)


__all__ = ["HistoryOptions", "history"]
