"""``kafka-stream run``: a stream in the foreground."""

from __future__ import annotations

import enum
import logging
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kafka_stream.cli.options import KafkaOption, NameOption, StoreOption, kafka_given
from kafka_stream.cli.precedence import GivenKafka, name_beside, store_beside, telling_variables

if TYPE_CHECKING:
    from kafka_stream.cli.progress import LineProgress
    from kafka_stream.stream import DirectStream


class LogLevel(enum.StrEnum):
    """What is logged to stderr."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def run(
    app: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:STREAM",
            envvar="KAFKA_STREAM_APP",
            help="Where the stream is: `app:stream` for `stream` in app.py, a DirectStream or a function returning it.",
        ),
    ],
    until: Annotated[
        str | None,
        typer.Option(
            metavar="latest|TIME",
            envvar="KAFKA_STREAM_UNTIL",
            help="Stop there: at the ends as they are at the start, or at a time such as 2026-01-31T00:00+00:00.",
        ),
    ] = None,
    name: NameOption = None,
    store: StoreOption = None,
    kafka: KafkaOption = None,
    log_level: Annotated[
        LogLevel, typer.Option(envvar="KAFKA_STREAM_LOG_LEVEL", help="What is logged to stderr.")
    ] = LogLevel.INFO,
    *,
    executor: Annotated[
        str | None,
        typer.Option(
            metavar="processes:N|dask://HOST:PORT|spark",
            envvar="KAFKA_STREAM_EXECUTOR",
            help="Where prepare runs, if not in this process: processes of this machine, a Dask cluster, or Spark.",
        ),
    ] = None,
    context: typer.Context,
) -> None:
    """Run a stream until it is stopped, or up to an end.

    Ctrl-C and SIGTERM finish the batch in hand, then leave. Options go before
    what the application's code says; a variable that says something else than
    the code is refused.

    Exit status: 0 done, 1 failed, 2 a wrong setting, 3 refused or stopped for
    an operator to decide (a guarantee that cannot hold, data loss, another
    owner took over).
    """
    from kafka_stream.settings import checked_bound

    if until is not None:
        checked_bound(until, "--until")
    on_terminal = until is not None and sys.stderr.isatty()
    with telling_variables(context):
        stream = _loaded(app, name=name, store=store, kafka=kafka_given(kafka), executor=executor)
    with _progress(stream, until) as progress:
        _set_up_logging(log_level, on_terminal=on_terminal)
        stream.replace(listeners=(*stream.settings.listeners, progress)).run(until=until)


def _loaded(app: str, *, name: str | None, store: str | None, kafka: GivenKafka, executor: str | None) -> DirectStream:
    """The application's stream, with what options say otherwise; variables must agree with its code."""
    from kafka_stream.loading import load_stream

    stream = load_stream(app)
    changes: dict[str, Any] = {} if executor is None else {"executor": executor}
    if (of_name := name_beside(stream.name, name, app, "name")) != stream.name:
        changes["name"] = of_name
    if (url := store_beside(stream, store, app)) is not None:
        changes["store"] = url
    if isinstance(stream.settings.kafka, dict):
        own = stream.settings.kafka_config()
        if (wanted := kafka.beside(own, app)) != own:
            changes["kafka"] = wanted
    elif kafka.options:
        changes["kafka"] = kafka.alone()
    return stream.replace(**changes) if changes else stream


def _progress(stream: DirectStream, until: str | None) -> LineProgress:
    from rich.console import Console

    from kafka_stream.cli.progress import BarProgress, LineProgress

    results = ", ".join(sink.describe() for sink in stream.sinks)
    route = f"{', '.join(stream.settings.topics)} into {results}, offsets in {stream.store.describe()}"
    if until is not None and sys.stderr.isatty():
        return BarProgress(route, Console(stderr=True), total_is_lag=until == "latest")
    return LineProgress(route)


def _set_up_logging(level: LogLevel, *, on_terminal: bool) -> None:
    """Plain lines on stderr, unless the stream's module has set logging up itself."""
    root = logging.getLogger()
    if root.handlers:
        return
    # On a terminal rich has replaced sys.stderr by now, so that lines go above the bar.
    layout = "%(levelname)s %(message)s" if on_terminal else "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=level.upper(), format=layout, datefmt="%H:%M:%S", stream=sys.stderr)


__all__ = ["LogLevel", "run"]
