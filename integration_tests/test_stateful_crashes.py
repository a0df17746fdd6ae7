"""State, windows and deduplication are exact through kills, zombies, a second version and more partitions.

Read from the tables, beside a plain program that reads the topic once. ``KAFKA_STREAM_TEST_ROUNDS`` says how many
rounds of kills there are (``make soak-state``: 20, and each kind of sink alone).
"""

from __future__ import annotations

import itertools
import os
import random
import signal
from collections.abc import Iterator
from contextlib import closing

import pytest
from sqlalchemy import make_url

from integration_tests.running_service import Services
from integration_tests.servers import KafkaServer
from integration_tests.stateful.app import ALL, TICK_SIGNAL
from integration_tests.stateful.deployment import PARTITIONS, Deployment
from integration_tests.streams import SHORT_SESSIONS
from kafka_stream.types import OF_EVERY_BATCH, Phase

ROUNDS = int(os.environ.get("KAFKA_STREAM_TEST_ROUNDS", "1"))
SINKS = [ALL] if ROUNDS == 1 else [ALL, *((name,) for name in ALL)]
SEED = 20_261_127
RECORDS = 700
AHEAD_S = 120


@pytest.fixture(params=["postgres", "mariadb"])
def url(request: pytest.FixtureRequest) -> str:
    """An empty database."""
    return str(request.getfixturevalue(request.param).url)


@pytest.fixture(params=SINKS, ids=["+".join(it) for it in SINKS])
def deployment(
    request: pytest.FixtureRequest, kafka: KafkaServer, url: str, services: Services
) -> Iterator[Deployment]:
    with closing(Deployment(kafka, url, services, seed=SEED, sinks=request.param)) as found:
        yield found


def impatient(url: str) -> str:
    """The database, where who waits for a lock gives up soon: who holds it may be frozen."""
    found = make_url(url)
    waiting = {"options": "-c lock_timeout=2s"}
    if found.get_backend_name() != "postgresql":
        waiting = {"init_command": "SET SESSION innodb_lock_wait_timeout = 2"}
    return found.update_query_dict(waiting).render_as_string(hide_password=False)


@pytest.fixture(params=SINKS, ids=["+".join(it) for it in SINKS])
def group(request: pytest.FixtureRequest, kafka: KafkaServer, url: str, services: Services) -> Iterator[Deployment]:
    options = {"assignment": "group", "kafka": dict(SHORT_SESSIONS), "max_records_per_batch": 30}
    with closing(Deployment(kafka, impatient(url), services, seed=SEED + 1, sinks=request.param, **options)) as found:
        yield found


def test_all_tables_are_exact_through_all_crashes(deployment: Deployment) -> None:
    chance = random.Random(SEED)
    for _ in range(ROUNDS):
        deployment.feed.produce(range(PARTITIONS), RECORDS)
        for phase in OF_EVERY_BATCH:
            deployment.kill_at(phase, chance.randint(1, 2))
        deployment.freeze_and_wake(KAFKA_STREAM_TEST_PAUSE_AT=f"{Phase.AFTER_WRITE}:2")
        deployment.kill_at_random_instants(chance.uniform, 2)
    deployment.deploy_version_2()
    deployment.kill_at_random_instants(chance.uniform, 2)
    deployment.hurry()
    growing = deployment.start()
    deployment.grow(PARTITIONS + 2, growing)
    growing.end()
    deployment.feed.pause(AHEAD_S)  # what is in a new partition may not be older than what is closed
    deployment.feed.produce(range(PARTITIONS + 1), RECORDS // 2)  # the last one stays empty
    deployment.kill_at(Phase.AFTER_WRITE, 1)
    deployment.kill_at(Phase.AFTER_COMMIT, 1)

    deployment.feed.push(range(PARTITIONS), AHEAD_S)  # the others have to fall idle
    deployment.tell(idle_after_s=1.0)
    if "windows" in deployment.settings.target:
        deployment.kill_in_tick(Phase.AFTER_WRITE, 3)
        deployment.freeze_and_wake(**{TICK_SIGNAL: f"stop:{Phase.AFTER_ADVANCE}:3"})
        deployment.kill_in_tick(Phase.AFTER_COMMIT, 3)
    last = deployment.start()
    deployment.wait_until_right(last)
    deployment.stop(last)


def test_members_of_a_group_that_meet_on_keys_and_windows_lose_nothing(group: Deployment) -> None:
    deployment = group
    chance = random.Random(SEED + 1)
    deployment.feed.produce(range(PARTITIONS), RECORDS * ROUNDS)
    survivor = deployment.start()
    phases = itertools.islice(itertools.cycle([Phase.AFTER_WRITE, Phase.AFTER_CLAIM, Phase.AFTER_ADVANCE]), 3 * ROUNDS)
    for phase in phases:
        deployment.kill_at(phase, chance.randint(1, 3))

    deployment.deploy_version_2()  # beside version 1, which goes on
    zombie = deployment.start(KAFKA_STREAM_TEST_PAUSE_AT=f"{Phase.AFTER_WRITE}:2")
    zombie.wait_until_stopped()
    deployment.feed.produce(range(PARTITIONS), RECORDS // 4)
    deployment.wait_until_processed(deployment.feed.produced, survivor)  # also what the other one had
    turns = len(zombie.said("positions"))
    zombie.signal(signal.SIGCONT)
    zombie.wait_until_said("positions", turns + 1)
    survivor.end()
    deployment.hurry()
    deployment.grow(PARTITIONS + 2, zombie)
    deployment.feed.pause(AHEAD_S)
    deployment.feed.produce(range(PARTITIONS + 1), RECORDS // 4)
    deployment.feed.push(range(PARTITIONS), AHEAD_S)
    deployment.tell(idle_after_s=1.0)
    last = deployment.start()
    last.wait_until_said("positions")
    deployment.stop(zombie)
    deployment.wait_until_right(last, by_both_versions=True)
    deployment.stop(last)
