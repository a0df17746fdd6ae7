"""``offsets reset``: print where offsets would go, and, with ``--execute``, have them go there."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kafka_stream.cli.offsets.confirmation import ExecuteOption, YesOption, confirm_on_terminal
from kafka_stream.cli.offsets.rows import (
    LESS_IMPORTANT_OF_RESETS,
    RESET_FIELDS,
    reset_for_people,
    reset_notes,
    reset_row,
)
from kafka_stream.cli.offsets.target import StreamOptions, connected
from kafka_stream.cli.option_classes import takes
from kafka_stream.cli.options import read_file
from kafka_stream.cli.output import Output, print_rows

if TYPE_CHECKING:
    from kafka_stream.admin import reset_plan
    from kafka_stream.admin.reset_plan import ResetPlan
    from kafka_stream.admin.targets import Selection

TARGETS = (
    "--to-earliest, --to-latest, --to-current, --to-offset, --shift-by, --to-datetime, --by-duration or --from-file"
)


@dataclass(frozen=True, slots=True)
class ResetOptions(StreamOptions):
    """Which partitions, and where to; the words are those of Kafka's own tool."""

    topic: Annotated[
        list[str] | None,
        typer.Option(
            "--topic",
            metavar="T[:0,1-3]",
            envvar="KAFKA_STREAM_TOPIC",
            help="A topic, or some of its partitions; may be repeated.",
        ),
    ] = None
    all_topics: Annotated[
        bool,
        typer.Option(
            "--all-topics", envvar="KAFKA_STREAM_ALL_TOPICS", help="All partitions that have a stored offset."
        ),
    ] = False
    to_earliest: Annotated[
        bool, typer.Option("--to-earliest", envvar="KAFKA_STREAM_TO_EARLIEST", help="To the first offset.")
    ] = False
    to_latest: Annotated[
        bool,
        typer.Option(
            "--to-latest",
            envvar="KAFKA_STREAM_TO_LATEST",
            help="To the high watermark; skips what open transactions have written, too.",
        ),
    ] = False
    to_current: Annotated[
        bool,
        typer.Option(
            "--to-current", envvar="KAFKA_STREAM_TO_CURRENT", help="Where it is; with --export, a copy to go back to."
        ),
    ] = False
    to_offset: Annotated[
        int | None, typer.Option("--to-offset", metavar="N", envvar="KAFKA_STREAM_TO_OFFSET", help="To this offset.")
    ] = None
    shift_by: Annotated[
        int | None,
        typer.Option(
            "--shift-by",
            metavar="N",
            envvar="KAFKA_STREAM_SHIFT_BY",
            help="So many offsets on, or back if it is negative.",
        ),
    ] = None
    to_datetime: Annotated[
        str | None,
        typer.Option(
            "--to-datetime",
            metavar="ISO",
            envvar="KAFKA_STREAM_TO_DATETIME",
            help="To the first record at or after this time, such as 2026-01-31T08:00; UTC if it has no zone.",
        ),
    ] = None
    by_duration: Annotated[
        str | None,
        typer.Option(
            "--by-duration",
            metavar="ISO8601",
            envvar="KAFKA_STREAM_BY_DURATION",
            help="To the first record that is not older, such as P7D or PT1H30M.",
        ),
    ] = None
    from_file: Annotated[
        Path | None,
        typer.Option(
            "--from-file",
            metavar="FILE",
            envvar="KAFKA_STREAM_FROM_FILE",
            help="To the offsets in a file of topic,partition,offset lines, as --export prints them; - reads stdin.",
        ),
    ] = None
    execute: ExecuteOption = False
    export: Annotated[
        bool,
        typer.Option(
            "--export",
            envvar="KAFKA_STREAM_EXPORT",
            help="Print topic,partition,offset lines, which --from-file and Kafka's own tool read.",
        ),
    ] = False
    yes: YesOption = False


@takes(ResetOptions)
def reset(options: ResetOptions) -> None:
    """Move a stream's offsets; prints the plan and changes nothing unless --execute.

    The words are those of kafka-consumer-groups.sh, and so is what they mean:
    offsets out of range are moved into it, times without a zone are UTC. A
    running stream goes on from the new offsets, without a restart; only a
    group that keeps its offsets in Kafka has to be stopped before.

    All partitions are moved or none. Refused, with exit status 3: a partition
    with a planned range that is not committed (unless --app names a stream
    whose sink can discard it), a closed one. `offsets undo` puts back what was
    moved.
    """
    from kafka_stream.admin.refusals import refuse
    from kafka_stream.admin.reset import execute_reset, prepare_reset

    selections = _selections(options)
    with connected(options) as target:
        where = _where_to(options, target.stream)
        store, sinks = target.administered(), target.range_sinks()
        target.positions()
        prepared = prepare_reset(store, target.stream, target.cluster(), where, selections)
        plan = prepared.plan(store.positions(target.stream), sinks)
        # What is refused is no list of offsets: --from-file, or Kafka's tool, would take the rest of it for one.
        is_last_word = (plan.refused and not options.export) or not (options.execute or plan.refused)
        if is_last_word or (options.output is Output.TABLE and not options.export):
            _show(plan, options, f"plan for {target.stream} in {store.describe()}")
        refuse(target.stream, store.describe(), [str(partition.refusal) for partition in plan.refused])
        if not options.execute:
            _say(options, "Nothing was changed; add --execute to do it.")
            return
        confirm_on_terminal(f"Move {len(plan.offsets())} partition(s) of {target.stream!r}?", yes=options.yes)
        done = execute_reset(store, prepared, range_sinks=sinks)
        if done != plan or options.output is not Output.TABLE or options.export:
            _show(done, options, f"done for {target.stream} in {store.describe()}")
        _say(options, f"{len(done.offsets())} partition(s) were moved.")


def _show(plan: ResetPlan, options: ResetOptions, title: str) -> None:
    from kafka_stream.admin.offsets_file import to_csv

    if options.export:
        sys.stdout.write(to_csv(plan.offsets()))
    elif options.output is Output.TABLE:
        show_plan(plan, title)
    else:
        print_rows([reset_row(partition) for partition in plan.partitions], options.output, fields=RESET_FIELDS)


def show_plan(plan: ResetPlan, title: str) -> None:
    """Print a plan for people."""
    rows = [reset_for_people(partition) for partition in plan.partitions]
    print_rows(rows, Output.TABLE, title, less_important=LESS_IMPORTANT_OF_RESETS)
    for note in reset_notes(plan.partitions):
        sys.stdout.write(f"! {note}\n")


def _say(options: ResetOptions, sentence: str) -> None:
    """To people, beside what programs read."""
    stream = sys.stdout if options.output is Output.TABLE and not options.export else sys.stderr
    stream.write(f"{sentence}\n")


def _selections(options: ResetOptions) -> Sequence[Selection] | None:
    from kafka_stream.admin.targets import Selection
    from kafka_stream.errors import ConfigurationError

    if options.topic and options.all_topics:
        raise ConfigurationError("--topic and --all-topics exclude each other")
    if options.topic:
        return [Selection.parsed(text) for text in options.topic]
    if not options.all_topics and options.from_file is None:
        raise ConfigurationError("say which partitions: --topic T[:0,1-3] (may be repeated), or --all-topics")
    return None


def _where_to(options: ResetOptions, stream: str) -> reset_plan.Target:
    """The one target that was given.

    Raises:
        ConfigurationError: there are several, or none, or it cannot be read.
    """
    from kafka_stream.admin import reset_plan as plans
    from kafka_stream.admin.offsets_file import parse_offsets
    from kafka_stream.admin.targets import parse_time, time_before
    from kafka_stream.errors import ConfigurationError

    targets: list[plans.Target] = []
    if options.to_earliest:
        targets.append(plans.ToEarliest())
    if options.to_latest:
        targets.append(plans.ToLatest())
    if options.to_current:
        targets.append(plans.ToCurrent())
    if options.to_offset is not None:
        targets.append(plans.ToOffset(options.to_offset))
    if options.shift_by is not None:
        targets.append(plans.ShiftBy(options.shift_by))
    if options.to_datetime is not None:
        targets.append(plans.ToTime(parse_time(options.to_datetime)))
    if options.by_duration is not None:
        targets.append(plans.ToTime(time_before(options.by_duration, datetime.now(UTC))))
    if options.from_file is not None:
        found = parse_offsets(read_file(options.from_file, "--from-file"), stream)
        targets.append(plans.ToOffsets({tp: position.next_offset for tp, position in found.items()}))
    if len(targets) != 1:
        raise ConfigurationError(f"say where to, with one of {TARGETS}")
    return targets[0]


__all__ = ["ResetOptions", "reset", "show_plan"]
