"""``offsets delete``: a stream that is not to go on."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

import typer

from kafka_stream.cli.offsets.confirmation import YesOption, confirm
from kafka_stream.cli.offsets.state import warn_of_state
from kafka_stream.cli.offsets.target import StreamOptions, connected
from kafka_stream.cli.option_classes import takes
from kafka_stream.cli.output import Output, print_rows


@dataclass(frozen=True, slots=True)
class DeleteOptions(StreamOptions):
    """Which of its topics."""

    topic: Annotated[
        list[str] | None,
        typer.Option(
            "--topic",
            metavar="T",
            envvar="KAFKA_STREAM_TOPIC",
            help="A topic of the stream; may be repeated. All of them if none is named.",
        ),
    ] = None
    yes: YesOption = False


@takes(DeleteOptions)
def delete(options: DeleteOptions) -> None:
    """Delete a stream's offsets.

    Whoever runs it stops, with exit status 3, and commits nothing after. A new
    start begins where its `start` says. The owner epochs live on, so that no
    owner from before can ever commit again.
    """
    from kafka_stream.admin.transfer import delete as close

    with connected(options) as target:
        store = target.administered()
        target.positions()
        warn_of_state(target, options.output, moved="rewound")
        what = f"topic(s) {', '.join(options.topic)} of stream" if options.topic else "stream"
        confirm(f"Delete the offsets of {what} {target.stream!r} in {store.describe()}?", yes=options.yes)
        deleted = close(store, target.stream, options.topic or None)
    if options.output is not Output.TABLE:
        print_rows([{"topic": topic} for topic in deleted], options.output, fields=("topic",))
    elif deleted:
        sys.stdout.write(f"The offsets of {', '.join(deleted)} were deleted.\n")
    else:
        sys.stdout.write("They were deleted before; nothing was changed.\n")


__all__ = ["DeleteOptions", "delete"]
