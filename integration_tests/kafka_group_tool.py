"""Kafka's own tool for consumer groups, run in a container of the broker's image: what resets are compared with."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import ConsumerGroupTopicPartitions
from confluent_kafka import TopicPartition as ClientTopicPartition
from confluent_kafka.admin import AdminClient

from integration_tests.engine import DockerEngine
from integration_tests.servers import KafkaServer, random_name
from kafka_stream.types import TopicPartition

_COMMAND = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class GroupTool:
    """``kafka-consumer-groups.sh``, against one broker."""

    image: str
    bootstrap_servers: str
    directory: Path

    @classmethod
    def of(cls, engine: DockerEngine, kafka: KafkaServer, directory: Path) -> GroupTool:
        """The tool in the engine's image; ``directory`` is where files for it may be put."""
        return cls(engine.images["KAFKA_IMAGE"], kafka.bootstrap_servers, directory)

    def group_at(self, offsets: Mapping[TopicPartition, int]) -> str:
        """A new group without members that has committed these offsets."""
        group = random_name("group")
        wanted = [ClientTopicPartition(tp.topic, tp.partition, offset) for tp, offset in offsets.items()]
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
        request = ConsumerGroupTopicPartitions(group, wanted)
        answer = admin.alter_consumer_group_offsets([request])[group].result(_TIMEOUT_S)
        assert all(tp.error is None for tp in answer.topic_partitions)
        return group

    def planned(self, group: str, *arguments: str, file: str | None = None) -> str:
        """The CSV lines that ``--reset-offsets --dry-run --export`` prints; ``file`` is for ``--from-file``."""
        mounted: Sequence[str] = ()
        if file is not None:
            (self.directory / "plan.csv").write_text(file)
            mounted = ("--volume", f"{self.directory}:/plans:ro")
            arguments = (*arguments, "--from-file", "/plans/plan.csv")
        container = ["docker", "run", "--rm", "--network", "host", *mounted, "--entrypoint", "java", self.image]
        java = ["-XX:TieredStopAtLevel=1", "-cp", "/opt/kafka/libs/*", _COMMAND]
        common = ["--bootstrap-server", self.bootstrap_servers, "--timeout", "60000", "--group", group]
        done = subprocess.run(
            [*container, *java, *common, "--reset-offsets", "--dry-run", "--export", *arguments],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        lines = [line for line in done.stdout.splitlines() if line.count(",") >= 2 and not line.startswith("Warn")]
        assert lines, done.stdout + done.stderr
        return "".join(f"{line}\n" for line in lines)
