"""``kafka-stream ui``: a page with all streams of a store."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated

import typer

from kafka_stream.cli.interrupts import interrupts
from kafka_stream.cli.offsets.target import Connection, connected
from kafka_stream.cli.option_classes import takes

_LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class UiOptions(Connection):
    """Where it is, and for whom."""

    http: Annotated[str, typer.Option(metavar="HOST:PORT", envvar="KAFKA_STREAM_HTTP", help="Where the page is.")] = (
        "127.0.0.1:8080"
    )
    token: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN",
            envvar="KAFKA_STREAM_UI_TOKEN",
            help="What a browser is asked for; needed where others can reach the page. Better given as the variable.",
        ),
    ] = None


@takes(UiOptions)
def ui(options: UiOptions) -> None:
    """Serve a page with all streams of a store until Ctrl-C; it changes nothing.

    Lag is there where brokers are given. Only this machine can read it, unless
    there is a token: as `Authorization: Bearer …`, or in the page's form.
    """
    from kafka_stream.observe.http import served
    from kafka_stream.observe.page.looking import StoreLooks
    from kafka_stream.observe.page.samples import EVERY_S
    from kafka_stream.observe.page.ticker import Ticker
    from kafka_stream.observe.ui import refuse_to_be_open
    from kafka_stream.observe.ui import ui as application

    refuse_to_be_open(options.http, options.token)
    with connected(options) as target, interrupts(signal.SIGINT, signal.SIGTERM) as interrupted:
        store = target.administered()
        looks = StoreLooks(store, target.cluster if target.has_brokers else None)
        ticker = Ticker(looks.look, EVERY_S, "kafka-stream-looks")
        try:
            with (
                suppress(KeyboardInterrupt),
                served(application(looks, store.describe(), options.token), options.http) as where,
            ):
                sys.stdout.write(f"The streams in {store.describe()} are shown at {where}\n")
                sys.stdout.flush()
                ticker.start()
                while not interrupted():
                    threading.Event().wait(_LOOK_S)
        finally:
            ticker.stop(_LOOK_S)


__all__ = ["UiOptions", "ui"]
