"""The broker that coordinates a group is killed, stopped and frozen while records come: every stream goes on.

Both assignments and both kinds of offsets live through the same rounds, beside a bare consumer and a bare producer;
``KAFKA_STREAM_TEST_ROUNDS`` says how many rounds (``make soak-coordinator``: 20), ``KAFKA_STREAM_TEST_OUTAGES`` of
which kinds (``killed,stopped,frozen``).
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from integration_tests.engine import wait_until
from integration_tests.kafka_cluster import KafkaCluster
from integration_tests.load import BareConsumer, Load, Pauses
from integration_tests.results import ResultTable
from integration_tests.running_service import RunningService, Services, wait_while_running
from integration_tests.servers import PostgresServer, random_name
from integration_tests.service_settings import ServiceSettings

ROUNDS = int(os.environ.get("KAFKA_STREAM_TEST_ROUNDS", "3"))
OUTAGES = os.environ.get("KAFKA_STREAM_TEST_OUTAGES", "killed,stopped,frozen").split(",")
SESSIONS = {"session.timeout.ms": 10_000, "heartbeat.interval.ms": 1000}
GONE_S = 4.0
FROZEN_S = 9.0
"""Longer than a broker's session: another one coordinates the group by then."""
WAIT_S = 180.0


@dataclass
class Copy:
    """A stream that copies the topic, and how to find out what it has copied."""

    name: str
    settings: ServiceSettings
    table: ResultTable | None
    service: RunningService

    def batches(self) -> Callable[[], int]:
        """Counts the batches that it has committed from now on. For one thread."""
        position, counted = self.service.log.stat().st_size, 0

        def count() -> int:
            nonlocal position, counted
            with self.service.log.open("rb") as log:
                log.seek(position)
                counted += log.read().count(b"batch ")
                position = log.tell()
            return counted

        return count

    def wrong(self, cluster: KafkaCluster, topic: str) -> str | None:
        """What is lost or there twice."""
        committed = cluster.read_committed(topic)
        if self.table is not None:
            findings = self.table.check(committed)
            return None if findings.are_exactly_once else str(findings)
        wanted = Counter((value or b"").decode() for *_, value in committed)
        found = Counter(json.loads(value or b"")["value"] for *_, value in cluster.read_committed(self.settings.target))
        return None if found == wanted else f"{(wanted - found).total()} lost, {(found - wanted).total()} repeated"


class Copies:
    """One stream of each assignment with each kind of offsets, all of one coordinator."""

    def __init__(self, cluster: KafkaCluster, server: PostgresServer, services: Services, stack: ExitStack) -> None:
        self.cluster = cluster
        self.topic = cluster.create_topic(partitions=4)
        self.group = random_name("bare")
        self._server = server
        self._services = services
        self._stack = stack
        self.all = [
            self._started(assignment, store) for assignment in ("group", "static") for store in ("kafka", "postgres")
        ]

    def _started(self, assignment: str, store: str) -> Copy:
        table = None
        url, handler, target = f"kafka://{self.cluster.bootstrap_servers}", "kafka sink", ""
        if store == "postgres":
            database = self._server.create_database()
            self._stack.callback(self._server.drop_database, database)
            table, url, handler = ResultTable(database), database.url, "rows"
        else:
            target = self.cluster.create_topic(partitions=3)
        settings = ServiceSettings(
            bootstrap_servers=self.cluster.bootstrap_servers,
            store=url,
            topic=self.topic,
            stream=self.cluster.name_beside(self.group),
            assignment=assignment,
            handler=handler,
            target=target,
            kafka=SESSIONS,
        )
        return Copy(f"{assignment}, offsets in {store}", settings, table, self._services.start(settings))

    def wait_until_they_go_on(self) -> None:
        """Each has committed a batch since now."""
        counts = [each.batches() for each in self.all]
        wait_while_running(lambda: all(count() for count in counts), WAIT_S, *(each.service for each in self.all))

    def wait_until_all_is_copied(self) -> None:
        """Each has copied what is in the topic, or the time is up; what is wrong then is found later."""
        wait_until(lambda: not any(each.wrong(self.cluster, self.topic) for each in self.all), WAIT_S)

    def wrong(self) -> dict[str, str]:
        """What is lost or repeated, by stream."""
        found = {each.name: each.wrong(self.cluster, self.topic) for each in self.all}
        return {name: wrong for name, wrong in found.items() if wrong is not None}


@pytest.fixture
def copies(kafka_cluster: KafkaCluster, postgres_server: PostgresServer, services: Services) -> Iterator[Copies]:
    with ExitStack() as stack:
        found = Copies(kafka_cluster, postgres_server, services, stack)
        yield found
        for each in found.all:
            each.service.end()


def outage(cluster: KafkaCluster, group: str, number: int) -> str:
    """Take the group's coordinator away for a while, each time in another way."""
    node = cluster.coordinator_of(group)
    how = OUTAGES[number % len(OUTAGES)]
    if how == "frozen":
        cluster.pause(node)
        threading.Event().wait(FROZEN_S)
        cluster.unpause(node)
    else:
        (cluster.kill if how == "killed" else cluster.stop)(node)
        threading.Event().wait(GONE_S)
        cluster.start(node)
    cluster.wait_until_up()
    return f"broker {node} {how}"


def test_every_stream_goes_on_when_its_coordinator_comes_back(
    copies: Copies, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster, servers = copies.cluster, copies.cluster.bootstrap_servers
    with BareConsumer(servers, copies.group, copies.topic) as bare, Load(servers, copies.topic) as load:
        copies.wait_until_they_go_on()
        counts = {each.name: each.batches() for each in copies.all}
        with Pauses(
            **counts, **{"bare consumer": lambda: bare.read, "bare producer": lambda: load.delivered}
        ) as pauses:
            for number in range(ROUNDS):
                started = time.monotonic()
                what = outage(cluster, copies.group, number)
                copies.wait_until_they_go_on()
                with capsys.disabled():
                    went_on_s = time.monotonic() - started
                    print(
                        f"\nround {number + 1}: {what}, all go on after {went_on_s:.1f} s; longest pauses: {pauses}",
                        end="",
                    )
    with capsys.disabled():
        print(f"\n{load.delivered} records; longest pauses: {pauses}")
    assert not load.failed
    copies.wait_until_all_is_copied()
    for each in copies.all:
        each.service.signal(signal.SIGTERM)
    assert [each.service.wait() for each in copies.all] == [0] * len(copies.all)
    assert copies.wrong() == {}
