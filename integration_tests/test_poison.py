"""Records that break an application, which is killed at every point: each good result and each letter is there once.

Then the code is mended, the letters are replayed, and every record's result is there once.
"""

from __future__ import annotations

import signal
from collections import Counter, defaultdict
from collections.abc import Sequence

import pytest

from integration_tests import fragile
from integration_tests.poisoned import KINDS, Place, Poisoned, poisoned, run
from integration_tests.running_service import Services
from integration_tests.servers import KafkaServer
from kafka_stream.protocols import AFTER_ANOTHER
from kafka_stream.types import Phase, TopicPartition

RECORDS = 100_000
ATTEMPTS = 2
KILLS = [
    *({"KAFKA_STREAM_TEST_KILL_AT": f"{Phase.AFTER_ATTEMPT}:{nth}"} for nth in (1, 4)),
    *({fragile.KILL_IN_PREPARE: str(nth)} for nth in (2, 5)),
    *(
        {"KAFKA_STREAM_TEST_KILL_AT": f"{phase}:1"}
        for phase in (
            Phase.AFTER_SET_ASIDE,
            Phase.AFTER_PREPARE,
            Phase.AFTER_CLAIM,
            Phase.AFTER_WRITE,
            Phase.AFTER_ADVANCE,
            Phase.AFTER_COMMIT,
        )
    ),
]


@pytest.mark.parametrize("poison", [1, 10, 1_000])
@pytest.mark.parametrize(("place", "kinds"), KINDS.items(), ids=list(KINDS), indirect=["place"])
def test_through_every_kill_each_good_result_and_each_letter_is_there_once(
    place: Place, kinds: Sequence[str], poison: int, kafka: KafkaServer, services: Services
) -> None:
    if place.target and poison > 10:
        kinds = kinds[:2]  # each attempt waits until its records are delivered
    topic = poisoned(kafka, RECORDS, poison, kinds)
    settings = place.settings(topic.topic)
    kills = KILLS if {"refused", "deferred"} & set(kinds) else KILLS[ATTEMPTS:]  # nothing fails while it is written
    assert [run(services, settings, **kill) for kill in kills] == [-signal.SIGKILL] * len(kills), "all were to hit"
    assert run(services, settings) == 0

    results = [value for _, value in place.results()]
    assert Counter(results) == topic.good
    letters = place.letters(settings.stream)
    assert Counter((letter.payload.value or b"").decode() for letter in letters) == topic.bad
    assert {letter.attempts for letter in letters} == {1}
    assert place.next_offsets(settings.stream) == {
        TopicPartition(topic.topic, number): end for number, end in kafka.end_offsets(topic.topic).items()
    }


@pytest.mark.parametrize("place", ["postgres", "mariadb", "sqlite", "kafka"], indirect=True)
def test_with_the_order_of_keys_kept_what_follows_a_letter_joins_it(
    place: Place, kafka: KafkaServer, services: Services
) -> None:
    topic = poisoned(kafka, 5_000, 6, ("decode", "prepare"), keys=50)
    settings = place.settings(topic.topic, keep_key_order=True, max_records_per_batch=300)
    for environment in KILLS[:5]:
        run(services, settings, **environment)
    assert run(services, settings) == 0

    expected_letters, expected_results = order_kept(topic)
    assert Counter(value for _, value in place.results()) == Counter(expected_results)
    letters = place.letters(settings.stream)
    assert Counter((letter.payload.value or b"").decode() for letter in letters) == Counter(expected_letters)
    own = [letter for letter in letters if letter.error.type != AFTER_ANOTHER]
    assert 0 < len(own) <= sum(topic.bad.values()) < len(letters)


def order_kept(topic: Poisoned) -> tuple[list[str], list[str]]:
    """Which values become letters, and which results."""
    waiting: defaultdict[int, bool] = defaultdict(bool)
    letters: list[str] = []
    results: list[str] = []
    for n, value in enumerate(topic.values):
        key = n % topic.keys
        waiting[key] = waiting[key] or not value.startswith("good")
        (letters if waiting[key] else results).append(value)
    return letters, results


@pytest.mark.parametrize("place", ["postgres"], indirect=True)
def test_a_search_logs_what_it_found_and_not_each_attempt(place: Place, kafka: KafkaServer, services: Services) -> None:
    topic = poisoned(kafka, 200, 8, ("refused",))
    service = services.start(place.settings(topic.topic))
    assert service.wait() == 0, service.report()
    errors = service.log.with_suffix(".err").read_text().splitlines()
    warnings = [line for line in errors if "WARNING" in line]
    assert len([line for line in warnings if "set aside as dead letters" in line]) == len(warnings) > 0
