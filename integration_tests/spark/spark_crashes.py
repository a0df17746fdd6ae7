"""The guarantee with Spark: its driver, which is the stream's own process, may be killed anywhere, or frozen."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from integration_tests.pairings import Pairing, committed_records
from integration_tests.running_service import Services
from integration_tests.servers import KafkaServer
from integration_tests.streams import wait_for_stable_end
from integration_tests.test_executor_crashes import open_transactions, topic_of
from integration_tests.worker_processes import wait_until_gone
from kafka_stream.types import OF_EVERY_BATCH, Phase

ROUNDS = 4
TIMEOUT_S = 240.0
"""A service starts a Java machine first."""


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    """Each with a session of its own."""
    with Services(tmp_path, "integration_tests.spark.service") as started:
        yield started


def test_each_committed_record_is_there_once_wherever_the_driver_dies(
    kafka: KafkaServer, services: Services, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    pairing = Pairing.made(("postgres", "sql sink"), tmp_path, request)
    topic = topic_of(kafka, ROUNDS)
    wait_for_stable_end(kafka, topic)
    to_commit, to_abort = open_transactions(kafka, topic)
    settings = replace(pairing.settings(topic), handler="rows on spark", executor="spark", max_records_per_batch=300)

    for phase in OF_EVERY_BATCH:
        killed = services.start(settings, KAFKA_STREAM_TEST_KILL_AT=f"{phase}:2")
        assert killed.wait(TIMEOUT_S) == -signal.SIGKILL, killed.report()
        wait_until_gone(settings)

    frozen = services.start(settings, KAFKA_STREAM_TEST_PAUSE_AT=f"{Phase.AFTER_WRITE}:2")
    frozen.wait_until_stopped(TIMEOUT_S)
    successor = services.start(settings)
    successor.wait_until_said("batch", times=2, timeout_s=TIMEOUT_S)
    frozen.signal(signal.SIGCONT)
    assert frozen.wait(TIMEOUT_S) == 1, frozen.report()
    assert [failure["type"] for failure in frozen.said("failed")] == ["OwnershipLost"], frozen.report()
    successor.end()
    wait_until_gone(settings)

    so_far, committed = pairing.results(), committed_records(kafka, topic)
    assert 0 < len(so_far) < len(committed) == ROUNDS * 2_000, "every kill was to hit amid the work"
    assert so_far <= committed
    to_commit.commit()
    to_abort.abort()
    wait_for_stable_end(kafka, topic)
    last = services.start(replace(settings, until="latest", max_records_per_batch=5_000))
    assert last.wait(TIMEOUT_S) == 0, last.report()
    committed = committed_records(kafka, topic)
    assert sum(committed.values()) == ROUNDS * 2_000 + 900
    assert pairing.results() == committed, f"lost {committed - pairing.results()}, more {pairing.results() - committed}"
