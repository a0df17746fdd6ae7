"""What the loops that people write lose or repeat, when they stop where it hurts: see docs/comparison.md."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import psycopg
import pytest

from integration_tests.hand_written import COUNT, LOOPS
from integration_tests.servers import KafkaServer, PostgresDatabase

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "comparison.md"
_WAIT_S = 120.0


class Loop:
    """A topic of twice as many records as a loop takes, and the table that it writes to."""

    def __init__(self, name: str, kafka: KafkaServer, database: PostgresDatabase) -> None:
        self.url = database.url.replace("+psycopg", "")
        self.topic = kafka.create_topic(partitions=1)
        kafka.produce(self.topic, [b"x"] * (2 * COUNT))
        self._arguments = [name, kafka.bootstrap_servers, self.topic, self.url]
        with psycopg.connect(self.url) as connection:
            connection.execute("CREATE TABLE results (number bigint)")
            connection.execute("CREATE TABLE positions AS SELECT 0::bigint AS next_offset")

    def start(self, how: str) -> subprocess.Popen[bytes]:
        """One turn."""
        command = [sys.executable, "-m", "integration_tests.hand_written", *self._arguments, how]
        return subprocess.Popen(command, cwd=ROOT)

    def lost_and_repeated(self, up_to: int) -> tuple[int, int]:
        """Among the first records."""
        with psycopg.connect(self.url) as connection:
            found = Counter(number for (number,) in connection.execute("SELECT number FROM results"))
        wanted = range(up_to)
        return sum(found[it] == 0 for it in wanted), sum(max(0, found[it] - 1) for it in wanted)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("committed_by_the_client", (COUNT, 0)), ("committed_before", (COUNT, 0)), ("committed_after", (0, COUNT))],
)
def test_a_loop_that_is_killed(
    name: str, expected: tuple[int, int], kafka: KafkaServer, postgres: PostgresDatabase
) -> None:
    loop = Loop(name, kafka, postgres)
    assert loop.start("kill").wait(_WAIT_S) == -signal.SIGKILL
    assert loop.start("go-on").wait(_WAIT_S) == 0
    assert loop.lost_and_repeated(2 * COUNT if expected[0] else COUNT) == expected


def test_a_loop_that_was_replaced_while_it_was_frozen(kafka: KafkaServer, postgres: PostgresDatabase) -> None:
    loop = Loop("in_one_transaction", kafka, postgres)
    frozen = loop.start("freeze")
    _, status = os.waitpid(frozen.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    try:
        assert loop.start("go-on").wait(_WAIT_S) == 0
    finally:
        frozen.send_signal(signal.SIGCONT)
    assert frozen.wait(_WAIT_S) == 0, "nobody has told it that it was replaced"
    assert loop.lost_and_repeated(COUNT) == (0, COUNT)


def test_the_page_has_every_loop() -> None:
    assert {name for name in LOOPS if f"`{name}`" in PAGE.read_text("utf-8")} == LOOPS.keys()
