"""How long a batch took, part by part, and who had a share in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kafka_stream.protocols import WorkerShare


@dataclass(frozen=True, slots=True)
class Timings:
    """How long each part of a batch took, in seconds; and what workers did of it, if there are any."""

    prepare_s: float
    claim_s: float
    write_s: float
    commit_s: float
    fetch_s: float = 0.0
    workers: Mapping[str, WorkerShare] = field(default_factory=dict)


__all__ = ["Timings"]
