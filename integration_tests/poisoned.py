"""Topics with records that break an application, and where it keeps its offsets, its letters and its results."""

from __future__ import annotations

import re
import signal
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from integration_tests import fragile
from integration_tests.pairings import store_url
from integration_tests.running_service import Services
from integration_tests.servers import KafkaServer, random_name
from integration_tests.service_settings import ServiceSettings
from kafka_stream.plugins import store_from_url
from kafka_stream.protocols import DeadLetter, DeadLetterStore
from kafka_stream.types import TopicPartition

PARTITIONS = 4
KINDS = {
    "postgres": ("decode", "prepare", "refused", "deferred"),
    "mariadb": ("decode", "prepare", "refused"),
    "sqlite": ("decode", "prepare", "refused"),
    "kafka": ("decode", "prepare", "refused"),
}


@dataclass(frozen=True)
class Place:
    """Where an application keeps its offsets, its letters and its results."""

    url: str
    target: str
    kafka: KafkaServer

    def settings(self, topic: str, **options: object) -> ServiceSettings:
        """The service that reads a topic into it."""
        return ServiceSettings(
            **{
                "bootstrap_servers": self.kafka.bootstrap_servers,
                "store": self.url,
                "topic": topic,
                "stream": random_name("stream"),
                "handler": "fragile",
                "target": self.target,
                "until": "latest",
                "max_records_per_batch": 2_000,
                "on_error": "dead-letter",
                **options,
            }  # type: ignore[arg-type]
        )

    def results(self) -> Sequence[tuple[str, str]]:
        """Key and value of each result, in the order in which they were written where there is one."""
        if self.target:
            found = self.kafka.read_committed(self.target)
            return [((key or b"").decode(), (value or b"").decode()) for _, _, key, value in found]
        engine = sa.create_engine(self.url)
        try:
            with engine.connect() as connection:
                rows = connection.execute(
                    sa.select(fragile.RESULTS.c.record_key, fragile.RESULTS.c.value).order_by(fragile.RESULTS.c.number)
                )
                return [(row.record_key, row.value) for row in rows]
        finally:
            engine.dispose()

    def letters(self, stream: str) -> list[DeadLetter]:
        """What was set aside."""
        store = store_from_url(self.url)
        assert isinstance(store, DeadLetterStore)
        store.open()
        try:
            return list(store.letters(stream))
        finally:
            store.close()

    def next_offsets(self, stream: str) -> Mapping[TopicPartition, int]:
        """Where the stream stands."""
        store = store_from_url(self.url)
        store.open()
        try:
            return {tp: position.next_offset for tp, position in store.positions(stream).items()}
        finally:
            store.close()


@pytest.fixture
def place(request: pytest.FixtureRequest, kafka: KafkaServer, tmp_path: Path) -> Place:
    store: str = request.param
    url = store_url(store, tmp_path, request)
    if store == "kafka":
        return Place(url, kafka.create_topic(partitions=3), kafka)
    engine = sa.create_engine(url)
    fragile.METADATA.create_all(engine)
    engine.dispose()
    return Place(url, "", kafka)


@dataclass(frozen=True)
class Poisoned:
    """A topic, and which of its records are poison: by number."""

    topic: str
    values: Sequence[str]
    keys: int

    @property
    def good(self) -> Counter[str]:
        return Counter(value for value in self.values if value.startswith("good"))

    @property
    def bad(self) -> Counter[str]:
        return Counter(value for value in self.values if not value.startswith("good"))


def poisoned(kafka: KafkaServer, records: int, poison: int, kinds: Sequence[str], keys: int = 9_973) -> Poisoned:
    """So many records, and so many of them poison, spread over all and of all kinds in turn; the first is good."""
    places = {(n + 1) * records // (poison + 1): kinds[-1 - n % len(kinds)] for n in range(poison)}
    values = [f"{places.get(n, 'good')} {n}" for n in range(records)]
    topic = kafka.create_topic(partitions=PARTITIONS)
    kafka.produce(topic, ((f"key-{n % keys}", value) for n, value in enumerate(values)))
    return Poisoned(topic, values, keys)


def numbers(values: Iterable[str]) -> Counter[int]:
    """The records that these results are of."""
    return Counter(int(re.sub(r"\D", "", value)) for value in values)


def run(services: Services, settings: ServiceSettings, **environment: str) -> int:
    service = services.start(settings, **environment)
    status = service.wait(timeout_s=240)
    assert status in (0, -signal.SIGKILL), service.report()
    return status
