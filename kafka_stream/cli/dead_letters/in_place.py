"""``replay --in-place``: letters through the application's own handler, where they are."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING

from kafka_stream.cli.dead_letters.rows import (
    IN_PLACE_FIELDS,
    LESS_IMPORTANT_IN_PLACE,
    LESS_IMPORTANT_OF_PLANS,
    PLAN_FIELDS,
    in_place_for_people,
    in_place_row,
    plan_rows,
)
from kafka_stream.cli.dead_letters.selection import letters_of, wanted
from kafka_stream.cli.offsets.confirmation import confirm_on_terminal
from kafka_stream.cli.offsets.rows import Row
from kafka_stream.cli.offsets.target import connected
from kafka_stream.cli.output import Output, print_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kafka_stream.admin.dead_letters.in_place import InPlace, Outcome
    from kafka_stream.cli.dead_letters.ways import ReplayOptions
    from kafka_stream.protocols import LetterId


def replay_in_place(options: ReplayOptions) -> None:
    """Process the letters that wait."""
    from kafka_stream.admin.dead_letters.in_place import InPlace
    from kafka_stream.admin.dead_letters.selection import waiting

    filters = wanted(options)
    with connected(options) as target:
        store = letters_of(target)
        assert target.application is not None
        with closing(InPlace(target.application, store, target.stream)) as work:
            letters = waiting(store, target.stream, filters)
            title = f"letters of {target.stream} in {store.describe()} to be processed"
            if _show_plan(letters, options, title):
                return
            question = f"Process {len(letters)} letter(s) of stream {target.stream!r} with {options.in_place}?"
            confirm_on_terminal(question, yes=options.yes)
            _process(work, letters, options)


def _show_plan(letters: Sequence[LetterId], options: ReplayOptions, title: str) -> bool:
    """Print the plan where it is wanted; whether that is all there is to do."""
    people = sys.stdout if options.output is Output.TABLE else sys.stderr
    if letters and (not options.execute or options.output is Output.TABLE):
        print_rows(plan_rows(letters), options.output, title, less_important=LESS_IMPORTANT_OF_PLANS)
    elif options.output is not Output.TABLE and not letters:
        print_rows([], options.output, fields=IN_PLACE_FIELDS if options.execute else PLAN_FIELDS)
    if not letters:
        people.write("No letter that waits is meant; nothing was changed.\n")
    elif not options.execute:
        people.write("Nothing was changed; add --execute to do it.\n")
    return not (letters and options.execute)


def _process(work: InPlace, letters: Sequence[LetterId], options: ReplayOptions) -> None:
    """One letter after the other; whatever ends it, what was done is told.

    Raises:
        KafkaStreamError: some letters have failed again.
    """
    from kafka_stream.admin.dead_letters.in_place import Outcome
    from kafka_stream.errors import KafkaStreamError

    rows: list[Row] = []
    counts: Counter[Outcome] = Counter()
    for_people = options.output is Output.TABLE
    try:
        for attempted in work.replay(letters):
            counts[attempted.outcome] += 1
            if not for_people:
                rows.append(in_place_row(attempted))
            elif attempted.outcome is not Outcome.REPLAYED:
                rows.append(in_place_for_people(attempted))
    finally:
        show_outcomes(rows, counts, options.output)
    if counts[Outcome.FAILED]:
        raise KafkaStreamError(
            f"{counts[Outcome.FAILED]} letter(s) failed again and wait; `kafka-stream dead-letters show` tells why"
        )


def show_outcomes(rows: Sequence[Row], counts: Counter[Outcome], output: Output) -> None:
    """Print what became of the letters; for people, of those that were not replayed."""
    if output is not Output.TABLE:
        print_rows(rows, output, fields=IN_PLACE_FIELDS)
        return
    if rows:
        print_rows(rows, output, "not replayed", less_important=LESS_IMPORTANT_IN_PLACE)
    told = ", ".join(f"{counts[outcome]} {outcome}" for outcome in sorted(counts))
    sys.stdout.write(f"letters: {told or 'none'}\n")


__all__ = ["replay_in_place", "show_outcomes"]
