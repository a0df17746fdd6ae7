"""The short form of the soak (`make soak` has the long one): seconds of faults, with a known seed and a new one."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from integration_tests.servers import KafkaServer, PostgresServer
from integration_tests.soak.__main__ import told
from integration_tests.soak.places import Servers, place_of
from integration_tests.soak.run import Soak
from integration_tests.soak.schedule import Setting

SECONDS = 6
PACE_S = 0.5
KNOWN_SEED = 20_261_127


def soaked(setting: Setting, seed: int, directory: Path, kafka: KafkaServer, postgres: PostgresServer) -> str:
    """Run one on the session's servers; what is wrong with it, with all that it did."""
    lines: list[str] = []
    with place_of(setting.store, Servers(kafka, postgres), directory, one_broker=True) as place:
        outcome = Soak(setting, seed, place, kafka, directory, lines.append).run()
    if outcome.is_good:
        return ""
    return "\n".join([f"seed {seed} of {setting}", *lines, *told(outcome)])


def test_a_known_seed_leaves_every_record_once(
    tmp_path: Path, kafka: KafkaServer, postgres_server: PostgresServer
) -> None:
    assert not soaked(Setting("postgres", "static", SECONDS, PACE_S), KNOWN_SEED, tmp_path, kafka, postgres_server)


def test_a_new_seed_leaves_every_record_once(
    tmp_path: Path, kafka: KafkaServer, postgres_server: PostgresServer, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = random.SystemRandom().randrange(2**31)
    setting = Setting("postgres", random.Random(seed).choice(("classic", "consumer")), SECONDS, PACE_S)
    with capsys.disabled():
        print(f"\nsoak of {setting.store}, {setting.assignment}, with seed {seed}", end=" ")
    assert not soaked(setting, seed, tmp_path, kafka, postgres_server)
