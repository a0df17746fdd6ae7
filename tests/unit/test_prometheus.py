"""What is scraped of a stream: what its batches add up to, and what it says of itself meanwhile."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from kafka_stream.errors import ProcessingError, StoreUnavailable
from kafka_stream.observe.measures import GAUGES
from kafka_stream.observe.prometheus import PrometheusListener
from kafka_stream.progress import Listeners, StreamState, StreamStatus
from kafka_stream.testing import MemoryKafka, MemoryOffsetStore
from kafka_stream.types import Guarantee, Owner, TopicPartition
from tests.simulation import ResultsStore, Simulation, twenty_each

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def scrape(registry: CollectorRegistry) -> dict[str, float]:
    """Each sample, as Prometheus reads it, without those of histograms' buckets."""
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        f"{sample.name}{{{','.join(f'{name}={value}' for name, value in sorted(sample.labels.items()))}}}": sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith(("_bucket", "_created"))
    }


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_what_batches_add_up_to(registry: CollectorRegistry) -> None:
    store = ResultsStore(MemoryOffsetStore())
    store.failures["commit"] = [StoreUnavailable("postgresql://me:hunter2@db/shop, ada@example.org")]
    run = Simulation(twenty_each(), store, listeners=[PrometheusListener(registry)])
    run.at(60, run.stop)
    run.run()
    found = scrape(registry)
    assert found["kafka_stream_records_total{stream=s}"] == 40
    assert found["kafka_stream_record_bytes_total{stream=s}"] == 40
    assert found["kafka_stream_retries_total{error=StoreUnavailable,stream=s}"] == 1
    assert found["kafka_stream_takeovers_total{stream=s}"] >= 2
    assert found["kafka_stream_dead_letters_total{stream=s}"] == 0
    batches = found["kafka_stream_batches_total{stream=s}"]
    assert batches >= 1
    for phase in ("fetch", "prepare", "claim", "write", "commit"):
        assert found[f"kafka_stream_phase_seconds_count{{phase={phase},stream=s}}"] == batches
    assert found["kafka_stream_batch_records_sum{stream=s}"] == 40
    assert found["kafka_stream_record_to_commit_seconds_count{stream=s}"] == batches
    assert found["kafka_stream_lag_seconds{partition=0,stream=s,topic=orders}"] == 0
    assert found["kafka_stream_state{state=stopped,stream=s}"] == 1
    assert sum(value for name, value in found.items() if name.startswith("kafka_stream_state{")) == 1
    text = generate_latest(registry).decode()
    assert "hunter2" not in text
    assert "ada@example.org" not in text


def test_a_run_that_failed(registry: CollectorRegistry) -> None:
    store = ResultsStore(MemoryOffsetStore())
    store.failures["begin"] = [ProcessingError("the row of ada@example.org")]
    with pytest.raises(ProcessingError):
        Simulation(twenty_each(), store, listeners=[PrometheusListener(registry)]).run()
    found = scrape(registry)
    assert found["kafka_stream_failures_total{error=ProcessingError,stream=s}"] == 1
    assert found["kafka_stream_state{state=failed,stream=s}"] == 1
    assert "ada@example.org" not in generate_latest(registry).decode()


def _scraped(
    registry: CollectorRegistry, status: StreamStatus, *, stream: str = "s", limit: int = 3
) -> dict[str, float]:

    listeners = Listeners([PrometheusListener(registry, partitions_limit=limit)])
    listeners.status_through(stream, lambda: status)
    listeners.on_start(stream, Owner("0123", "host", "v7"), Guarantee.EXACTLY_ONCE)
    return scrape(registry)


def _status(partitions: int) -> StreamStatus:
    lag = {TopicPartition("orders", number): number for number in range(partitions)}
    return StreamStatus(
        StreamState.RUNNING,
        positions=dict.fromkeys(lag, 5),
        lag={**lag, TopicPartition("users", 0): None},
    )


def test_lag_is_told_by_partition_up_to_the_limit_and_by_topic_beyond(registry: CollectorRegistry) -> None:
    few = _scraped(registry, _status(2))
    assert few["kafka_stream_lag_records{partition=0,stream=s,topic=orders}"] == 0
    assert few["kafka_stream_lag_records{partition=1,stream=s,topic=orders}"] == 1
    assert few["kafka_stream_lag_unknown_partitions{stream=s}"] == 1
    many = _scraped(registry, _status(100))
    lags = {name: value for name, value in many.items() if name.startswith("kafka_stream_lag_records")}
    assert lags == {"kafka_stream_lag_records{partition=all,stream=s,topic=orders}": sum(range(100))}
    assert many["kafka_stream_partitions{stream=s}"] == 100


def test_lag_in_time_is_the_age_of_the_last_committed_record(registry: CollectorRegistry) -> None:
    hour = timedelta(hours=1)
    status = replace(_status(5), reached={TopicPartition("orders", 3): datetime.now(UTC) - hour})
    few = _scraped(registry, status, limit=10)
    lags = {name: value for name, value in few.items() if name.startswith("kafka_stream_lag_seconds")}
    assert lags.pop("kafka_stream_lag_seconds{partition=0,stream=s,topic=orders}") == 0, "it has no lag"
    (of_3,) = lags.values()
    assert 3600 <= of_3 < 3700, "of the others nothing is known, and nothing is told"
    many = _scraped(registry, status, limit=3)
    assert 3600 <= many["kafka_stream_lag_seconds{partition=all,stream=s,topic=orders}"] < 3700


def test_what_befalls_a_stream_is_counted(registry: CollectorRegistry) -> None:
    store, kafka = ResultsStore(MemoryOffsetStore()), twenty_each()
    Simulation(kafka, store).run({TopicPartition("orders", 0): 5})
    kafka.delete_records("orders", 0, 12)
    settings: dict[str, Any] = {"assignment": "group", "on_data_loss": "earliest", "max_records_per_batch": 10}
    settings["listeners"] = [PrometheusListener(registry)]
    run, other = Simulation(kafka, store, **settings), Simulation(kafka, store, assignment="group")
    store.lost_answers = ["after", "before"]
    run.at(1, other.source.subscribe)
    run.at(2, other.source.close)
    run.at(4, run.stop)
    run.run()
    found = scrape(registry)
    assert found["kafka_stream_data_losses_total{stream=s}"] == 1
    assert found["kafka_stream_releases_total{stream=s}"] == 1
    assert found["kafka_stream_settled_commits_total{outcome=committed,stream=s}"] == 1
    assert found["kafka_stream_settled_commits_total{outcome=not committed,stream=s}"] == 1


def test_streams_of_one_process_share_a_registry(registry: CollectorRegistry) -> None:
    _scraped(registry, _status(1), stream="first")
    found = _scraped(registry, _status(2), stream="second")
    assert found["kafka_stream_partitions{stream=first}"] == 1
    assert found["kafka_stream_partitions{stream=second}"] == 2
    assert [name for name in found if name.startswith("kafka_stream_info") and "stream=second" in name]


def test_the_status_is_that_of_the_latest_run(registry: CollectorRegistry) -> None:
    _scraped(registry, _status(2))
    assert _scraped(registry, _status(1))["kafka_stream_partitions{stream=s}"] == 1


def test_a_status_is_given_to_those_alone_who_look() -> None:
    class Other:
        def __getattr__(self, name: str) -> Callable[..., None]:
            if name == "status_through":
                raise AttributeError(name)
            return lambda *_: None

    Listeners([Other()]).status_through("s", StreamStatus)


def test_the_page_has_every_metric_and_no_other(registry: CollectorRegistry) -> None:
    PrometheusListener(registry)
    told = {(family.name, family.documentation) for family in registry.collect()}
    rows = re.findall(r"^\| `(kafka_stream_\w+)` \| ([^|]+) \|([^|]*)\|$", PAGE.read_text(), re.MULTILINE)
    assert {(name.removesuffix("_total"), what.strip()) for name, what, _ in rows} == told
    assert {f"kafka_stream_{gauge.name}" for gauge in GAUGES} <= {name for name, _, _ in rows}


def test_what_comes_before_the_start_is_told_too(registry: CollectorRegistry) -> None:
    store = ResultsStore(MemoryOffsetStore())
    store.failures["open"] = [StoreUnavailable("away"), ProcessingError("the row of ada@example.org")]
    with pytest.raises(ProcessingError):
        Simulation(twenty_each(), store, listeners=[PrometheusListener(registry)]).run()
    found = scrape(registry)
    assert found["kafka_stream_retries_total{error=StoreUnavailable,stream=s}"] == 1
    assert found["kafka_stream_failures_total{error=ProcessingError,stream=s}"] == 1
    assert found["kafka_stream_state{state=failed,stream=s}"] == 1
    assert found["kafka_stream_batches_total{stream=s}"] == 0


def test_what_has_not_happened_yet_is_zero(registry: CollectorRegistry) -> None:
    run = Simulation(
        MemoryKafka({"orders": 1}), ResultsStore(MemoryOffsetStore()), listeners=[PrometheusListener(registry)]
    )
    run.at(30, run.stop)
    run.run()
    assert scrape(registry)["kafka_stream_batches_total{stream=s}"] == 0
