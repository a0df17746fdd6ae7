"""``kafka-stream run``: a stream in the foreground."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kafka_stream.cli.exit_status import exit_status
from kafka_stream.cli.logs import LogFormat, LogLevel, configure_logging, show_records
from kafka_stream.cli.option_classes import takes
from kafka_stream.cli.options import KafkaOption, NameOption, StoreOption, kafka_given
from kafka_stream.cli.precedence import instance_id_beside, name_beside, store_beside

if TYPE_CHECKING:
    from kafka_stream.cli.progress import LineProgress
    from kafka_stream.stream import DirectStream

logger = logging.getLogger("kafka_stream.run")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What ``kafka-stream run`` takes."""

    app: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:STREAM",
            envvar="KAFKA_STREAM_APP",
            help="Where the stream is: `app:stream` for `stream` in app.py, a DirectStream or a function returning it.",
        ),
    ]
    until: Annotated[
        str | None,
        typer.Option(
            metavar="latest|TIME",
            envvar="KAFKA_STREAM_UNTIL",
            help="Stop there: at the ends as they are at the start, or at a time such as 2026-01-31T00:00+00:00.",
        ),
    ] = None
    name: NameOption = None
    store: StoreOption = None
    kafka: KafkaOption = None
    log_level: Annotated[
        LogLevel, typer.Option(envvar="KAFKA_STREAM_LOG_LEVEL", help="From which level on records are shown.")
    ] = LogLevel.INFO
    log_format: Annotated[
        LogFormat,
        typer.Option(envvar="KAFKA_STREAM_LOG_FORMAT", help="Lines for people, or JSON objects for programs."),
    ] = LogFormat.TEXT
    log_config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="KAFKA_STREAM_LOG_CONFIG",
            help="Where records go instead: what logging.config takes, as .json, .toml or .ini.",
        ),
    ] = None
    executor: Annotated[
        str | None,
        typer.Option(
            metavar="processes:N|dask://HOST:PORT|spark",
            envvar="KAFKA_STREAM_EXECUTOR",
            help="Where prepare runs, if not in this process: processes of this machine, a Dask cluster, or Spark.",
        ),
    ] = None
    group_instance_id: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            envvar="KAFKA_STREAM_GROUP_INSTANCE_ID",
            help="A static member's id, such as a pod's name: started again, it has its partitions back at once.",
        ),
    ] = None
    http: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            envvar="KAFKA_STREAM_HTTP",
            help="Answer /live, /ready, /startup, /status and /metrics there, with a page at /: 127.0.0.1:8080.",
        ),
    ] = None
    stuck_after_s: Annotated[
        float,
        typer.Option(
            "--stuck-after",
            metavar="SECONDS",
            min=1.0,
            envvar="KAFKA_STREAM_STUCK_AFTER",
            help="How long a batch may be in hand before /live says that the stream is dead.",
        ),
    ] = 600.0

    @property
    def shows_bar(self) -> bool:
        """Whether there is somebody to look at one, and an end that it can come to."""
        in_lines = self.log_format is LogFormat.JSON or self.log_config is not None
        return self.until is not None and not in_lines and sys.stderr.isatty()


@takes(RunOptions)
def run(options: RunOptions) -> None:
    """Run a stream until it is stopped, or up to an end.

    Ctrl-C and SIGTERM finish the batch in hand, then leave. Options go before
    what the application's code says; a variable that says something else than
    the code is refused.

    Exit status: 0 done, 1 failed, 2 a wrong setting, 3 refused or stopped for
    an operator to decide (a guarantee that cannot hold, data loss, another
    owner took over).
    """
    from kafka_stream.settings import checked_bound

    if options.until is not None:
        checked_bound(options.until, "--until")
    stream = _loaded(options)
    if options.log_config is not None:  # goes before what the module has set up
        configure_logging(options.log_config)
    with ExitStack() as stack:
        progress = stack.enter_context(_progress(stream, options))
        if options.log_config is None:
            show_records(options.log_level, options.log_format, with_time=not options.shows_bar)
        listeners = [*stream.settings.listeners, progress]
        if options.http is not None:
            listeners += _watching_beside(listeners)
        stream = stream.replace(listeners=listeners)
        if options.http is not None:
            stack.enter_context(_served(stream, options.http, options.stuck_after_s))
        _run(stream, options)


def _watching_beside(listeners: Sequence[Any]) -> Sequence[Any]:
    """What counts for ``/metrics`` and remembers for ``/``, unless the stream's module has one."""
    from kafka_stream.observe.page.watching import StreamWatch
    from kafka_stream.observe.prometheus import PrometheusListener

    kinds = (PrometheusListener, StreamWatch)
    return [kind() for kind in kinds if not any(isinstance(each, kind) for each in listeners)]


@contextmanager
def _served(stream: DirectStream, address: str, stuck_after_s: float) -> Iterator[None]:
    """It is asked over HTTP meanwhile."""
    from kafka_stream.observe.http import app, served
    from kafka_stream.observe.page.beside import looked_at
    from kafka_stream.observe.page.watching import StreamWatch

    watches = [each for each in stream.settings.listeners if isinstance(each, StreamWatch)]
    with looked_at(stream) as looks:
        application = app(stream, stuck_after_s=stuck_after_s, watches=watches, looks=looks)
        with served(application, address) as where:
            logger.info("%s answers at %s", stream.name, where, extra={"event": "serving", "stream": stream.name})
            yield


def _run(stream: DirectStream, options: RunOptions) -> None:
    """What ends it is an object among the others, where programs read them."""
    try:
        stream.run(until=options.until)
    except Exception as error:
        if options.log_format is LogFormat.TEXT:
            raise
        fields = {"event": "error", "stream": stream.name, "error": type(error).__name__}
        logger.error("%s", error, exc_info=error, extra=fields)
        raise typer.Exit(exit_status(error)) from None


def _loaded(options: RunOptions) -> DirectStream:
    """The application's stream, with what options say otherwise; variables must agree with its code."""
    from kafka_stream.loading import load_stream

    app, kafka = options.app, kafka_given(options.kafka)
    stream = load_stream(app)
    changes: dict[str, Any] = {} if options.executor is None else {"executor": options.executor}
    if (of_name := name_beside(stream.name, options.name, app, "name")) != stream.name:
        changes["name"] = of_name
    if (instance := instance_id_beside(stream.settings.group_instance_id, options.group_instance_id, app)) is not None:
        changes["group_instance_id"] = instance
    if (url := store_beside(stream, options.store, app)) is not None:
        changes["store"] = url
    if isinstance(stream.settings.kafka, dict):
        own = stream.settings.kafka_config()
        if (wanted := kafka.beside(own, app)) != own:
            changes["kafka"] = wanted
    elif kafka.options:
        changes["kafka"] = kafka.alone()
    return stream.replace(**changes) if changes else stream


def _progress(stream: DirectStream, options: RunOptions) -> LineProgress:
    from rich.console import Console

    from kafka_stream.cli.progress import BarProgress, LineProgress

    if options.shows_bar:
        return BarProgress(stream.about(), Console(stderr=True), total_is_lag=options.until == "latest")
    return LineProgress(stream.about())


__all__ = ["RunOptions", "run"]
