"""Of each group of records one goes on, the same one in both tables, through kills, a zombie and two members."""

from __future__ import annotations

import random
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from integration_tests.pairings import Record, committed_records
from integration_tests.running_service import Services
from integration_tests.servers import KafkaServer, random_name
from integration_tests.service_settings import ServiceSettings
from integration_tests.service_sinks import MORE_RESULTS, RESULTS
from integration_tests.streams import wait_for_stable_end
from kafka_stream.types import OF_EVERY_BATCH, Phase

RECORDS, TURNS = 6_000, 4


@pytest.fixture(scope="module")
def topic(kafka: KafkaServer) -> str:
    """Every second record is of the group of one that came long before it, mostly in another partition."""
    name = kafka.create_topic(partitions=4)

    def value(kind: str, number: int) -> tuple[str, str]:
        return f"key-{number}", f"{kind} {number} of {number if number % 2 else number // 2}"

    for turn in range(TURNS):
        numbers = range(turn * RECORDS // TURNS, (turn + 1) * RECORDS // TURNS)
        kafka.transaction(name, [value("aborted", number) for number in numbers[:100]], outcome="abort")
        kafka.transaction(name, [value("committed", number) for number in numbers])
    wait_for_stable_end(kafka, name)
    return name


def results(engine: sa.Engine) -> Sequence[Sequence[Any]]:
    """What is in each of the two tables."""
    with engine.connect() as connection:
        return [sorted(map(tuple, connection.execute(table.select()))) for table in (RESULTS, MORE_RESULTS)]


def groups(records: Sequence[Any]) -> Counter[str]:
    return Counter(value.partition(" of ")[2] for _, _, _, value in records)


@pytest.mark.parametrize(
    ("database", "phases"),
    [("postgres", OF_EVERY_BATCH), ("mariadb", (Phase.AFTER_CLAIM, Phase.AFTER_WRITE, Phase.AFTER_COMMIT))],
    ids=["postgres", "mariadb"],
)
def test_of_each_group_one_record_goes_on_through_every_crash(
    kafka: KafkaServer,
    topic: str,
    services: Services,
    request: pytest.FixtureRequest,
    database: str,
    phases: Sequence[Phase],
) -> None:
    url = request.getfixturevalue(database).url
    engine = sa.create_engine(url)
    for table in (RESULTS, MORE_RESULTS):
        table.create(engine)
    settings = ServiceSettings(kafka.bootstrap_servers, url, topic, random_name("stream"), handler="deduplicated")
    kill_and_freeze(services, settings, phases)
    so_far, more_so_far = results(engine)
    assert so_far == more_so_far
    assert set(groups(so_far).values()) == {1}

    committed = committed_records(kafka, topic)
    assert 0 < len(so_far) < len(groups(list(committed))), "every kill was to hit amid the work"
    rest = replace(settings, until="latest", max_records_per_batch=40)
    members = [services.start(replace(rest, assignment=f"static:{number}/2")) for number in range(2)]
    assert [member.wait() for member in members] == [0, 0], [member.report() for member in members]
    found, more_found = results(engine)
    engine.dispose()
    assert found == more_found
    records: list[Record] = list(map(tuple, found))
    assert set(records) <= set(committed)
    assert groups(records) == Counter(groups(list(committed)).keys())


def kill_and_freeze(services: Services, settings: ServiceSettings, phases: Sequence[Phase]) -> None:
    """A few batches of each: one that is killed at each point, one that is frozen, and its successor."""
    chance = random.Random(20_261_127)
    for phase in phases:
        limits = replace(settings, max_records_per_batch=chance.randint(50, 120))
        victim = services.start(limits, KAFKA_STREAM_TEST_KILL_AT=f"{phase}:{chance.randint(1, 3)}")
        assert victim.wait() == -signal.SIGKILL, victim.report()
    zombie = services.start(
        replace(settings, max_records_per_batch=100), KAFKA_STREAM_TEST_PAUSE_AT=f"{Phase.AFTER_WRITE}:2"
    )
    zombie.wait_until_stopped()
    successor = services.start(
        replace(settings, max_records_per_batch=30), KAFKA_STREAM_TEST_PAUSE_AT=f"{Phase.AFTER_COMMIT}:3"
    )
    successor.wait_until_stopped()  # or it would be at the end of the topic before the zombie is
    zombie.signal(signal.SIGCONT)
    assert zombie.wait() == 1, zombie.report()
    assert [failure["type"] for failure in zombie.said("failed")] == ["OwnershipLost"], zombie.report()
    successor.end()
