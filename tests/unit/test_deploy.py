"""What is in deploy/: manifests that Kubernetes takes, probes and times that are the stream's own, and a unit."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from kafka_stream.cli.exit_status import ExitStatus
from kafka_stream.environment import why_unknown_variable
from kafka_stream.running.run import STOP_TIMEOUT_S
from kafka_stream.settings import StreamSettings

DEPLOY = Path(__file__).parents[2] / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
KUBERNETES = ("1.29", "1.37")
LEAST_TO_STOP_S = STOP_TIMEOUT_S + 10


def resources(file: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(file.read_text()))


def pods() -> Iterator[tuple[str, Mapping[str, Any]]]:
    for file in MANIFESTS:
        for resource in resources(file):
            if "template" in resource["spec"]:
                yield f"{file.name} {resource['kind']}", resource["spec"]["template"]["spec"]


PODS = dict(pods())
STREAMS = {name: pod for name, pod in PODS.items() if "Job" not in name}


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.name)
@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_takes_every_manifest_and_knows_every_key(file: Path, version: str) -> None:
    for resource in resources(file):
        if resource["apiVersion"].startswith("keda.sh/"):
            continue  # a kind of KEDA's own
        kubernetes_validate.validate(resource, version, strict=True)


def test_a_key_that_kubernetes_does_not_know_is_noticed() -> None:
    deployment = resources(DEPLOY / "kubernetes" / "deployment.yaml")[0]
    deployment["spec"]["template"]["spec"]["terminationGraceSeconds"] = 40
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, KUBERNETES[-1], strict=True)


def test_all_that_there_is_to_run_is_found() -> None:
    assert sorted(PODS) == ["deployment.yaml Deployment", "migration-job.yaml Job", "statefulset.yaml StatefulSet"]


@pytest.mark.parametrize("name", PODS)
def test_a_pod_is_nobody_and_writes_nowhere(name: str) -> None:
    pod = PODS[name]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] > 0
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]


@pytest.mark.parametrize("name", STREAMS)
def test_a_pod_has_time_to_stop_and_is_asked_where_it_answers(name: str) -> None:
    pod = STREAMS[name]
    (container,) = pod["containers"]
    assert pod["terminationGracePeriodSeconds"] >= LEAST_TO_STOP_S
    probes = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
    assert probes == {"startup": "/startup", "liveness": "/live", "readiness": "/ready"}
    (port,) = container["ports"]
    environment = {variable["name"]: variable for variable in container["env"]}
    assert environment["KAFKA_STREAM_HTTP"]["value"] == f"0.0.0.0:{port['containerPort']}"


@pytest.mark.parametrize("name", PODS)
def test_every_variable_of_a_pod_is_one_that_there_is(name: str) -> None:
    names = [variable["name"] for variable in PODS[name]["containers"][0]["env"]]
    assert why_unknown_variable(names, StreamSettings.model_fields) is None


def test_the_copies_of_a_stateful_set_are_static_members_by_their_pods_names() -> None:
    (container,) = PODS["statefulset.yaml StatefulSet"]["containers"]
    environment = {variable["name"]: variable for variable in container["env"]}
    source = environment["KAFKA_STREAM_GROUP_INSTANCE_ID"]["valueFrom"]
    assert source == {"fieldRef": {"fieldPath": "metadata.name"}}


def test_keda_scales_what_is_deployed_by_the_groups_lag() -> None:
    (scaled,) = resources(DEPLOY / "kubernetes" / "keda-scaledobject.yaml")
    deployment = resources(DEPLOY / "kubernetes" / "deployment.yaml")[0]
    assert scaled["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["type"] == "kafka"
    assert {"bootstrapServers", "consumerGroup", "topic", "lagThreshold"} <= trigger["metadata"].keys()
    assert all(isinstance(value, str) for value in trigger["metadata"].values()), "KEDA takes texts"


def test_the_unit_restarts_what_may_work_the_next_time_and_nothing_else() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # as configparser's own documentation has it
    unit.read_string((DEPLOY / "systemd" / "kafka-stream@.service").read_text())
    service = unit["Service"]
    kept_down = set(map(int, service["RestartPreventExitStatus"].split()))
    assert kept_down == {ExitStatus.USAGE, ExitStatus.REFUSED}
    assert service["Restart"] == "on-failure"
    assert float(service["TimeoutStopSec"]) >= LEAST_TO_STOP_S
    names = [pair.partition("=")[0] for pair in service["Environment"].split()]
    assert why_unknown_variable(names, StreamSettings.model_fields) is None


def test_a_look_at_a_running_system_scrapes_the_pages_that_it_starts_and_finds_its_files() -> None:
    """Prometheus and Grafana themselves are not started by the tests."""
    folder = DEPLOY / "try"
    services = yaml.safe_load((folder / "compose.yml").read_text("utf-8"))["services"]
    bound = [volume for service in services.values() for volume in service.get("volumes", ())]
    assert bound
    for volume in bound:
        assert (folder / volume.split(":")[0]).exists(), volume
    asked = yaml.safe_load((folder / "prometheus.yml").read_text("utf-8"))["scrape_configs"][0]["static_configs"]
    pages = [services[name]["environment"]["KAFKA_STREAM_HTTP"] for name in ("stream-1", "stream-2")]
    assert asked[0]["targets"] == [re.sub(r"\$\{\w+:-(\d+)\}", r"\1", page) for page in pages]
    for service in services.values():
        assert "ports" not in service, "everything is on 127.0.0.1"
