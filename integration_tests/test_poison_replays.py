"""Records that broke an application are replayed after it was mended, through kills: every result is there once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from integration_tests import fragile
from integration_tests.poisoned import KINDS, Place, numbers, poisoned, run
from integration_tests.running_service import ROOT, Services
from integration_tests.servers import KafkaServer
from integration_tests.service_settings import ServiceSettings
from kafka_stream.protocols import LetterStatus

SEED = 20_261_126
KILLED_REPLAYS = 3
TIMEOUT_S = 120.0
COMMAND = Path(sys.executable).with_name("kafka-stream")


def replayed(settings: ServiceSettings, *how: str, kill_in_s: float | None = None, kill_at: str = "0") -> int:
    """``kafka-stream dead-letters replay``, killed after a time if it has not ended."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("KAFKA_STREAM_")}
    process = subprocess.Popen(
        [
            *(str(COMMAND), "dead-letters", "replay", *how, "--execute", "--yes"),
            *("--store", settings.store, "--stream", settings.stream),
            *("--kafka", f"bootstrap.servers={settings.bootstrap_servers}"),
        ],
        cwd=ROOT,
        env={**inherited, **settings.environment(), fragile.KILL_IN_PREPARE: kill_at},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said, _ = process.communicate(timeout=kill_in_s or TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), said
    return process.returncode


IN_PLACE = ("--in-place", "integration_tests.fragile_app:stream")


@pytest.mark.parametrize("keep_key_order", [False, True])
@pytest.mark.parametrize(
    ("place", "kinds"), [(name, KINDS[name]) for name in ("postgres", "mariadb", "sqlite")], indirect=["place"]
)
def test_mended_and_replayed_in_place_every_result_is_there_once_and_in_order(
    place: Place, kinds: Sequence[str], keep_key_order: bool, kafka: KafkaServer, services: Services
) -> None:
    topic = poisoned(kafka, 2_000, 12, kinds, keys=100)
    settings = place.settings(topic.topic, keep_key_order=keep_key_order)
    assert run(services, settings) == 0
    waiting = len(place.letters(settings.stream))
    assert waiting >= 12

    mended = replace(settings, handler="mended")
    for nth in ("1", "2", "5"):
        assert replayed(mended, *IN_PLACE, kill_at=nth) == -signal.SIGKILL
    assert replayed(mended, *IN_PLACE) == 0
    assert replayed(mended, *IN_PLACE) == 0, "there is nothing left to do"

    assert numbers(value for _, value in place.results()) == Counter(range(2_000))
    assert {letter.status for letter in place.letters(settings.stream)} == {LetterStatus.REPLAYED}
    if keep_key_order:
        assert_in_order(place.results())


@pytest.mark.parametrize(("place", "kinds"), KINDS.items(), ids=list(KINDS), indirect=["place"])
def test_mended_and_replayed_through_the_topic_every_result_is_there_once(
    place: Place, kinds: Sequence[str], kafka: KafkaServer, services: Services
) -> None:
    topic = poisoned(kafka, 20_000, 1_500, kinds[:2] if place.target else kinds)
    settings = place.settings(topic.topic)
    assert run(services, settings) == 0
    assert len(place.letters(settings.stream)) == 1_500

    chance = random.Random(SEED)
    for _ in range(KILLED_REPLAYS):
        replayed(settings, "--through-topic", kill_in_s=chance.uniform(1.0, 3.0))
    assert replayed(settings, "--through-topic") == 0
    done = {LetterStatus.SENT, LetterStatus.REPLAYED}
    assert {letter.status for letter in place.letters(settings.stream)} <= done

    assert run(services, replace(settings, handler="mended")) == 0
    assert numbers(value for _, value in place.results()) == Counter(range(20_000))


def assert_in_order(results: Sequence[tuple[str, str]]) -> None:
    """Each key's results came in the order of its records."""
    by_key: defaultdict[str, list[int]] = defaultdict(list)
    for key, value in results:
        by_key[key] += numbers([value])
    assert {key: found for key, found in by_key.items() if found != sorted(found)} == {}
