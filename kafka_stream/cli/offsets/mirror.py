"""``offsets mirror``: the lag of a stopped stream, for tools that look at consumer groups."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

import typer

from kafka_stream.cli.offsets.target import StreamOptions, connected
from kafka_stream.cli.option_classes import takes
from kafka_stream.cli.output import Output, print_rows


@dataclass(frozen=True, slots=True)
class MirrorOptions(StreamOptions):
    """Into which group."""

    group: Annotated[
        str | None,
        typer.Option(
            "--group",
            metavar="GROUP",
            envvar="KAFKA_STREAM_GROUP",
            help="The consumer group; the stream's own if none is named.",
        ),
    ] = None


@takes(MirrorOptions)
def mirror(options: MirrorOptions) -> None:
    """Write the stored offsets of a stopped stream to its consumer group.

    So that KEDA, Burrow, AKHQ and kafka-consumer-groups.sh show its lag. They
    are for those tools only: the stream never reads them back. A stream that
    runs does it by itself with the listener GroupOffsetMirror; while its group
    has members this is refused, with exit status 3.
    """
    from kafka_stream.admin.mirror import mirror_offsets

    with connected(options) as target:
        group = options.group or target.group_id
        target.positions()
        written = mirror_offsets(target.store, target.stream, target.cluster(), group)
    if options.output is Output.TABLE:
        sys.stdout.write(f"{len(written)} offset(s) were written to group {group!r}.\n")
    else:
        rows = [{"topic": tp.topic, "partition": tp.partition, "offset": offset} for tp, offset in written.items()]
        print_rows(rows, options.output)


__all__ = ["MirrorOptions", "mirror"]
