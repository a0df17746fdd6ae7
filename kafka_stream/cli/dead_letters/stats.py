"""``dead-letters stats``: how many letters there are, of what kind, and since when."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kafka_stream.cli.dead_letters.rows import LESS_IMPORTANT_OF_STATS, STATS_FIELDS, count_for_people, count_row
from kafka_stream.cli.dead_letters.selection import LetterOptions, letters_of, wanted
from kafka_stream.cli.offsets.target import connected
from kafka_stream.cli.option_classes import takes
from kafka_stream.cli.output import Output, print_rows

if TYPE_CHECKING:
    from kafka_stream.admin.dead_letters.counting import LetterCount


@takes(LetterOptions)
def stats(options: LetterOptions) -> None:
    """Count a stream's dead letters by topic, partition, error and status.

    With the first failures of the oldest and the newest of each.
    """
    from kafka_stream.admin.dead_letters.counting import count_letters

    filters = wanted(options)
    with connected(options) as target:
        store = letters_of(target)
        counts = count_letters(store.letters(target.stream, filters, payloads=False))
        title = f"dead letters of {target.stream} in {store.describe()}"
    if not counts and options.output is Output.TABLE:
        sys.stdout.write("There are no such dead letters.\n")
        return
    show_counts(counts, options.output, title)


def show_counts(counts: Sequence[LetterCount], output: Output, title: str) -> None:
    """Print them."""
    if output is not Output.TABLE:
        print_rows([count_row(count) for count in counts], output, fields=STATS_FIELDS)
        return
    rows = [count_for_people(count) for count in counts]
    print_rows(rows, output, title, less_important=LESS_IMPORTANT_OF_STATS)
    by_status: dict[str, int] = {}
    for count in counts:
        status = str(count.kind.status)
        by_status[status] = by_status.get(status, 0) + count.letters
    told = ", ".join(f"{number} {status}" for status, number in sorted(by_status.items()))
    sys.stdout.write(f"in all: {told}\n")


__all__ = ["show_counts", "stats"]
