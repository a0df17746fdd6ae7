"""``offsets export``, ``import`` and ``migrate``: offsets out of a store, into one, from one to another."""

from __future__ import annotations

import enum
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kafka_stream.cli.offsets.confirmation import YesOption, confirm
from kafka_stream.cli.offsets.rows import MOVE_FIELDS, move_row
from kafka_stream.cli.offsets.state import warn_of_state
from kafka_stream.cli.offsets.target import NamedStream, StreamOptions, Target, connected
from kafka_stream.cli.option_classes import takes
from kafka_stream.cli.options import read_file
from kafka_stream.cli.output import Output, print_rows

if TYPE_CHECKING:
    from kafka_stream.admin.transfer import Moved
    from kafka_stream.types import TopicPartition


class ExportFormat(enum.StrEnum):
    """JSON keeps all that another store needs, CSV the offsets alone."""

    JSON = "json"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class ExportOptions(NamedStream):
    """In which form."""

    output: Annotated[
        ExportFormat,
        typer.Option(
            envvar="KAFKA_STREAM_EXPORT_FORMAT",
            help="JSON with all that another store needs, or topic,partition,offset lines as Kafka's own tool reads.",
        ),
    ] = ExportFormat.JSON


@dataclass(frozen=True, slots=True)
class ImportOptions(StreamOptions):
    """From where."""

    file: Annotated[
        Path, typer.Argument(metavar="FILE", envvar="KAFKA_STREAM_FILE", help="What `export` wrote; - reads stdin.")
    ] = Path("-")
    yes: YesOption = False


@dataclass(frozen=True, slots=True)
class MigrateOptions(StreamOptions):
    """From where to where."""

    source: Annotated[
        str | None,
        typer.Option("--from", metavar="URL", envvar="KAFKA_STREAM_FROM", help="The store it is in; else --store."),
    ] = None
    to: Annotated[
        str | None, typer.Option("--to", metavar="URL", envvar="KAFKA_STREAM_TO", help="The store it is to go to.")
    ] = None
    fence: Annotated[
        bool,
        typer.Option(
            "--fence",
            envvar="KAFKA_STREAM_FENCE",
            help="Close the stream in its store first, for good: whoever runs it stops and commits nothing after.",
        ),
    ] = False
    yes: YesOption = False


@takes(ExportOptions)
def export(options: ExportOptions) -> None:
    """Print a stream's offsets, for `offsets import`; changes nothing."""
    from kafka_stream.admin.offsets_file import to_csv, to_json
    from kafka_stream.admin.transfer import export_offsets

    with connected(options) as target:
        target.positions()
        found = export_offsets(target.administered(), target.stream)
        as_csv = options.output is ExportFormat.CSV
        say_topics(target, found)
    offsets = {tp: position.next_offset for tp, position in found.items()}
    sys.stdout.write(to_csv(offsets) if as_csv else to_json(target.stream, found))


@takes(ImportOptions)
def import_(options: ImportOptions) -> None:
    """Store a stream's offsets as `offsets export`, or Kafka's own tool, wrote them.

    They are stored exactly as they are, also where the store has never seen
    the stream; partitions that are not named stay as they are. A running
    stream goes on from them.
    """
    from kafka_stream.admin.offsets_file import parse_offsets
    from kafka_stream.admin.refusals import refuse
    from kafka_stream.admin.transfer import import_offsets, why_not_imported

    with connected(options) as target:
        wanted = parse_offsets(read_file(options.file, "FILE"), target.stream)
        store, sinks = target.administered(), target.range_sinks()
        stored = store.positions(target.stream)
        refuse(target.stream, store.describe(), why_not_imported(wanted, stored, discardable=bool(sinks)))
        if options.output is Output.TABLE:
            rows = [
                move_row(tp, stored[tp].next_offset if tp in stored else None, wanted[tp].next_offset)
                for tp in sorted(wanted)
            ]
            print_rows(rows, options.output, f"plan for {target.stream} in {store.describe()}")
        if any(tp in stored and stored[tp].next_offset != position.next_offset for tp, position in wanted.items()):
            warn_of_state(target, options.output, moved="rewound")
        confirm(f"Store {len(wanted)} offset(s) of stream {target.stream!r}?", yes=options.yes)
        moved = import_offsets(store, target.stream, wanted, range_sinks=sinks)
    _report(moved, options.output, f"{len(moved.after)} offset(s) were stored.")


@takes(MigrateOptions)
def migrate(options: MigrateOptions) -> None:
    """Copy a stream's offsets from one store to another, and look there whether they arrived.

    Refused, with exit status 3, while somebody owns the stream, unless --fence,
    or if the target has other offsets of its own, or would not take these: it
    is asked first. Done twice it changes nothing. One that has stopped half-way
    is done again, or taken back with `offsets undo --to`.
    """
    from kafka_stream.admin.migration import fence_and_migrate
    from kafka_stream.admin.migration import migrate as copy
    from kafka_stream.errors import ConfigurationError

    if options.to is None:
        raise ConfigurationError("say where to: --to URL")
    with ExitStack() as stack:
        source = stack.enter_context(connected(replace(options, store=options.source or options.store)))
        into = NamedStream(None, options.to, options.kafka, options.kafka_config, source.stream)
        target = stack.enter_context(connected(into))
        source.positions()
        warn_of_state(source, options.output, moved="migrated, and stays in the tables where it is")
        act = fence_and_migrate if options.fence else copy
        closing = ", closing it there for good" if options.fence else ""
        confirm(
            f"Migrate stream {source.stream!r} from {source.store.describe()}{closing}, to {target.store.describe()}?",
            yes=options.yes,
        )
        moved = act(source.administered(), target.administered(), source.stream)
        say_topics(source, moved.after)
        where = target.store.describe()
    _report(moved, options.output, f"{len(moved.changed)} offset(s) were copied to {where}.")


def say_topics(target: Target, partitions: Iterable[TopicPartition]) -> None:
    """Say on stderr of which topics there are offsets: what this user may not see is not among them."""
    from kafka_stream.protocols import WantedTopics

    seen = {tp.topic for tp in partitions}
    sys.stderr.write(f"topics of stream {target.stream!r}: {', '.join(sorted(seen))}\n")
    if missing := sorted(set(WantedTopics.of(target.topics).named) - seen):
        sys.stderr.write(
            f"warning: the application reads {', '.join(missing)} as well, of which there are no offsets, or none that "
            "this user may see\n"
        )
    if target.store.capabilities.transaction == "kafka":
        sys.stderr.write("warning: Kafka shows only topics that this user may describe: others are not among them\n")


def _report(moved: Moved, output: Output, sentence: str) -> None:
    if output is Output.TABLE:
        sys.stdout.write(f"{sentence}\n")
        return
    before = moved.before
    rows = [
        move_row(tp, before[tp].next_offset if tp in before else None, moved.after[tp].next_offset)
        for tp in moved.changed
    ]
    print_rows(rows, output, fields=MOVE_FIELDS)


__all__ = ["ExportFormat", "ExportOptions", "ImportOptions", "MigrateOptions", "export", "import_", "migrate"]
