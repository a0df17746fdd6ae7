"""``offsets reset``: print where offsets would go, and, with ``--execute``, have them go there."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kafka_stream.cli.offsets.confirmation import confirm_on_terminal
from kafka_stream.cli.offsets.reset_options import TARGETS, ResetOptions
from kafka_stream.cli.offsets.rows import (
    LESS_IMPORTANT_OF_RESETS,
    RESET_FIELDS,
    reset_for_people,
    reset_notes,
    reset_row,
)
from kafka_stream.cli.offsets.state import StateInReset, say_warning, state_in_reset
from kafka_stream.cli.offsets.target import Target, connected
from kafka_stream.cli.option_classes import takes
from kafka_stream.cli.options import read_file
from kafka_stream.cli.output import Output, print_rows

if TYPE_CHECKING:
    from kafka_stream.admin import reset_plan
    from kafka_stream.admin.reset import Reset
    from kafka_stream.admin.reset_plan import ResetPlan
    from kafka_stream.admin.targets import Selection


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

    What sinks keep as state is not rewound, which is said, unless
    --with-state-reset clears it in the same transaction.
    """
    from kafka_stream.admin.refusals import refuse

    selections = _selections(options)
    with connected(options) as target:
        store = target.administered()
        prepared, plan, state = _planned(target, options, selections)
        refusals = [*(str(partition.refusal) for partition in plan.refused), *state.refusals]
        # What is refused is no list of offsets: --from-file, or Kafka's tool, would take the rest of it for one.
        is_last_word = (refusals and not options.export) or not (options.execute or refusals)
        if is_last_word or (options.output is Output.TABLE and not options.export):
            _show(plan, state, options, f"plan for {target.stream} in {store.describe()}")
        _warn(state, options)
        refuse(target.stream, store.describe(), refusals)
        if not options.execute:
            _say(options, "Nothing was changed; add --execute to do it.")
            return
        confirm_on_terminal(_question(target, plan, state), yes=options.yes)
        done, cleared = _executed(target, prepared, options)
        if done != plan or options.output is not Output.TABLE or options.export:
            _show(done, replace(state, cleared=cleared), options, f"done for {target.stream} in {store.describe()}")
        _say(options, f"{len(done.offsets())} partition(s) were moved.")
        _say_cleared(options, cleared)


def _planned(
    target: Target, options: ResetOptions, selections: Sequence[Selection] | None
) -> tuple[Reset, ResetPlan, StateInReset]:
    """What is to be done, what that comes to now, and what becomes of state."""
    from kafka_stream.admin.reset import prepare_reset

    where = _where_to(options, target.stream)
    store = target.administered()
    target.positions()
    prepared = prepare_reset(store, target.stream, target.cluster(), where, selections)
    plan = prepared.plan(store.positions(target.stream), target.range_sinks())
    clears, clears_shared = options.with_state_reset, options.clear_shared_state
    return prepared, plan, state_in_reset(target, prepared, plan, clears=clears, clears_shared=clears_shared)


def _executed(target: Target, prepared: Reset, options: ResetOptions) -> tuple[ResetPlan, Mapping[str, int]]:
    """What was done, and how many rows of state were deleted of each table."""
    from kafka_stream.admin.reset import execute_reset
    from kafka_stream.admin.state.kept import keeping_state
    from kafka_stream.admin.state.resetting import execute_state_reset

    if not options.with_state_reset:
        return execute_reset(target.administered(), prepared, range_sinks=target.range_sinks()), {}
    return execute_state_reset(
        keeping_state(target.store), prepared, sinks=target.sinks, clears_shared=options.clear_shared_state
    )


def _question(target: Target, plan: ResetPlan, state: StateInReset) -> str:
    from kafka_stream.admin.state.kept import in_words

    clearing = f", and clear {in_words(state.cleared)}" if state.cleared else ""
    return f"Move {len(plan.offsets())} partition(s) of {target.stream!r}{clearing}?"


def _warn(state: StateInReset, options: ResetOptions) -> None:
    for warning in state.warnings():
        say_warning(warning, Output.CSV if options.export else options.output)


def _say_cleared(options: ResetOptions, cleared: Mapping[str, int]) -> None:
    from kafka_stream.admin.state.kept import in_words

    if cleared:
        _say(options, f"State was cleared: {in_words(cleared)}.")
    elif options.with_state_reset:
        _say(options, "No state was kept: nothing was cleared.")


def _show(plan: ResetPlan, state: StateInReset, options: ResetOptions, title: str) -> None:
    from kafka_stream.admin.offsets_file import to_csv

    if options.export:
        sys.stdout.write(to_csv(plan.offsets()))
    elif options.output is Output.TABLE:
        show_plan(plan, title)
    else:
        rows = [{**reset_row(partition), **state.row()} for partition in plan.partitions]
        print_rows(rows, options.output, fields=RESET_FIELDS)


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


__all__ = ["reset", "show_plan"]
