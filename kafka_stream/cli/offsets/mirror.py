"""``offsets mirror``: the lag of a stopped stream, for tools that look at consumer groups."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

import typer

from kafka_stream.cli.offsets.confirmation import YesOption, confirm_on_terminal
from kafka_stream.cli.offsets.rows import MOVE_FIELDS, move_row
from kafka_stream.cli.offsets.target import StreamOptions, Target, connected
from kafka_stream.cli.option_classes import takes
from kafka_stream.cli.output import Output, print_rows

FIELDS = ("topic", "partition", "offset")


@dataclass(frozen=True, slots=True)
class MirrorOptions(StreamOptions):
    """Into which group."""

    group: Annotated[
        str | None,
        typer.Option(
            "--group",
            metavar="GROUP",
            envvar="KAFKA_STREAM_GROUP",
            help="Another consumer group than the stream's own; prints the plan, and needs --execute.",
        ),
    ] = None
    execute: Annotated[
        bool,
        typer.Option(
            "--execute", envvar="KAFKA_STREAM_EXECUTE", help="Overwrite the offsets of the group that --group names."
        ),
    ] = False
    yes: YesOption = False


@takes(MirrorOptions)
def mirror(options: MirrorOptions) -> None:
    """Write the stored offsets of a stopped stream to its consumer group.

    So that KEDA, Burrow, AKHQ and kafka-consumer-groups.sh show its lag. They
    are for those tools only: the stream never reads them back. A stream that
    runs does it by itself with the listener GroupOffsetMirror; while its group
    has members this is refused, with exit status 3.

    A group that is not the stream's own (--group) is not overwritten unless
    --execute: without, the plan is only printed.
    """
    from kafka_stream.admin.mirror import mirror_offsets

    with connected(options) as target:
        group = options.group or target.group_id
        target.positions()
        if group != target.group_id and not _is_meant(target, group, options):
            return
        written = mirror_offsets(target.store, target.stream, target.cluster(), group)
    if options.output is Output.TABLE:
        sys.stdout.write(f"{len(written)} offset(s) were written to group {group!r}.\n")
    else:
        rows = [{"topic": tp.topic, "partition": tp.partition, "offset": offset} for tp, offset in written.items()]
        print_rows(rows, options.output, fields=FIELDS)


def _is_meant(target: Target, group: str, options: MirrorOptions) -> bool:
    """Show what would become of another group's offsets, and whether that is to be done."""
    from kafka_stream.admin.mirror import mirrored_offsets

    cluster = target.cluster()
    wanted = mirrored_offsets(target.store, target.stream, cluster)
    if not options.execute or options.output is Output.TABLE:
        before = cluster.group_offsets(group, list(wanted))
        rows = [move_row(tp, before.get(tp), offset) for tp, offset in wanted.items()]
        print_rows(rows, options.output, f"plan for group {group} at {cluster.servers}", fields=MOVE_FIELDS)
    if not options.execute:
        people = sys.stdout if options.output is Output.TABLE else sys.stderr
        people.write("Nothing was changed; add --execute to do it.\n")
        return False
    confirm_on_terminal(f"Overwrite {len(wanted)} offset(s) of group {group!r}?", yes=options.yes)
    return True


__all__ = ["MirrorOptions", "mirror"]
