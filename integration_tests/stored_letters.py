"""A stream with dead letters in a database, and replays of them that get a signal at a step."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from integration_tests.letter_replays import SIGNAL_AT
from integration_tests.servers import KafkaServer
from integration_tests.streams import wait_for_stable_end
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.protocols import DeadLetter, LetterError, LetterId, LetterStatus, Payload
from kafka_stream.testing.store_backend import claim_of
from kafka_stream.types import Owner, TopicPartition
from tests.command_line import Ended, Invoke

ROOT = Path(__file__).parents[1]
WAIT_S = 120.0
LETTERS = 10
PARTITIONS = 2
OWNER = Owner("me-1f3a", "here", "v1")
SENT_AT_MS = int(time.time() - 3600) * 1000
"""No longer ago than topics keep records: brokers look every five minutes for what they may delete."""
AT = datetime(2026, 3, 1, 12, 0, 0, 123_456, tzinfo=UTC)
APP = """
import os
import sqlalchemy as sa
from kafka_stream import DirectStream

results = sa.Table("results", sa.MetaData(), sa.Column("record_offset", sa.Integer), sa.Column("value", sa.Text))

def write(batch, transaction):
    for m in batch:
        row = {"record_offset": m.offset(), "value": m.value().decode()}
        transaction.connection.execute(results.insert(), [row])
        if m.value().decode() in os.environ.get("TEST_BROKEN", "").split():
            raise ValueError("still broken")

def stream():
    return DirectStream(
        name=os.environ["TEST_STREAM"], topics=[os.environ["TEST_TOPIC"]],
        kafka={"bootstrap.servers": os.environ["TEST_KAFKA"]}, store=os.environ["TEST_STORE"], sink=write,
        assignment="static",
    )
"""


@dataclass
class Letters:
    """A stream with letters in a database, and the brokers of its topic."""

    kafka: KafkaServer
    url: str
    stream: str
    topic: str
    directory: Path
    invoke: Invoke

    def keep(self) -> None:
        """Ten letters in two partitions, two of each key."""
        tps = [TopicPartition(self.topic, number) for number in range(PARTITIONS)]
        with closing(SqlOffsetStore(self.url)) as store:
            store.open()
            store.initialise(self.stream, self.topic, {tp.partition: 0 for tp in tps}, None)
            positions = store.take_over(self.stream, OWNER, tps, {})
            with store.begin(claim_of(OWNER, dict.fromkeys(tps, (0, 100)), positions, stream=self.stream)) as opened:
                opened.set_aside([self.letter(number) for number in range(LETTERS)])
                opened.advance()
                opened.commit()
        engine = sa.create_engine(self.url)
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE results (record_offset integer, value text)"))
        engine.dispose()

    def letter(self, number: int) -> DeadLetter:
        payload = Payload(
            b"\x00\xff" if number % 3 == 0 else f"key-{number}".encode(),
            f"value-{number}".encode(),
            (("trace", b"\x01\xff"), ("none", None)),
            SENT_AT_MS + number,
        )
        error = LetterError("app.BadOrder", "no price", "Traceback …")
        where = LetterId(self.topic, "", number % PARTITIONS, number)
        return DeadLetter(self.stream, where, payload, error, "v1", AT, AT)

    def start(self, how: str, signal_at: str) -> subprocess.Popen[str]:
        """A replay that gets a signal at a step."""
        where = "letters_app:stream" if how == "in place" else self.kafka.bootstrap_servers
        return subprocess.Popen(
            [sys.executable, "-m", "integration_tests.letter_replays", self.url, self.stream, where],
            env={**os.environ, SIGNAL_AT: signal_at, "PYTHONPATH": str(self.directory)},
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )

    def killed(self, how: str, step: str, nth: int = 1) -> None:
        """A replay that is killed there."""
        process = self.start(how, f"KILL:{step}:{nth}")
        _, told = process.communicate(timeout=WAIT_S)
        assert process.returncode == -signal.SIGKILL, told

    def command(self, *arguments: str) -> Ended:
        given = ("--store", self.url, "--stream", self.stream)
        return self.invoke("dead-letters", *arguments, *given)

    def replay(self, *how: str) -> Ended:
        """One that nobody kills."""
        brokers = f"bootstrap.servers={self.kafka.bootstrap_servers}"
        ended = self.command("replay", *how, "--kafka", brokers, "--execute", "--yes")
        assert ended.status == 0, ended.err
        return ended

    def statuses(self) -> set[LetterStatus]:
        with closing(SqlOffsetStore(self.url)) as store:
            return {letter.status for letter in store.letters(self.stream)}

    def sent(self) -> list[tuple[int, bytes | None, bytes | None]]:
        """What the topic has for readers of committed records, in order."""
        wait_for_stable_end(self.kafka, self.topic)
        return [(partition, key, value) for partition, _, key, value in self.kafka.read_committed(self.topic)]

    def results(self) -> list[str]:
        engine = sa.create_engine(self.url)
        with engine.connect() as connection:
            found = list(connection.execute(sa.text("SELECT value FROM results")).scalars())
        engine.dispose()
        return found

    def assert_sent_once(self) -> None:
        """In order in each partition, with their own keys."""
        expected = [self.letter(number) for number in range(LETTERS)]
        for partition in range(PARTITIONS):
            of_partition = [letter for letter in expected if letter.id.partition == partition]
            found = [each for each in self.sent() if each[0] == partition]
            assert found == [(partition, letter.payload.key, letter.payload.value) for letter in of_partition]
        # Whoever is not given the application does not know whether it keeps the order of keys, and takes it so.
        assert self.statuses() <= {LetterStatus.SENT, LetterStatus.REPLAYED}

    def assert_processed_once(self) -> None:
        assert sorted(self.results()) == [f"value-{number}" for number in range(LETTERS)]
        assert self.statuses() == {LetterStatus.REPLAYED}
