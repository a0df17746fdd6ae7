"""Programs that embed a stream, as processes of their own: what they are made of, and how they end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import sqlalchemy as sa

ROOT = Path(__file__).parents[1]
BOUND_S = 60.0
"""Longer than a stop may take: a process that is still there then would live on."""
RECORDS = 40
SERVICE = f"""
import logging, os, signal, sys, threading, time
import sqlalchemy as sa
from kafka_stream import DirectStream, StreamListener
from kafka_stream.testing import MemoryKafka, MemoryOffsetStore

logging.basicConfig(level="WARNING")
results = sa.Table("results", sa.MetaData(), sa.Column("value", sa.Text))
kafka = MemoryKafka({{"orders": 1}})
for number in range({RECORDS}):
    kafka.produce("orders", str(number))
reading = threading.Event()

def write(batch, transaction):
    results.metadata.create_all(transaction.connection)
    transaction.connection.execute(results.insert(), [{{"value": m.value().decode()}} for m in batch])

class Telling(StreamListener):
    def on_batch(self, progress):
        reading.set()

    def on_stop(self, error):
        print("ended:", error, flush=True)

def made(**changes):
    return DirectStream(**{{
        "name": "s", "topics": ["orders"], "kafka": kafka, "store": "sqlite:///results.db", "sink": write,
        "assignment": "static", "listeners": [Telling()], "max_records_per_batch": 10, "max_rate_per_partition": 100,
        **changes}})

stream = made()

def told(stream):
    status = stream.status()
    return f"{{status.state}}, {{status.records}} record"

def read_on():
    while True:
        kafka.produce("orders", "more")
        time.sleep(0.01)

def raise_when_reading(error):
    assert reading.wait(30)
    raise error
"""


@dataclass(frozen=True)
class Ended:
    """How a program ended."""

    status: int
    out: str
    err: str


def environment() -> Mapping[str, str]:
    """What a program needs to find the library, and each program's own warnings as they are for users."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


WITH_CTRL_C = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
"""What a shell starts in the background has SIGINT ignored, and so have these tests then."""


def run(folder: Path, program: str) -> Ended:
    """A program that begins with the service's parts; ``TimeoutExpired`` if it does not end."""
    (folder / "service.py").write_text(SERVICE)
    (folder / "program.py").write_text(f"{WITH_CTRL_C}from service import *\n\n{program}")
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=folder, env=environment(), capture_output=True, text=True, timeout=BOUND_S
    )
    return Ended(done.returncode, done.stdout, done.stderr)


class Server:
    """A server that runs an application of the folder, until it is sent a signal."""

    def __init__(self, folder: Path, app: str, *command: str, brokers: str) -> None:
        (folder / "service.py").write_text(SERVICE)
        (folder / "app.py").write_text(f"from service import *\n\n{app}")
        self._log = folder / "server.log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=folder,
                env={**environment(), "BROKERS": brokers},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> str:
        """What it and its application have said."""
        return self._log.read_text()

    def answer(self) -> str:
        """What the application answers; empty while it does not listen."""
        found = re.search(r"127\.0\.0\.1:\d+", self.log)
        try:
            return httpx.get(f"http://{found[0]}", timeout=BOUND_S).text if found else ""
        except httpx.TransportError:
            return ""

    def end(self, number: signal.Signals) -> int:
        """Send it a signal; its exit status."""
        self.process.send_signal(number)
        return self.process.wait(BOUND_S)

    def kill(self) -> None:
        """Whatever is left of it."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def committed(folder: Path) -> tuple[int, int]:
    """How many results there are, and the sum of the offsets that were committed with them."""
    engine = sa.create_engine(f"sqlite:///{folder}/results.db")
    with engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT count(*) FROM results")).scalar_one()
        offset = connection.execute(sa.text("SELECT sum(next_offset) FROM kafka_stream_offsets")).scalar_one()
    engine.dispose()
    return int(rows), int(offset)
