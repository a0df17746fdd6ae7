"""The guarantee with workers: they, their driver and who replaces it may be killed anywhere, as those without may."""

from __future__ import annotations

import itertools
import random
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from integration_tests.dask_processes import DaskProcesses
from integration_tests.pairings import Pairing, committed_records
from integration_tests.poisoned import Place, poisoned, run
from integration_tests.running_service import RunningService, Services, wait_while_running
from integration_tests.servers import KafkaServer, OpenTransaction, PostgresDatabase
from integration_tests.service_settings import ServiceSettings
from integration_tests.streams import SHORT_SESSIONS, wait_for_stable_end
from integration_tests.worker_processes import kill_workers, wait_until_gone, workers_of
from kafka_stream.protocols import DeadLetter
from kafka_stream.types import OF_EVERY_BATCH, Phase

SEED = 20_261_127
PROCESSES = "processes:2"
HANDLERS = {"sql sink": "prepared rows", "kafka sink": "prepared messages"}


def topic_of(kafka: KafkaServer, rounds: int) -> str:
    """Three partitions with plain, committed and aborted records; 2,000 a round stay."""
    name = kafka.create_topic(partitions=3)
    for turn in range(rounds):
        numbers = range(turn * 2_000, turn * 2_000 + 1_000)
        kafka.produce(name, [(f"key-{n % 97}", f"committed {n}") for n in numbers])
        kafka.transaction(name, [(f"key-{n % 97}", f"aborted {n}") for n in numbers[:200]], outcome="abort")
        kafka.transaction(name, [(f"key-{n % 97}", f"committed {n + 1_000}") for n in numbers])
    return name


def settings_with_workers(pairing: Pairing, topic: str) -> ServiceSettings:
    """A service whose two workers prepare."""
    return replace(
        pairing.settings(topic), handler=HANDLERS[pairing.sink], executor=PROCESSES, max_records_per_batch=60
    )


def kill_at(services: Services, settings: ServiceSettings, phases: Sequence[Phase]) -> None:
    """The driver kills itself at named points, with small batches and with some that are cut into more slices."""
    for phase, records in zip(phases, itertools.cycle((400, 2_400, 90)), strict=False):
        limits = replace(settings, max_records_per_batch=records)
        service = services.start(limits, KAFKA_STREAM_TEST_KILL_AT=f"{phase}:2")
        assert service.wait() == -signal.SIGKILL, service.report()
        wait_until_gone(settings)


def kill_driver_and_workers(services: Services, settings: ServiceSettings, chance: random.Random, times: int) -> None:
    """Workers die amid the work, then the driver, wherever it is."""
    for _ in range(times):
        service = services.start(settings)
        service.wait_until_said("batch")
        kill_workers(service, chance, times=2)
        assert service.kill_after(chance.uniform(0.0, 0.3)), service.report()
        wait_until_gone(settings)


def freeze_and_wake(services: Services, settings: ServiceSettings, phase: Phase) -> None:
    """A driver is frozen, its successor works, and it wakes up: it ends, and its workers with it."""
    frozen = services.start(settings, KAFKA_STREAM_TEST_PAUSE_AT=f"{phase}:2")
    frozen.wait_until_stopped()
    assert workers_of(frozen)
    successor = services.start(settings)
    successor.wait_until_said("batch", times=3)
    frozen.signal(signal.SIGCONT)
    assert frozen.wait() == 1, frozen.report()
    assert [failure["type"] for failure in frozen.said("failed")] == ["OwnershipLost"], frozen.report()
    successor.wait_until_said("batch", times=len(successor.said("batch")) + 2)
    successor.end()
    wait_until_gone(settings)


def finish(services: Services, settings: ServiceSettings) -> RunningService:
    """The rest, to the end."""
    last = services.start(replace(settings, until="latest", max_records_per_batch=3_000))
    assert last.wait() == 0, last.report()
    wait_until_gone(settings)
    return last


@pytest.mark.parametrize(
    ("names", "executor", "rounds", "phases"),
    [
        (("postgres", "sql sink"), PROCESSES, 20, OF_EVERY_BATCH),
        (("kafka", "kafka sink"), PROCESSES, 12, (Phase.AFTER_FETCH, Phase.AFTER_WRITE, Phase.AFTER_COMMIT)),
        (("mariadb", "sql sink"), PROCESSES, 6, (Phase.AFTER_ADVANCE,)),
        (("postgres", "sql sink"), "dask", 6, (Phase.AFTER_WRITE,)),
        (("kafka", "kafka sink"), "dask", 6, (Phase.AFTER_ADVANCE,)),
    ],
    ids=["postgres", "kafka", "mariadb", "dask", "kafka and dask"],
)
def test_each_committed_record_is_there_once_whoever_dies(
    names: tuple[str, str],
    executor: str,
    rounds: int,
    phases: Sequence[Phase],
    kafka: KafkaServer,
    services: Services,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    pairing = Pairing.made(names, tmp_path, request)
    if "postgres" in names:
        table = request.getfixturevalue("postgres")
        table.execute("ALTER TABLE pairing_results ADD COLUMN number bigserial")
    topic = topic_of(kafka, rounds)
    wait_for_stable_end(kafka, topic)
    to_commit, to_abort = open_transactions(kafka, topic)
    settings = replace(settings_with_workers(pairing, topic), executor=executor)
    chance = random.Random(f"{SEED} {names}")

    kill_at(services, settings, phases)
    if len(phases) > 1:
        freeze_and_wake(services, settings, Phase.AFTER_WRITE)
    kill_driver_and_workers(services, settings, chance, len(phases) // 3 + 1)
    so_far, committed = pairing.results(), committed_records(kafka, topic)
    assert 0 < len(so_far) < len(committed) == rounds * 2_000, "every kill was to hit amid the work"
    assert so_far <= committed

    finish(services, settings)
    assert pairing.results() == committed, "with two transactions still open"
    to_commit.commit()
    to_abort.abort()
    wait_for_stable_end(kafka, topic)
    finish(services, settings)
    committed = committed_records(kafka, topic)
    assert sum(committed.values()) == rounds * 2_000 + 900
    assert pairing.results() == committed, f"lost {committed - pairing.results()}, more {pairing.results() - committed}"
    if "postgres" in names:
        assert_in_order(request.getfixturevalue("postgres"))


def open_transactions(kafka: KafkaServer, topic: str) -> tuple[OpenTransaction, OpenTransaction]:
    """Two that stay open, with records of others behind."""
    to_commit = kafka.open_transaction(topic, [(f"key-{n % 97}", f"committed late {n}") for n in range(300)])
    to_abort = kafka.open_transaction(topic, [(f"key-{n % 97}", f"aborted late {n}") for n in range(300)])
    kafka.produce(topic, [(f"key-{n % 97}", f"committed behind {n}") for n in range(600)])
    return to_commit, to_abort


def assert_in_order(postgres: PostgresDatabase) -> None:
    """Rows were written in order of each partition's offsets."""
    rows = postgres.execute("SELECT partition, record_offset FROM pairing_results ORDER BY number")
    for number in {partition for partition, _ in rows}:
        offsets = [offset for partition, offset in rows if partition == number]
        assert offsets == sorted(offsets)


def test_a_group_with_workers_loses_a_member_and_stores_every_record_once(
    kafka: KafkaServer, services: Services, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    pairing = Pairing.made(("postgres", "sql sink"), tmp_path, request)
    topic = topic_of(kafka, 8)
    wait_for_stable_end(kafka, topic)
    settings = replace(
        settings_with_workers(pairing, topic), assignment="group", kafka=SHORT_SESSIONS, max_records_per_batch=60
    )
    survivor = services.start(settings)
    for phase in (Phase.AFTER_FETCH, Phase.AFTER_WRITE):
        victim = services.start(settings, KAFKA_STREAM_TEST_KILL_AT=f"{phase}:3")
        assert victim.wait() == -signal.SIGKILL, victim.report()
    committed = committed_records(kafka, topic)
    assert 0 < len(pairing.results()) < len(committed), "every kill was to hit amid the work"
    kill_workers(survivor, random.Random(SEED), 1)
    survivor.signal(signal.SIGTERM)
    assert survivor.wait() == 0, survivor.report()
    wait_until_gone(settings)

    last = services.start(replace(settings, max_records_per_batch=3_000, until="latest"))
    assert last.wait() == 0, last.report()
    assert pairing.results() == committed


def test_a_dask_scheduler_that_is_killed_amid_a_stream_costs_no_record(
    kafka: KafkaServer, services: Services, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    pairing = Pairing.made(("postgres", "sql sink"), tmp_path, request)
    topic = topic_of(kafka, 8)
    wait_for_stable_end(kafka, topic)
    with DaskProcesses(tmp_path) as dask:
        settings = replace(settings_with_workers(pairing, topic), executor=f"dask://127.0.0.1:{dask.port}")
        dask.start_scheduler()
        dask.start_worker()
        service = services.start(settings)
        service.wait_until_said("batch", times=2)
        dask.end_scheduler(signal.SIGKILL)
        dask.start_scheduler()
        dask.start_worker()
        service.wait_until_said("batch", times=len(service.said("batch")) + 5)
        assert service.kill_after(0.0), "the driver, too"
        committed = committed_records(kafka, topic)
        assert 0 < len(pairing.results()) < len(committed), "every kill was to hit amid the work"
        last = services.start(replace(settings, until="latest", max_records_per_batch=3_000))
        assert last.wait() == 0, last.report()
    assert pairing.results() == committed


@pytest.mark.parametrize("on_data_loss", ["stop", "earliest"])
def test_records_that_retention_took_are_a_loss_that_is_told(
    on_data_loss: Literal["stop", "earliest"],
    kafka: KafkaServer,
    services: Services,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    pairing = Pairing.made(("postgres", "sql sink"), tmp_path, request)
    topic = kafka.create_topic(partitions=1)
    kafka.produce(topic, [(f"key-{n % 97}", f"committed {n}") for n in range(6_000)])
    settings = replace(settings_with_workers(pairing, topic), on_data_loss=on_data_loss, max_records_per_batch=100)
    frozen = services.start(settings, KAFKA_STREAM_TEST_PAUSE_AT=f"{Phase.AFTER_COMMIT}:3")
    frozen.wait_until_stopped()  # with batches planned that workers have not read
    kafka.delete_records(topic, 0, 5_000)
    frozen.signal(signal.SIGCONT)
    before = {offset for _, offset, _, _ in pairing.results()}
    if on_data_loss == "stop":
        assert frozen.wait() == 1, frozen.report()
        assert [failure["type"] for failure in frozen.said("failed")] == ["OffsetOutOfRange"], frozen.report()
    else:
        wait_for_offset(pairing, frozen, 5_999)
        frozen.signal(signal.SIGTERM)
        assert frozen.wait() == 0, frozen.report()
    wait_until_gone(settings)
    results = pairing.results()
    assert max(Counter(offset for _, offset, _, _ in results.elements()).values()) == 1
    offsets = sorted(offset for _, offset, _, _ in results)
    assert before <= set(offsets)
    behind = [offset for offset in offsets if offset >= 5_000]
    assert behind == ([] if on_data_loss == "stop" else list(range(5_000, 6_000)))
    first = [offset for offset in offsets if offset < 5_000]
    assert first == list(range(len(first))), "nothing is missing before the loss"


def wait_for_offset(pairing: Pairing, service: RunningService, offset: int) -> None:
    """Wait until a record's result is there."""
    wait_while_running(lambda: any(row[1] == offset for row in pairing.results()), 60.0, service)


@pytest.mark.parametrize("place", ["postgres"], indirect=True)
@pytest.mark.parametrize("keep_key_order", [False, True], ids=["any order", "order of keys"])
def test_letters_and_results_are_those_of_a_stream_without_workers(
    place: Place, kafka: KafkaServer, services: Services, keep_key_order: bool
) -> None:
    topic = poisoned(kafka, 9_000, 4, ("decode", "prepare", "refused", "deferred"), keys=200)
    alone = place.settings(topic.topic, keep_key_order=keep_key_order)
    assert run(services, alone) == 0
    results = Counter(place.results())
    letters = place.letters(alone.stream)
    assert len(letters) >= 4

    elsewhere = replace(alone, stream=f"{alone.stream}-elsewhere", executor=PROCESSES)
    killed = run(services, elsewhere, KAFKA_STREAM_TEST_KILL_AT=f"{Phase.AFTER_SET_ASIDE}:2")
    assert killed == -signal.SIGKILL
    wait_until_gone(elsewhere)
    assert run(services, elsewhere) == 0
    assert Counter(place.results()) == results + results
    found = place.letters(elsewhere.stream)
    assert Counter(said(letter) for letter in found) == Counter(said(letter) for letter in letters)


def said(letter: DeadLetter) -> tuple[object, ...]:
    """What a letter tells, but for when and to whom it happened."""
    return letter.id.partition, letter.id.offset, letter.payload.value, letter.error.type, letter.attempts
