"""What ``offsets reset`` takes: which partitions, where to, and what becomes of state."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from kafka_stream.cli.offsets.confirmation import ExecuteOption, YesOption
from kafka_stream.cli.offsets.target import StreamOptions

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
    with_state_reset: Annotated[
        bool,
        typer.Option(
            "--with-state-reset",
            envvar="KAFKA_STREAM_WITH_STATE_RESET",
            help="Clear, in the same transaction, the rows that the stream's sinks keep as state.",
        ),
    ] = False
    clear_shared_state: Annotated[
        bool,
        typer.Option(
            "--clear-shared-state",
            envvar="KAFKA_STREAM_CLEAR_SHARED_STATE",
            help="Clear state that is made of all partitions though only some of them move.",
        ),
    ] = False
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


__all__ = ["TARGETS", "ResetOptions"]
