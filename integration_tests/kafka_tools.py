"""Kafka's own tools on a cluster: partitions get other replicas, and other leaders."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from confluent_kafka import TopicPartition
from confluent_kafka._model import ElectionType

from integration_tests.engine import DockerEngine, wait_until
from integration_tests.kafka_cluster import KafkaCluster

_REASSIGN = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"
_TIMEOUT_S = 120.0


def move_replicas(engine: DockerEngine, cluster: KafkaCluster, topics: Sequence[str], replicas: Sequence[int]) -> None:
    """Have every partition of these topics on these brokers, in this order; return when it is."""
    plan = {
        "version": 1,
        "partitions": [
            {"topic": topic, "partition": number, "replicas": list(replicas)}
            for topic in topics
            for number in cluster.replicas_of(topic)
        ],
    }
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "plan.json").write_text(json.dumps(plan))
        Path(directory).chmod(0o755)
        arguments = ["--reassignment-json-file", "/plans/plan.json", "--execute"]
        _run(engine, cluster, directory, _REASSIGN, *arguments)

    def has_moved() -> bool:
        return all(set(found) == set(replicas) for topic in topics for found in cluster.replicas_of(topic).values())

    assert wait_until(has_moved, _TIMEOUT_S), {topic: cluster.replicas_of(topic) for topic in topics}


def prefer_other_leaders(cluster: KafkaCluster, topics: Sequence[str]) -> None:
    """Have the first replica of every partition lead it (KIP-183)."""
    partitions = [TopicPartition(topic, number) for topic in topics for number in cluster.replicas_of(topic)]
    client = cluster.client()  # held for as long as it is waited for
    elected = client.elect_leaders(ElectionType.PREFERRED, partitions).result(_TIMEOUT_S)
    assert len(elected) == len(partitions)


def _run(engine: DockerEngine, cluster: KafkaCluster, directory: str, command: str, *arguments: str) -> str:
    container = ["docker", "run", "--rm", "--network", "host", "--volume", f"{directory}:/plans:ro"]
    java = ["--entrypoint", "java", engine.images["KAFKA_IMAGE"], "-XX:TieredStopAtLevel=1", "-Xmx128m"]
    tool = ["-cp", "/opt/kafka/libs/*", command, "--bootstrap-server", cluster.bootstrap_servers]
    done = subprocess.run(
        [*container, *java, *tool, *arguments], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
