"""``dead-letters list``: which letters there are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

from kafka_stream.cli.dead_letters.rows import LESS_IMPORTANT_OF_LETTERS, LIST_FIELDS, letter_for_people, letter_row
from kafka_stream.cli.dead_letters.selection import LetterOptions, LimitOption, letters_of, wanted
from kafka_stream.cli.offsets.target import connected
from kafka_stream.cli.option_classes import takes
from kafka_stream.cli.output import Output, print_rows

if TYPE_CHECKING:
    from kafka_stream.protocols import DeadLetter


@dataclass(frozen=True, slots=True)
class ListOptions(LetterOptions):
    """How many."""

    limit: LimitOption = 100


@takes(ListOptions)
def list_(options: ListOptions) -> None:
    """List a stream's dead letters, by topic, partition and offset.

    Without values, headers and tracebacks, which `show` and `export` give.
    """
    filters = wanted(options)
    with connected(options) as target:
        store = letters_of(target)
        letters = first(store.letters(target.stream, filters, payloads=False), options.limit)
        title = f"dead letters of {target.stream} in {store.describe()}"
    if not letters and options.output is Output.TABLE:
        sys.stdout.write("There are no such dead letters.\n")
        return
    show_list(letters, options.output, title, datetime.now(UTC))


def first(found: Iterator[DeadLetter], limit: int) -> list[DeadLetter]:
    """So many of them; says so on stderr if there are more."""
    letters = list(islice(found, limit))
    if next(found, None) is not None:
        sys.stderr.write(f"warning: there are more than these {limit}; raise --limit, or filter\n")
    return letters


def show_list(letters: list[DeadLetter], output: Output, title: str, now: datetime) -> None:
    """Print them."""
    if output is Output.TABLE:
        rows = [letter_for_people(letter, now) for letter in letters]
    else:
        rows = [letter_row(letter) for letter in letters]
    print_rows(rows, output, title, fields=LIST_FIELDS, less_important=LESS_IMPORTANT_OF_LETTERS)


__all__ = ["ListOptions", "first", "list_", "show_list"]
