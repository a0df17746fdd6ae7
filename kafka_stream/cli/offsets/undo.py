"""``offsets undo``: taking back the last command, or a migration that has stopped half-way."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from kafka_stream.cli.offsets.confirmation import YesOption, confirm
from kafka_stream.cli.offsets.rows import MOVE_FIELDS, Row, move_row
from kafka_stream.cli.offsets.state import warn_of_state
from kafka_stream.cli.offsets.target import NamedStream, StreamOptions, Target, connected
from kafka_stream.cli.option_classes import takes
from kafka_stream.cli.output import Output, print_rows

if TYPE_CHECKING:
    from kafka_stream.admin.history import UndoPlan


@dataclass(frozen=True, slots=True)
class UndoOptions(StreamOptions):
    """What, and whether to ask."""

    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="URL",
            envvar="KAFKA_STREAM_TO",
            help="Take back a `migrate --fence` to this store, wherever it has stopped.",
        ),
    ] = None
    yes: YesOption = False


@takes(UndoOptions)
def undo(options: UndoOptions) -> None:
    """Put back what the last reset or import changed.

    Refused, with exit status 3, if a batch has committed since, if another
    command came after it, or where the store keeps no history.

    With --to it opens a stream again that `migrate --fence` has closed, on
    every store: what has arrived there is closed there, and comes back.
    """
    with ExitStack() as stack:
        target = stack.enter_context(connected(options))
        target.positions()
        if options.to is None:
            _undo_last(target, options)
        else:
            into = NamedStream(None, options.to, options.kafka, options.kafka_config, target.stream)
            _take_back(target, stack.enter_context(connected(into)), options)


def _undo_last(target: Target, options: UndoOptions) -> None:
    from kafka_stream.admin.history import prepare_undo
    from kafka_stream.admin.history import undo as put_back
    from kafka_stream.admin.refusals import refuse

    store, sinks = target.administered(), target.range_sinks()
    plan = prepare_undo(store, target.stream, sinks)
    refuse(target.stream, store.describe(), plan.refusals)
    _show(target, options, _moves(plan))
    last = plan.entries[0]
    confirm(f"Undo the {last.action.kind} of {last.at:%Y-%m-%d %H:%M:%S}Z by {last.action.actor}?", yes=options.yes)
    done = put_back(store, target.stream, action_id=plan.action.id, range_sinks=sinks)
    _report(options, _moves(done))


def _take_back(target: Target, other: Target, options: UndoOptions) -> None:
    from kafka_stream.admin.migration import plan_take_back, take_back

    store, elsewhere = target.administered(), other.administered()
    stored = store.positions(target.stream)
    planned = plan_take_back(store, elsewhere, target.stream)
    _show(
        target,
        options,
        [
            move_row(tp, stored[tp].next_offset if tp in stored else None, position.next_offset)
            for tp, position in sorted(planned.items())
        ],
    )
    warn_of_state(other, options.output, moved="brought back with the offsets")
    question = f"Open stream {target.stream!r} again in {store.describe()}, closing it in {elsewhere.describe()}?"
    confirm(question, yes=options.yes)
    moved = take_back(store, elsewhere, target.stream, range_sinks=target.range_sinks())
    before = moved.before
    rows = [
        move_row(tp, before[tp].next_offset if tp in before else None, moved.after[tp].next_offset)
        for tp in sorted(moved.after)
    ]
    _report(options, rows)


def _moves(plan: UndoPlan) -> list[Row]:
    return [move_row(e.topic_partition, e.until_offset, e.from_offset) for e in plan.entries]


def _show(target: Target, options: UndoOptions, rows: list[Row]) -> None:
    if options.output is Output.TABLE:
        print_rows(rows, options.output, f"plan for {target.stream} in {target.store.describe()}")


def _report(options: UndoOptions, rows: list[Row]) -> None:
    if options.output is Output.TABLE:
        sys.stdout.write(f"{len(rows)} partition(s) were put back.\n")
    else:
        print_rows(rows, options.output, fields=MOVE_FIELDS)


__all__ = ["UndoOptions", "undo"]
