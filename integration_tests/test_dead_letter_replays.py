"""Replays of dead letters that are killed at each step, and repeated: each letter is sent, or processed, once."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer

from integration_tests.engine import wait_until
from integration_tests.letter_replays import LETTERS_PER_TRANSACTION
from integration_tests.servers import KafkaServer, random_name
from integration_tests.stored_letters import APP, LETTERS, PARTITIONS, WAIT_S, Letters
from kafka_stream.admin.dead_letters.in_place import InPlaceStep
from kafka_stream.admin.dead_letters.replaying import ReplayStep
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.protocols import ActionKind, LetterStatus
from tests.command_line import in_directory


@pytest.fixture(params=["sqlite", "postgresql"])
def letters(
    request: pytest.FixtureRequest,
    kafka: KafkaServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Letters]:
    """A stream with letters."""
    url = f"sqlite:///{tmp_path}/letters.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").url
    (tmp_path / "letters_app.py").write_text(APP)
    topic = kafka.create_topic(partitions=PARTITIONS)
    with in_directory(tmp_path, capsys, monkeypatch) as invoke:
        found = Letters(kafka, url, random_name("stream"), topic, tmp_path, invoke)
        for name, value in {
            "TEST_STREAM": found.stream,
            "TEST_TOPIC": topic,
            "TEST_KAFKA": kafka.bootstrap_servers,
            "TEST_STORE": url,
        }.items():
            monkeypatch.setenv(name, value)
        found.keep()
        yield found


def test_a_replay_through_a_topic_that_is_killed_and_repeated_sends_each_letter_once(letters: Letters) -> None:
    """Killed at one step after the other: each time by the same replay, which the next one goes on with."""
    steps = [
        (ReplayStep.AFTER_BEGIN, 1),
        (ReplayStep.AFTER_TAKE_OVER, 1),
        (ReplayStep.BEFORE_COMMIT, 1),
        (ReplayStep.AFTER_COMMIT, 1),
        (ReplayStep.BEFORE_COMMIT, 2),
        (ReplayStep.AFTER_HISTORY, 1),
    ]
    letters.killed("through topic", *steps[0])
    assert letters.statuses() == {LetterStatus.REPLAYING}
    for step, nth in steps[1:]:
        letters.killed("resume", step, nth)
    assert letters.statuses() == {LetterStatus.REPLAYING}
    ended = letters.replay("--through-topic")
    assert "was finished first: 10 of its 10 letter(s) are sent" in ended.err
    letters.assert_sent_once()
    _history_has_one_replay(letters)


@pytest.mark.parametrize("step", [ReplayStep.AFTER_COMMIT, ReplayStep.AFTER_END])
def test_a_replay_that_is_killed_late(letters: Letters, step: ReplayStep) -> None:
    letters.killed("through topic", step, 3 if step is ReplayStep.AFTER_COMMIT else 1)
    letters.replay("--through-topic")
    letters.assert_sent_once()
    _history_has_one_replay(letters)


def test_what_was_sent_of_an_abandoned_replay_is_not_sent_again(letters: Letters) -> None:
    letters.killed("through topic", ReplayStep.AFTER_COMMIT)
    ended = letters.replay("--abandon")
    assert (
        ended.out.splitlines()[-1]
        == f"The replay was ended: {LETTERS_PER_TRANSACTION} letter(s) are sent, 6 wait again."
    )
    assert letters.statuses() == {LetterStatus.SENT, LetterStatus.WAITING}
    assert len(letters.sent()) == LETTERS_PER_TRANSACTION
    letters.replay("--through-topic")
    letters.assert_sent_once()


@pytest.mark.parametrize("step", [ReplayStep.AFTER_BEGIN, ReplayStep.BEFORE_COMMIT])
def test_a_replay_that_wakes_up_late_sends_nothing(letters: Letters, step: ReplayStep) -> None:
    frozen = letters.start("through topic", f"STOP:{step}:1")
    try:
        _wait_until_stopped(frozen)
        letters.replay("--abandon")
        letters.replay("--through-topic")
        letters.assert_sent_once()
        frozen.send_signal(signal.SIGCONT)
        _, told = frozen.communicate(timeout=WAIT_S)
    finally:
        frozen.kill()
    assert frozen.returncode == 1
    assert told.startswith("CommandRefused: "), told
    letters.assert_sent_once()


def test_a_replayed_record_is_as_it_was_and_says_where_it_comes_from(letters: Letters) -> None:
    letters.replay("--through-topic")
    consumer = Consumer(
        {
            "bootstrap.servers": letters.kafka.bootstrap_servers,
            "group.id": letters.stream,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([letters.topic])
    found: dict[bytes, Any] = {}

    def read_all() -> bool:
        message = consumer.poll(0.5)
        if message is not None and message.error() is None:
            found[message.value() or b""] = message
        return len(found) == LETTERS

    assert wait_until(read_all, WAIT_S)
    consumer.close()
    for number in range(LETTERS):
        letter, message = letters.letter(number), found[f"value-{number}".encode()]
        assert message.timestamp()[1] == letter.payload.timestamp_ms
        *before, (name, value) = message.headers()
        assert tuple(before) == letter.payload.headers
        assert name == "kafka-stream.replayed-from"
        told = json.loads(value)
        assert (told["topic"], told["partition"], told["offset"]) == (letters.topic, number % PARTITIONS, number)


@pytest.mark.parametrize("step", list(InPlaceStep)[:-1])
def test_a_replay_in_place_that_is_killed_and_repeated_processes_each_letter_once(
    letters: Letters, step: InPlaceStep
) -> None:
    letters.killed("in place", step, 3)
    done = 3 if step is InPlaceStep.AFTER_COMMIT else 2
    assert len(letters.results()) == done
    ended = letters.command("replay", "--in-place", "letters_app:stream", "--execute", "--yes")
    assert ended.status == 0, ended.err
    assert ended.out.splitlines()[-1] == f"letters: {LETTERS - done} replayed"
    letters.assert_processed_once()


def test_what_fails_again_in_place_stays_and_leaves_nothing(letters: Letters, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_BROKEN", "value-0 value-1")
    letters.killed("in place", InPlaceStep.AFTER_FAILED)
    ended = letters.command("replay", "--in-place", "letters_app:stream", "--execute", "--yes")
    assert ended.status == 1
    # 0 and 6 share a key in one partition.
    assert ended.out.splitlines()[-1] == "letters: 2 failed, 1 held back, 7 replayed"
    shown = json.loads(letters.command("show", "--status", "waiting", "--output", "json").out)
    assert [(row["offset"], row["attempts"], row["error"], row["message"]) for row in shown] == [
        (0, 3, "ValueError", "still broken"),
        (6, 1, "app.BadOrder", "no price"),
        (1, 2, "ValueError", "still broken"),
    ]
    monkeypatch.delenv("TEST_BROKEN")
    assert letters.command("replay", "--in-place", "letters_app:stream", "--execute", "--yes").status == 0
    letters.assert_processed_once()


def _history_has_one_replay(letters: Letters) -> None:
    with closing(SqlOffsetStore(letters.url)) as store:
        entries = store.history(letters.stream, 100, [ActionKind.REPLAY])
    assert len({entry.action.id for entry in entries}) == 1
    assert {(entry.topic_partition.partition, entry.records) for entry in entries} == {(0, LETTERS), (1, LETTERS)}


def _wait_until_stopped(process: subprocess.Popen[str]) -> None:
    def is_stopped() -> bool:
        assert process.poll() is None
        status = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        return status == "T"

    assert wait_until(is_stopped, WAIT_S)
