"""The short form of the soak (`make soak` has the long one): seconds of faults, with a known seed and a new one."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from integration_tests.servers import KafkaServer
from integration_tests.soak.places import Servers, place_of
from integration_tests.soak.run import Soak
from integration_tests.soak.schedule import ASSIGNMENTS, STORES, Setting

SECONDS = 8
PACE_S = 0.5
KNOWN_SEED = 20_261_127


def soaked(setting: Setting, seed: int, directory: Path, request: pytest.FixtureRequest) -> str:
    """Run one on the session's servers; what is wrong with it, with all that it did."""
    kafka: KafkaServer = request.getfixturevalue("kafka")
    needs = {"postgres": "postgres_server", "mariadb": "mariadb_server", "zookeeper": "zookeeper_server"}
    needed = {store: request.getfixturevalue(name) for store, name in needs.items() if store == setting.store}
    lines: list[str] = []
    with place_of(setting.store, Servers(kafka, **needed), directory, one_broker=True) as place:
        outcome = Soak(setting, seed, place, kafka, directory, lines.append).run()
    if outcome.is_good:
        return ""
    return "\n".join([f"seed {seed} of {setting}", *lines, *outcome.findings, str(outcome.verdict)])


def test_a_known_seed_leaves_every_record_once(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    assert not soaked(Setting("postgres", "static", SECONDS, PACE_S), KNOWN_SEED, tmp_path, request)


def test_a_new_seed_leaves_every_record_once(
    tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = random.SystemRandom().randrange(2**31)
    chance = random.Random(seed)
    setting = Setting(chance.choice(STORES), chance.choice(ASSIGNMENTS), SECONDS, PACE_S)
    with capsys.disabled():
        print(f"\nsoak of {setting.store}, {setting.assignment}, with seed {seed}", end=" ")
    assert not soaked(setting, seed, tmp_path, request)
