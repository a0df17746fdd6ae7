"""Batches of thousands go the fast ways (COPY, many rows a statement, prepared ahead): killed and frozen there, too."""

from __future__ import annotations

import random
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from integration_tests.pairings import Pairing, committed_records
from integration_tests.running_service import Services
from integration_tests.servers import KafkaServer
from kafka_stream.types import OF_EVERY_BATCH, Phase

SEED = 20_241_121
RECORDS = 60_000


@pytest.fixture(scope="module")
def topic(kafka: KafkaServer) -> str:
    """Four partitions."""
    name = kafka.create_topic(partitions=4)
    kafka.produce(name, [(f"key-{n % 97}", str(n)) for n in range(RECORDS)])
    return name


@pytest.mark.parametrize(
    "names",
    [
        ("postgres", "sql sink"),
        ("mariadb", "sql sink"),
        ("sqlite", "sql sink"),
        ("kafka", "kafka sink"),
        ("postgres", "parquet files"),
    ],
    ids=" + ".join,
)
def test_large_batches_lose_and_repeat_nothing_through_every_crash(
    names: tuple[str, str],
    kafka: KafkaServer,
    topic: str,
    services: Services,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    pairing = Pairing.made(names, tmp_path, request)
    chance = random.Random(f"{SEED} {names}")
    settings = pairing.settings(topic)

    def killed(phase: Phase, nth: int) -> None:
        limits = replace(settings, max_records_per_batch=chance.randint(1_000, 2_000))
        victim = services.start(limits, KAFKA_STREAM_TEST_KILL_AT=f"{phase}:{nth}")
        assert victim.wait() == -signal.SIGKILL, victim.report()

    for phase in OF_EVERY_BATCH:
        killed(phase, chance.randint(2, 4))
    for _ in range(3):  # anywhere, while the next batch is prepared
        killed(chance.choice([Phase.AFTER_CLAIM, Phase.AFTER_WRITE, Phase.AFTER_ADVANCE]), chance.randint(2, 4))
    so_far = pairing.results()
    assert 0 < len(so_far) == so_far.total() < RECORDS, "every kill was to hit amid the work"

    if names[0] != "sqlite":  # where a transaction keeps everybody out
        zombie = services.start(settings, KAFKA_STREAM_TEST_PAUSE_AT=f"{Phase.AFTER_WRITE}:3")
        zombie.wait_until_stopped()
        successor = services.start(settings)
        successor.wait_until_said("batch")
        zombie.signal(signal.SIGCONT)
        assert zombie.wait() == 1, zombie.report()
        assert [failure["type"] for failure in zombie.said("failed")] == ["OwnershipLost"], zombie.report()
        successor.end()

    last = services.start(replace(settings, until="latest"))
    assert last.wait() == 0, last.report()
    committed = committed_records(kafka, topic)
    assert committed.total() == RECORDS
    assert pairing.results() == committed
