"""``state show``: the rows of a key."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kafka_stream.cli.offsets.target import Target, connected
from kafka_stream.cli.option_classes import takes
from kafka_stream.cli.output import Output, print_rows
from kafka_stream.cli.state.rows import plain, plain_for_people
from kafka_stream.cli.state.selection import LimitOption, StateOptions, chosen, known

if TYPE_CHECKING:
    from kafka_stream.protocols import StateDescription


@dataclass(frozen=True, slots=True)
class ShowOptions(StateOptions):
    """Which keys."""

    limit: LimitOption = 100
    keys: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY…",
            help="Keys; the parts of one are separated by commas, as in CSV, where its table has several key columns.",
        ),
    ] = None


@takes(ShowOptions)
def show(options: ShowOptions) -> None:
    """Show the rows of keys, from the table that a sink keeps its state in.

    Parts are read as their columns' types: numbers, times (UTC without a
    zone), UUIDs, bytes as 0x… State of single partitions is found in all of
    them; windows are those of the key, in order of time.
    """
    with connected(options) as target:
        described = _the_one(target, options)
        rows = [row for key in options.keys or () for row in _rows(target, described, key, options.limit)]
        title = f"{described.name} of {target.stream}, in table {described.table}"
    if not rows and options.output is Output.TABLE:
        sys.stdout.write("There are no rows of this key.\n")
        return
    shown = [plain_for_people(row) for row in rows] if options.output is Output.TABLE else [plain(row) for row in rows]
    print_rows(shown, options.output, title)


def _the_one(target: Target, options: ShowOptions) -> StateDescription:
    from kafka_stream.errors import ConfigurationError

    if not options.keys:
        raise ConfigurationError("say which key: kafka-stream state show … KEY")
    found = chosen(known(target), options.state, stream=target.stream)
    if len(found) != 1:
        names = ", ".join(state.described.name for state in found)
        what = f"has several: say which, with --state: {names}" if names else "keeps no state, or has not run yet"
        raise ConfigurationError(f"stream {target.stream!r} {what}")
    return found[0].described


def _rows(target: Target, described: StateDescription, key: str, limit: int) -> Sequence[Mapping[str, Any]]:
    """So many of them; says so on stderr if there are more."""
    from kafka_stream.admin.state.kept import keeping_state
    from kafka_stream.admin.state.keys import hashes_of, parts_of

    store = keeping_state(target.store)
    if described.kind == "seen":
        found = store.find_seen(target.stream, described, hashes_of(key), key, limit + 1)
    else:
        found = store.find_state(target.stream, described, parts_of(described, key), limit + 1)
    if len(found) > limit:
        sys.stderr.write(f"warning: there are more than these {limit} of {key!r}; raise --limit\n")
    return found[:limit]


__all__ = ["ShowOptions", "show"]
