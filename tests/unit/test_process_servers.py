"""Streams in web servers: they end with the server, and a worker that was forked from a stream's process says so."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.embedding import Server, committed
from tests.simulation import eventually

WSGI = """
stream = made(kafka={"bootstrap.servers": os.environ["BROKERS"]})

def app(environment, start_response):
    try:
        text = told(stream)
    except RuntimeError as error:
        text = str(error)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [text.encode()]
"""
ASGI = """
from contextlib import asynccontextmanager
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

stream = made(kafka={"bootstrap.servers": os.environ["BROKERS"]})

@asynccontextmanager
async def lifespan(_):
    stream.start()
    yield
    stream.stop()

def make(**options):
    made = FastAPI(**options)
    made.get("/", response_class=PlainTextResponse)(lambda: told(stream))
    return made
"""
STARTED = "\nstream.start()\n"
GUNICORN = ("gunicorn", "app:app", "--bind", "127.0.0.1:0", "--workers", "1")
UVICORN = ("uvicorn", "app:app", "--port", "0")


@pytest.fixture
def serve(mock_brokers: str, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    with ExitStack() as stack:

        def served(app: str, *command: str) -> Server:
            server = Server(tmp_path, app, *command, brokers=mock_brokers)
            stack.callback(server.kill)
            return server

        yield served


def _reads(server: Server) -> None:
    eventually(lambda: server.answer() == "running, 1 record", f"it reads\n{server.log}", 30)


def test_gunicorn_ends_with_its_worker_and_the_stream_in_it(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve(WSGI + STARTED, *GUNICORN)
    _reads(server)
    assert server.end(signal.SIGTERM) == 0, server.log
    assert server.log.count("ended: None") == 1


def test_gunicorn_that_preloads_a_started_stream_ends_and_its_worker_says_so(serve: Callable[..., Server]) -> None:
    server = serve(WSGI + STARTED, *GUNICORN, "--preload")
    eventually(lambda: "was forked from it and has none of its threads" in server.answer(), "it says so", 30)
    assert server.end(signal.SIGTERM) == 0, server.log
    assert server.log.count("ended: None") == 1


def test_gunicorn_that_preloads_a_stream_and_starts_it_in_the_worker(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    (tmp_path / "gunicorn.conf.py").write_text(
        "def post_worker_init(worker):\n    worker.wsgi.__globals__['stream'].start()"
    )
    server = serve(WSGI, *GUNICORN, "--preload")
    _reads(server)
    assert server.end(signal.SIGTERM) == 0, server.log
    assert server.log.count("ended: None") == 1


@pytest.mark.parametrize(
    "app", [f"{ASGI}\napp = make(lifespan=lifespan)", f"{ASGI}\napp = make(){STARTED}"], ids=["lifespan", "import"]
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_uvicorn_ends(serve: Callable[..., Server], tmp_path: Path, app: str, number: signal.Signals) -> None:
    server = serve(app, *UVICORN)
    _reads(server)
    assert server.end(number) in (0, -number), server.log
    assert committed(tmp_path) == (1, 1)


def test_uvicorn_stops_what_nobody_else_does(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve(f"{ASGI}\napp = make(){STARTED}", *UVICORN)
    _reads(server)
    server.end(signal.SIGINT)
    assert server.log.count("ended: None") == 1
