"""``kafka-stream top``: the streams of a store, or of a process, in a terminal."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from kafka_stream.cli.interrupts import interrupts
from kafka_stream.cli.offsets.target import NamedStream, connected
from kafka_stream.cli.option_classes import takes
from kafka_stream.cli.options import interval_option
from kafka_stream.cli.output import WIDTH_IN_A_PIPE

if TYPE_CHECKING:
    from rich.console import Console

    from kafka_stream.observe.page.model import PageView


@dataclass(frozen=True, slots=True)
class TopOptions(NamedStream):
    """Of whom, and how often."""

    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="KAFKA_STREAM_URL",
            help="Ask a process that runs with --http, such as http://127.0.0.1:8080, instead of a store.",
        ),
    ] = None
    interval_s: Annotated[float, interval_option("How long to wait between two looks.")] = 2.0
    once: Annotated[
        bool, typer.Option("--once", envvar="KAFKA_STREAM_ONCE", help="Look once, and end; so it does in a pipe.")
    ] = False


@takes(TopOptions)
def top(options: TopOptions) -> None:
    """Show streams again and again until Ctrl-C: lag, rate, partitions, errors.

    All streams of a store, or one (--stream); with brokers their lag, too. Or
    those of a process, by its /status. Nothing is changed.
    """
    from rich.console import Console

    on_terminal = sys.stdout.isatty()
    console = Console() if on_terminal else Console(file=sys.stdout, width=WIDTH_IN_A_PIPE // 2)
    with _look(options) as look:
        if options.once or not on_terminal:
            _show(console, look())
        else:
            _show_always(console, look, options.interval_s)


@contextmanager
def _look(options: TopOptions) -> Iterator[Callable[[], PageView]]:
    if options.url is not None:
        from kafka_stream.observe.told import ProcessLooks

        yield ProcessLooks(options.url).look
        return
    with connected(options) as target:
        from kafka_stream.observe.page.looking import StoreLooks
        from kafka_stream.observe.page.model import PageView

        store = target.administered()
        names = () if options.stream is None else (target.stream,)
        looks = StoreLooks(store, target.cluster if target.has_brokers else None, names)

        def look() -> PageView:
            looks.look()
            return PageView(store.describe(), datetime.now(UTC), looks.views(), looks.notes())

        yield look


def _show(console: Console, view: PageView) -> None:
    from kafka_stream.observe.terminal import frame

    console.print(frame(view, console.width))


def _show_always(console: Console, look: Callable[[], PageView], interval_s: float) -> None:
    """What does not answer any more is waited for, and what is known of it stays."""
    from dataclasses import replace

    from rich.live import Live

    from kafka_stream.errors import TransientError
    from kafka_stream.observe.page.model import Note, Tone
    from kafka_stream.observe.terminal import frame

    view = look()
    live = Live(console=console, screen=True, auto_refresh=False)
    with interrupts(signal.SIGINT) as interrupted, suppress(KeyboardInterrupt), live:
        while not interrupted():
            live.update(frame(view, console.width), refresh=True)
            time.sleep(interval_s)
            try:
                view = look()
            except TransientError as error:
                view = replace(view, notes=(Note("no answer", str(error), Tone.BAD),))


__all__ = ["TopOptions", "top"]
