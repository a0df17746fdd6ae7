"""``state describe``: which of a stream's sinks keep state, where, and how much."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kafka_stream.cli.offsets.target import StreamOptions, connected
from kafka_stream.cli.option_classes import takes
from kafka_stream.cli.output import Output, print_rows
from kafka_stream.cli.state.rows import DESCRIBE_FIELDS, LESS_IMPORTANT_OF_STATES, state_for_people, state_row
from kafka_stream.cli.state.selection import known, say_none

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kafka_stream.admin.state.kept import KeptState


@takes(StreamOptions)
def describe(options: StreamOptions) -> None:
    """Show which of a stream's sinks keep state: in which tables, by which key.

    As they said in their last batch, with the rows that the tables have now.
    With --app also what its code keeps and has not written yet, and what is
    in the store though the code does not know it any more.
    """
    from kafka_stream.admin.state.kept import kept_state

    with connected(options) as target:
        known(target)
        found = kept_state(target.store, target.stream, target.sinks)
        title = f"state of {target.stream} in {target.store.describe()}"
    if found or not say_none(target.stream, "no sinks that keep state, or they have not run yet", options.output):
        show_states(found, options.output, title, has_code=target.application is not None)


def show_states(found: Sequence[KeptState], output: Output, title: str, *, has_code: bool) -> None:
    """Print them."""
    row = state_for_people if output is Output.TABLE else state_row
    rows = [row(state, has_code=has_code) for state in found]
    print_rows(rows, output, title, fields=DESCRIBE_FIELDS, less_important=LESS_IMPORTANT_OF_STATES)


__all__ = ["describe", "show_states"]
