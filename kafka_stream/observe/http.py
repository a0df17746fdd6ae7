"""What probes, Prometheus and people ask a process over HTTP, as an ASGI application: mount it, or serve it alone."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime

from kafka_stream.errors import ConfigurationError, MissingExtra
from kafka_stream.observe import health
from kafka_stream.progress import StreamStatus

try:
    import uvicorn
    from prometheus_client import REGISTRY, CollectorRegistry
    from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, PlainTextResponse, Response
    from starlette.routing import Route

    from kafka_stream.observe.page.front import Watched, answering, process_view
    from kafka_stream.observe.page.looking import StoreLooks
    from kafka_stream.observe.page.watching import StreamWatch
except ImportError as error:
    raise MissingExtra("HTTP needs starlette and others: pip install 'kafka-stream[http]'") from error

_STEP_S = 0.01


def app(
    *streams: Watched,
    stuck_after_s: float = health.STUCK_AFTER_S,
    registry: CollectorRegistry = REGISTRY,
    watches: Iterable[StreamWatch] = (),
    looks: StoreLooks | None = None,
) -> Starlette:
    """An ASGI application that answers for these streams; it asks no server, and changes nothing.

    ``/live``, ``/startup`` and ``/ready`` answer 200, or 503 with a line for each stream that is not; ``stuck_after_s``
    is how long a batch may be in hand before a stream counts as dead. ``/status`` is JSON, ``/metrics`` what listeners
    of ``registry`` have counted. ``/`` is a page for people, with charts, batches and errors of streams whose listener
    is one of ``watches``, and with what ``looks`` know of a store's history and dead letters. Each call asks the
    streams anew, so they may be started after it is built.
    """
    watching = tuple(watches)

    def alive(status: StreamStatus) -> str | None:
        return health.why_not_alive(status, datetime.now(UTC), stuck_after_s)

    return Starlette(
        routes=[
            Route("/", answering(lambda: process_view(streams, watching, looks, stuck_after_s))),
            Route("/live", _probe(streams, alive)),
            Route("/startup", _probe(streams, health.why_not_started)),
            Route("/ready", _probe(streams, health.why_not_ready)),
            Route("/status", _status(streams)),
            Route("/metrics", _metrics(registry)),
        ]
    )


def _probe(streams: Sequence[Watched], why_not: Callable[[StreamStatus], str | None]) -> Callable[[Request], Response]:
    def answer(_: Request) -> Response:
        found = [(stream.name, why_not(stream.status())) for stream in streams]
        lines = [f"{name}: {why}" for name, why in found if why is not None]
        return PlainTextResponse("\n".join(lines or ["ok"]) + "\n", 503 if lines else 200)

    return answer


def _status(streams: Sequence[Watched]) -> Callable[[Request], Response]:
    def answer(_: Request) -> Response:
        now = datetime.now(UTC)
        return JSONResponse({"streams": [health.report(each.name, each.status(), now) for each in streams]})

    return answer


def _metrics(registry: CollectorRegistry) -> Callable[[Request], Response]:
    def answer(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return answer


@contextlib.contextmanager
def served(application: Starlette, address: str) -> Iterator[str]:
    """The application on a thread of its own, at ``host:port``; ``0`` is any port. Yields where it is.

    Raises:
        ConfigurationError: there is no such address, or somebody has it.
    """
    listening = _listening(address)
    host, port = listening.getsockname()[:2]
    server = uvicorn.Server(
        uvicorn.Config(
            application,
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
    )
    thread = threading.Thread(target=server.run, args=([listening],), name="kafka-stream-http", daemon=True)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(_STEP_S)
        yield f"http://{f'[{host}]' if ':' in host else host}:{port}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def _listening(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise ConfigurationError(f"--http: {address!r} is no HOST:PORT, such as 127.0.0.1:8080, or 0.0.0.0:8080")
    bare = host.removeprefix("[").removesuffix("]")
    try:
        return socket.create_server((bare, int(port)), family=socket.AF_INET6 if ":" in bare else socket.AF_INET)
    except OSError as error:
        raise ConfigurationError(f"--http: nothing can be served at {address}: {error.strerror or error}") from error


__all__ = ["Watched", "app", "served"]
