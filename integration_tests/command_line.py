"""The console script as a process, with an application in its folder that reads one topic into one table."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from integration_tests.servers import KafkaServer, PostgresDatabase

TIMEOUT_S = 120.0
RECORDS = 2000
APP = """
import os
import sqlalchemy as sa
from kafka_stream.stream import DirectStream

results = sa.Table("results", sa.MetaData(), sa.Column("value", sa.Text))

def write(batch, transaction):
    transaction.connection.execute(results.insert(), [{"value": m.value().decode()} for m in batch])

def write_badly(batch, transaction):
    write(batch, transaction)
    raise LookupError("this handler cannot go on")

def made(sink=write, **settings):
    return DirectStream(
        name=os.environ["TEST_TOPIC"], topics=[os.environ["TEST_TOPIC"]],
        kafka={"bootstrap.servers": os.environ["TEST_KAFKA"]}, store=os.environ["TEST_STORE"],
        sink=sink, assignment="static", **settings,
    )

def stream():
    return made()

def bad():
    return made(write_badly)

def weak():
    class Anything:
        writes = "anything"
        needs = None
        def describe(self): return "a sink that prints"
        def prepare(self, prepared): return prepared
        def write(self, prepared, transaction): print(prepared)
    return made(Anything())
"""


@dataclass
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str


class CommandLine:
    """Runs ``kafka-stream`` in a directory with an application; ends what it has started."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self.directory = directory
        self.environment = {**os.environ, "COLUMNS": "120", **environment}
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", "from kafka_stream.cli.app import main; main()", *arguments],
            cwd=self.directory,
            env=self.environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
        self._started.append(process)
        return process

    def __call__(self, *arguments: str) -> Ended:
        return ended(self.start(*arguments))

    def end(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()


def ended(process: subprocess.Popen[str]) -> Ended:
    out, err = process.communicate(timeout=TIMEOUT_S)
    return Ended(process.returncode, out, err)


@dataclass
class Orders:
    """A topic with records, and a database with an empty result table."""

    kafka: KafkaServer
    database: PostgresDatabase
    topic: str

    def produce(self, count: int = RECORDS) -> None:
        self.kafka.produce(self.topic, [(str(number), str(number)) for number in range(count)])

    def stored(self) -> int:
        return int(self.database.execute("SELECT count(*) FROM results")[0][0])


def sentence(found: Ended) -> str:
    """The error, which is the last line, without a traceback before it."""
    assert "Traceback" not in found.err
    last = found.err.splitlines()[-1]
    assert last.startswith("error: "), found.err
    return last.removeprefix("error: ")
