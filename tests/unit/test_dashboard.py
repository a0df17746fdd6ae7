"""The dashboard and the alerts use metrics and labels that are exposed, and no others, and say what to do."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from kafka_stream.errors import BrokerUnavailable, ProcessingError
from kafka_stream.observe.prometheus import PrometheusListener
from kafka_stream.progress import StreamState, StreamStatus
from kafka_stream.testing import MemoryOffsetStore
from kafka_stream.types import Guarantee, Owner, TopicPartition
from tests.page_views import NOW
from tests.promql import NotPromQL, used
from tests.simulation import ResultsStore, Simulation, twenty_each

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus" / "kafka-stream-alerts.yml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "kafka-stream.json").read_text("utf-8"))
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
OF_THE_TARGET = {"instance", "job"}
"""Labels that Prometheus gives to whatever it scrapes."""


def _expressions() -> Iterator[tuple[str, str]]:
    yield from ((rule["alert"], rule["expr"]) for rule in ALERTS)
    for panel in PANELS:
        yield from ((panel["title"], target["expr"]) for target in panel["targets"])
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["query"].replace(", stream)", ")")


EXPRESSIONS = dict(_expressions())


def _exposed() -> Mapping[str, Mapping[str, set[str]]]:
    """By sample's name the labels and their values, of streams to which everything has happened."""
    registry = CollectorRegistry()
    listener = PrometheusListener(registry)
    run = Simulation(twenty_each(), ResultsStore(MemoryOffsetStore()), listeners=[listener])
    run.at(60, run.stop)
    run.run()
    listener.on_retry(BrokerUnavailable("away"), 1.0)
    listener.on_stop(ProcessingError("no"))
    tp = TopicPartition("orders", 0)
    status = StreamStatus(StreamState.RUNNING, positions={tp: 7}, lag={tp: 3}, pinned={tp: NOW}, committed_at=NOW)
    status = replace(status, reached={tp: NOW})
    listener.status_through("s", lambda: status)
    listener.on_start("s", Owner("0123", "host", "v7"), Guarantee.EXACTLY_ONCE)
    found: dict[str, dict[str, set[str]]] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return found


@pytest.fixture(scope="module")
def exposed() -> Mapping[str, Mapping[str, set[str]]]:
    return _exposed()


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_what_is_asked_for_is_exposed(name: str, exposed: Mapping[str, Mapping[str, set[str]]]) -> None:
    found = used(EXPRESSIONS[name])
    assert found.selected, "it asks for nothing"
    for metric, labels in found.selected:
        assert metric in exposed
        for label, value in labels.items():
            assert label in exposed[metric], (metric, label)
            assert value is None or value in exposed[metric][label], (metric, label, value)
    of_them = set().union(*(exposed[metric] for metric in found.metrics))
    assert found.grouped <= of_them | OF_THE_TARGET


def test_every_metric_is_on_the_dashboard(exposed: Mapping[str, Mapping[str, set[str]]]) -> None:
    def family(sample: str) -> str:
        return re.sub("_(bucket|count|sum|created)$", "", sample)

    drawn = {
        family(metric) for panel in PANELS for target in panel["targets"] for metric in used(target["expr"]).metrics
    }
    known = {family(sample) for sample in exposed if not sample.endswith("_created")}
    left_out = {"kafka_stream_batches_total", "kafka_stream_lag_unknown_partitions"}
    assert known - drawn == left_out


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_has_happened_and_what_to_do(
    rule: dict[str, Any], exposed: Mapping[str, Mapping[str, set[str]]]
) -> None:
    assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s"))
    summary, runbook = rule["annotations"]["summary"], rule["annotations"]["runbook"]
    assert summary.endswith(".")
    assert runbook.endswith(".")
    assert len(runbook.split()) >= 15
    labels = set().union(*(exposed[metric] for metric in used(rule["expr"]).metrics))
    assert set(re.findall(r"\$labels\.(\w+)", summary + runbook)) <= labels | OF_THE_TARGET
    assert set(re.findall(r"kafka_stream_\w+", summary + runbook)) <= {
        *exposed,
        "kafka_stream_phase_seconds",  # the histogram, by its family's name
    }


def test_panels_are_whole_and_do_not_overlap() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    sources = {panel["datasource"]["uid"] for panel in PANELS}
    sources |= {target["datasource"]["uid"] for panel in PANELS for target in panel["targets"]}
    assert sources == {"${datasource}"}
    assert all(panel["title"] and panel["description"].endswith(".") for panel in PANELS)
    assert all('stream=~"$stream"' in target["expr"] for panel in PANELS for target in panel["targets"])
    places = [panel["gridPos"] for panel in PANELS]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in itertools.combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)


@pytest.mark.parametrize(
    ("expression", "metrics", "grouped"),
    [
        ('sum by (a, b) (rate(x_total{c="d", e=~"$f"}[$__rate_interval])) > 0.5', {"x_total"}, {"a", "b"}),
        ("time() - x > 900 and on (a) sum by (a) (y offset 15m) != bool 0", {"x", "y"}, {"a"}),
        ("histogram_quantile(0.95, sum by (le) (x_bucket))", {"x_bucket"}, {"le"}),
        ("sum(sum) or vector(0)", {"sum"}, set()),
    ],
)
def test_how_an_expression_is_read(expression: str, metrics: set[str], grouped: set[str]) -> None:
    assert (used(expression).metrics, used(expression).grouped) == (metrics, grouped)


@pytest.mark.parametrize("expression", ["sum(x", "x)", "x{a}", 'x{a="b}', "x{a=b}", "sum by a (x)", "x ? y", "(x]"])
def test_what_is_no_expression(expression: str) -> None:
    with pytest.raises(NotPromQL):
        used(expression)
