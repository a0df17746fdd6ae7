"""``dead-letters discard``: giving letters up."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from kafka_stream.cli.dead_letters.rows import LESS_IMPORTANT_OF_PLANS, PLAN_FIELDS, plan_rows
from kafka_stream.cli.dead_letters.selection import LetterOptions, letters_of, wanted
from kafka_stream.cli.offsets.confirmation import ExecuteOption, YesOption, confirm_on_terminal
from kafka_stream.cli.offsets.target import connected
from kafka_stream.cli.option_classes import takes
from kafka_stream.cli.output import Output, print_rows

if TYPE_CHECKING:
    from kafka_stream.protocols import LetterId


@dataclass(frozen=True, slots=True)
class DiscardOptions(LetterOptions):
    """Why, and whether to do it."""

    note: Annotated[
        str | None,
        typer.Option(
            "--note", metavar="TEXT", envvar="KAFKA_STREAM_LETTERS_NOTE", help="Why; it is kept beside each letter."
        ),
    ] = None
    execute: ExecuteOption = False
    yes: YesOption = False


@takes(DiscardOptions)
def discard(options: DiscardOptions) -> None:
    """Give up letters that wait; prints the plan and changes nothing unless --execute.

    They stay in the store, to be looked at, and later records with their keys
    do not wait for them any more. `offsets history` remembers it.
    """
    from kafka_stream.admin.dead_letters.discarding import discard_letters
    from kafka_stream.admin.dead_letters.selection import discardable

    filters = wanted(options)
    with connected(options) as target:
        store = letters_of(target)
        letters = discardable(store, target.stream, filters)
        if show_plan(letters, options, f"letters of {target.stream} in {store.describe()} to be discarded"):
            return
        confirm_on_terminal(f"Discard {len(letters)} letter(s) of stream {target.stream!r}?", yes=options.yes)
        done = discard_letters(store, target.stream, letters, note=options.note)
    if options.output is Output.TABLE:
        sys.stdout.write(f"{len(done)} letter(s) were discarded.\n")
    else:
        print_rows(plan_rows(done), options.output, fields=PLAN_FIELDS)


def show_plan(letters: Sequence[LetterId], options: DiscardOptions, title: str) -> bool:
    """Print the plan where it is wanted; whether that is all there is to do."""
    people = sys.stdout if options.output is Output.TABLE else sys.stderr
    if not letters:
        people.write("No letter that waits is meant; nothing was changed.\n")
        if options.output is not Output.TABLE:
            print_rows([], options.output, fields=PLAN_FIELDS)
        return True
    if not options.execute or options.output is Output.TABLE:
        print_rows(
            plan_rows(letters),
            options.output,
            title,
            fields=PLAN_FIELDS,
            less_important=LESS_IMPORTANT_OF_PLANS,
        )
    if not options.execute:
        people.write("Nothing was changed; add --execute to do it.\n")
    return not options.execute


__all__ = ["DiscardOptions", "ExecuteOption", "discard"]
