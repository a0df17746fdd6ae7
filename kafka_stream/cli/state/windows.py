"""``kafka-stream windows``: how far event time has come, what holds it back, what is open, what was late."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kafka_stream.cli.offsets.rows import when
from kafka_stream.cli.offsets.target import connected
from kafka_stream.cli.option_classes import takes
from kafka_stream.cli.output import Output, print_rows
from kafka_stream.cli.state.rows import (
    WINDOW_FIELDS,
    late_row,
    moment,
    names,
    open_row,
    partition_for_people,
    window_rows,
)
from kafka_stream.cli.state.selection import LimitOption, StateOptions, chosen, known, say_none

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kafka_stream.admin.state.kept import KeptState
    from kafka_stream.protocols import WindowsNow

_SINKS = "no sinks of windows, or they have not run yet"


@dataclass(frozen=True, slots=True)
class WindowsOptions(StateOptions):
    """How many windows."""

    limit: LimitOption = 20


@takes(WindowsOptions)
def windows(options: WindowsOptions) -> None:
    """Show how far a stream's windows have come, and what holds them back.

    For each of its sinks: until when windows are closed, the watermark of the
    stream and of each partition, which of them hold it back, the first that
    are open, with the number of their keys, and the latest with late records.
    """
    from kafka_stream.admin.state.kept import keeping_state

    with connected(options) as target:
        found = [
            state
            for state in chosen(known(target), options.state, stream=target.stream)
            if state.described.kind == "windows"
        ]
        store = keeping_state(target.store)
        now = [(state, store.windows_now(target.stream, state.described, options.limit)) for state in found]
    if now or not say_none(target.stream, _SINKS, options.output):
        show_windows(now, options.output)


def show_windows(found: Sequence[tuple[KeptState, WindowsNow]], output: Output) -> None:
    """Print them."""
    if output is not Output.TABLE:
        print_rows([row for state, now in found for row in window_rows(state, now)], output, fields=WINDOW_FIELDS)
        return
    for number, (state, now) in enumerate(found):
        sys.stdout.write("\n" if number else "")
        _show(state, now)


def _show(state: KeptState, now: WindowsNow) -> None:
    from kafka_stream.admin.state.windows import stream_watermark

    described = state.described
    whole = stream_watermark(now.partitions)
    held = set(whole.held_back_by)
    closed_us = None if state.stored is None else state.stored.closed_until_us
    what = described.details.get("window", "windows")
    partitions = [partition_for_people(it, holds_back=it.topic_partition in held) for it in now.partitions]
    print_rows(partitions, Output.TABLE, f"{described.name}: {what}, in table {described.table}")
    by = f", held back by {names(whole.held_back_by)}" if held else ""
    sys.stdout.write(f"closed until {_said(closed_us)}; watermark {_said(whole.watermark_us)}{by}\n")
    if now.panes:
        print_rows([open_row(it, when) for it in now.panes], Output.TABLE, _open_title(now))
    else:
        sys.stdout.write("nothing is open\n" if now.open_panes == 0 else "the table of what is open is not there\n")
    if now.late:
        print_rows([late_row(it, when) for it in now.late], Output.TABLE, "late records, by window")


def _open_title(now: WindowsNow) -> str:
    if now.panes[0].last_us is not None:
        return f"open: {now.open_panes} session(s)"
    more = f", of which these are the first {len(now.panes)}" if len(now.panes) < (now.open_panes or 0) else ""
    return f"open: {now.open_panes} pane(s){more}"


def _said(microseconds: int | None) -> str:
    return when(moment(microseconds)) or "nothing yet"


__all__ = ["WindowsOptions", "show_windows", "windows"]
