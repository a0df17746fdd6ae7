"""The guarantee's table, row by row: killed at every named point, frozen and woken late, other limits each time."""

from __future__ import annotations

import random
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from integration_tests.pairings import PAIRINGS, Pairing, Record, committed_records
from integration_tests.running_service import Services
from integration_tests.servers import KafkaServer
from integration_tests.streams import wait_for_stable_end
from kafka_stream.types import OF_EVERY_BATCH, Phase

SEED = 20_240_301
COMMITTED = 4_000


@pytest.fixture(scope="module")
def topic(kafka: KafkaServer) -> str:
    """Four partitions with committed and aborted records side by side."""
    name = kafka.create_topic(partitions=4)
    for turn in range(4):
        start = turn * COMMITTED // 4
        kafka.transaction(name, [(f"key-{n % 97}", f"aborted {n}") for n in range(100)], outcome="abort")
        kafka.transaction(name, [(f"key-{n % 97}", f"committed {n}") for n in range(start, start + COMMITTED // 4)])
    wait_for_stable_end(kafka, name)
    return name


@pytest.fixture(scope="module")
def committed(kafka: KafkaServer, topic: str) -> Counter[Record]:
    """What the topic holds."""
    found = committed_records(kafka, topic)
    assert sum(found.values()) == len(found) == COMMITTED
    return found


@pytest.mark.parametrize("names", PAIRINGS, ids=" + ".join)
def test_every_record_is_in_the_results_once_through_every_crash(
    names: tuple[str, str],
    topic: str,
    committed: Counter[Record],
    services: Services,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    pairing = Pairing.made(names, tmp_path, request)
    chance = random.Random(f"{SEED} {names}")
    settings = pairing.settings(topic)

    for phase in OF_EVERY_BATCH:
        limits = replace(settings, max_records_per_batch=chance.randint(50, 150))
        victim = services.start(limits, KAFKA_STREAM_TEST_KILL_AT=f"{phase}:{chance.randint(1, 3)}")
        assert victim.wait() == -signal.SIGKILL, victim.report()
    so_far = pairing.results()
    assert 0 < len(so_far) < COMMITTED, "every kill was to hit amid the work"
    assert so_far <= committed, "nothing but committed records, none of them twice"

    # On SQLite a transaction keeps everybody out: nobody could take over from one who is frozen inside it.
    frozen_at = Phase.AFTER_PLAN if names[0] == "sqlite" else Phase.AFTER_WRITE
    limits = replace(settings, max_records_per_batch=100)
    zombie = services.start(limits, KAFKA_STREAM_TEST_PAUSE_AT=f"{frozen_at}:2")
    zombie.wait_until_stopped()
    successor = services.start(replace(settings, max_records_per_batch=30))
    successor.wait_until_said("batch", times=3)
    zombie.signal(signal.SIGCONT)
    assert zombie.wait() == 1, zombie.report()
    assert [failure["type"] for failure in zombie.said("failed")] == ["OwnershipLost"], zombie.report()
    assert successor.is_running(), successor.report()
    successor.end()

    last = services.start(replace(settings, until="latest"))
    assert last.wait() == 0, last.report()
    assert pairing.results() == committed, f"lost {committed - pairing.results()}, more {pairing.results() - committed}"
