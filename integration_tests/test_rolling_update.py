"""A rolling update as Kubernetes does it, by processes: each step waits for probes, and records come all the time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from integration_tests.engine import wait_until
from integration_tests.load import Load
from integration_tests.results import ResultTable
from integration_tests.running_service import ROOT
from integration_tests.servers import KafkaServer, PostgresDatabase, free_port, random_name
from integration_tests.service_settings import ServiceSettings
from integration_tests.streams import SHORT_SESSIONS

COPIES = 2
WAIT_S = 120.0


class Pod:
    """One process of ``kafka-stream run``, and what its probes say."""

    def __init__(self, name: str, settings: ServiceSettings, directory: Path, number: int) -> None:
        self.name = name
        self.address = f"127.0.0.1:{free_port()}"
        self._errors = directory / f"pod-{number}.err"
        command = [f"{Path(sys.executable).with_name('kafka-stream')}", "run", "integration_tests.fragile_app:stream"]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("KAFKA_STREAM_")}
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*command, "--http", self.address],
                cwd=ROOT,
                env={**inherited, **settings.environment()},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )

    def passes(self, probe: str) -> bool:
        """As a kubelet asks."""
        try:
            with urllib.request.urlopen(f"http://{self.address}/{probe}", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, TimeoutError):
            return False

    def stop(self) -> int:
        """SIGTERM; the grace period is longer than a stop may take."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WAIT_S)

    def report(self) -> str:
        """What it said."""
        return f"{self.name}:\n{self._errors.read_text(errors='replace')}"


class Workload:
    """The pods of a Deployment or a StatefulSet."""

    def __init__(self, settings: ServiceSettings, directory: Path, *, stateful: bool) -> None:
        self._settings = settings
        self._directory = directory
        self._stateful = stateful
        self.started = 0
        self.pods: list[Pod] = []

    def start(self, number: int, version: int) -> Pod:
        """A pod of this version, once it may be reckoned with: startup, then readiness."""
        self.started += 1
        name = f"orders-{number}" if self._stateful else random_name("orders")
        settings = replace(
            self._settings,
            handler="rows" if version == 1 else "enriched",
            group_instance_id=name if self._stateful else None,
        )
        pod = Pod(name, settings, self._directory, self.started)
        self.pods.append(pod)
        assert wait_until(lambda: pod.passes("startup"), WAIT_S), pod.report()
        assert wait_until(lambda: pod.passes("ready"), WAIT_S), pod.report()
        return pod

    def update(self, version: int) -> None:
        """One pod after the other; a Deployment has one more for a while, a StatefulSet one less."""
        for number, old in enumerate(list(self.pods)):
            assert all(pod.passes("live") for pod in self.pods), "no pod may be restarted for what others do"
            if not self._stateful:
                self.start(number, version)
            assert old.stop() == 0, old.report()
            self.pods.remove(old)
            if self._stateful:
                self.start(number, version)

    def end(self) -> None:
        """Whatever they are doing."""
        for pod in self.pods:
            pod.process.kill()
            pod.process.wait()


@pytest.fixture(params=[False, True], ids=["Deployment", "StatefulSet"])
def workload(
    kafka: KafkaServer, postgres: PostgresDatabase, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Workload]:
    settings = ServiceSettings(
        bootstrap_servers=kafka.bootstrap_servers,
        store=postgres.url,
        topic=kafka.create_topic(partitions=4),
        stream=random_name("orders"),
        assignment="group",
        group_protocol="classic",
        kafka=SHORT_SESSIONS,
    )
    with ExitStack() as stack:
        found = Workload(settings, tmp_path, stateful=request.param)
        stack.callback(found.end)
        yield found


def test_an_update_loses_and_repeats_nothing(
    workload: Workload, kafka: KafkaServer, postgres: PostgresDatabase
) -> None:
    table, topic = ResultTable(postgres), workload._settings.topic
    with Load(kafka.bootstrap_servers, topic) as load:
        for number in range(COPIES):
            workload.start(number, 1)
        assert wait_until(lambda: table.count() > 0, WAIT_S)
        table.migrate_to_version_2()
        before = table.count()
        workload.update(2)
        assert wait_until(lambda: table.count() > before, WAIT_S), "the new code works"
    assert not load.failed
    committed = kafka.read_committed(topic)
    assert wait_until(lambda: table.count() >= len(committed), WAIT_S)
    assert [pod.stop() for pod in workload.pods] == [0] * COPIES
    workload.pods.clear()
    findings = table.check(committed)
    assert findings.are_exactly_once, findings
    assert table.out_of_order() == 0
