"""A stateful service's topic, tables and processes, as the tests of its guarantee go through them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from integration_tests.engine import wait_until
from integration_tests.running_service import RunningService, Services, wait_while_running
from integration_tests.servers import KafkaServer, random_name
from integration_tests.service_settings import ServiceSettings
from integration_tests.stateful.app import ALL, TICK_SIGNAL, Options, Sinks
from integration_tests.stateful.found import Found
from integration_tests.stateful.records import Feed
from integration_tests.stateful.tables import migrate_to_version_2
from kafka_stream.types import Phase

PARTITIONS = 4
WAIT_S = 120.0
_LINGER_S = 0.02
_PER_KILL = 100
"""Records for each partition, so that there is work when it is killed."""


class Deployment:
    """One stream with its tables, from its first version on."""

    def __init__(
        self, server: KafkaServer, url: str, services: Services, *, seed: int, sinks: Sequence[str] = ALL, **more: Any
    ) -> None:
        self.engine = sa.create_engine(url)
        self.kafka = server
        self.topic = server.create_topic(partitions=PARTITIONS)
        self.feed = Feed(server, self.topic, seed)
        self.found = Found(self.engine)
        self._services = services
        self._options = Options(sinks=sinks, linger_s=_LINGER_S)
        self._settings = ServiceSettings(
            bootstrap_servers=server.bootstrap_servers,
            store=url,
            topic=self.topic,
            stream=random_name("stream"),
            handler="stateful",
            **{"max_records_per_batch": 60, **more},
        )
        created = Sinks(self._options)
        created.all()
        created.tables.create(self.engine)

    @property
    def settings(self) -> ServiceSettings:
        """What a start of the service is told now."""
        return replace(self._settings, target=str(self._options))

    def start(self, **environment: str) -> RunningService:
        """Start a process of the version that is deployed."""
        return self._services.start(self.settings, **environment)

    def kill_at(self, phase: Phase, nth: int) -> None:
        """Let it work until it kills itself at a named point of its nth batch with records."""
        self._wait_for_kill(self.start(KAFKA_STREAM_TEST_KILL_AT=f"{phase}:{nth}"))

    def kill_in_tick(self, phase: Phase, nth: int) -> None:
        """The same, of its nth tick."""
        self._wait_for_kill(self.start(**{TICK_SIGNAL: f"kill:{phase}:{nth}"}))

    def kill_at_random_instants(self, uniform: Callable[[float, float], float], times: int) -> None:
        """Kill it wherever it is amid its work."""
        for _ in range(times):
            self.feed.produce(range(PARTITIONS), _PER_KILL)
            service = self.start()
            service.wait_until_said("batch")
            assert service.kill_after(uniform(0.0, 0.4)), service.report()

    def freeze_and_wake(self, **frozen_at: str) -> None:
        """Freeze an owner inside its transaction, let a successor work, wake it up: it finds that it was replaced."""
        frozen = self.start(**frozen_at)
        frozen.wait_until_stopped()
        successor = self.start()
        successor.wait_until_said("positions")
        frozen.signal(signal.SIGCONT)
        assert frozen.wait() == 1, frozen.report()
        assert frozen.said("failed")[0]["type"] == "OwnershipLost", frozen.report()
        successor.end()

    def deploy_version_2(self) -> None:
        """Migrate the tables; what is started from now on is version 2."""
        migrate_to_version_2(self.engine)
        self._options = replace(self._options, version=2)

    def tell(self, **options: Any) -> None:
        """What is started from now on is told these options."""
        self._options = replace(self._options, **options)

    def hurry(self) -> None:
        """From now on there are no pauses, and batches are large."""
        self._options = replace(self._options, linger_s=0.0)
        self._settings = replace(self._settings, max_records_per_batch=2_000)

    def grow(self, partitions: int, *running: RunningService) -> None:
        """Give the topic more partitions, and wait until the stream knows them."""
        self.kafka.add_partitions(self.topic, partitions)
        known = sa.text("SELECT count(*) FROM kafka_stream_offsets WHERE stream = :stream")

        def are_known() -> bool:
            with self.engine.connect() as connection:
                found = connection.execute(known, {"stream": self._settings.stream}).scalar_one()
            return bool(found == partitions)

        wait_while_running(are_known, WAIT_S, *running)

    def wait_until_processed(self, records: int, *running: RunningService) -> None:
        """So many records have been."""
        wait_while_running(lambda: self.found.count("processed") >= records, WAIT_S, *running)

    def wait_until_right(self, *running: RunningService, by_both_versions: bool = False) -> None:
        """All tables are as a plain program says, or the time is up and it is said what is wrong."""
        committed = self.kafka.read_committed(self.topic)
        self.wait_until_processed(len(committed), *running)

        def wrong() -> dict[str, str]:
            return self.found.differences(committed, self._options.sinks, by_both_versions=by_both_versions)

        wait_until(lambda: not wrong(), WAIT_S / 4)
        found = wrong()
        assert not found, "\n".join(
            [*(f"{table}: {it}" for table, it in found.items()), *(it.report() for it in running)]
        )

    def stop(self, *running: RunningService) -> None:
        """Each of them in order."""
        for service in running:
            service.signal(signal.SIGTERM)
            assert service.wait() == 0, service.report()

    def close(self) -> None:
        """Give up the connections."""
        self.engine.dispose()

    @staticmethod
    def _wait_for_kill(service: RunningService) -> None:
        assert service.wait() == -signal.SIGKILL, service.report()


__all__ = ["PARTITIONS", "Deployment"]
