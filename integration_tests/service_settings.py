"""What a start of the service is told."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

VARIABLE = "KAFKA_STREAM_TEST_SERVICE"


@dataclass(frozen=True)
class ServiceSettings:
    """What one start of the service is told; it travels as JSON in the environment.

    ``store`` is a URL; ``target`` is where a handler writes that does not write into the store: a folder, a topic.
    """

    bootstrap_servers: str
    store: str
    topic: str
    stream: str
    assignment: str = "static"
    group_protocol: str = "auto"
    group_instance_id: str | None = None
    start: Literal["earliest", "latest"] = "earliest"
    handler: str = "rows"
    target: str = ""
    guarantee: str = "exactly-once"
    until: str | None = None
    max_records_per_batch: int = 500
    linger_s: float = 0.0
    on_error: Literal["stop", "dead-letter"] = "stop"
    keep_key_order: bool = False
    executor: str | None = None
    on_data_loss: Literal["stop", "earliest", "latest"] = "stop"
    kafka: Mapping[str, Any] = field(default_factory=dict)
    zookeeper_session_s: float | None = None

    @classmethod
    def from_environment(cls) -> ServiceSettings:
        """Those that this process was given."""
        return cls(**json.loads(os.environ[VARIABLE]))

    def environment(self) -> dict[str, str]:
        """The variables that carry these settings."""
        return {VARIABLE: json.dumps(asdict(self))}
