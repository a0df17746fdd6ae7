"""What a member does for the soak from inside: says which partitions it has moved, and ends where it is told to."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from kafka_stream.progress import StreamListener
from kafka_stream.protocols import BatchProgress
from kafka_stream.testing.crash_points import KillAt, PauseAt
from kafka_stream.types import OffsetRange, Phase

VARIABLE = "KAFKA_STREAM_TEST_FATE"
_FATES: Mapping[str, type[KillAt | PauseAt]] = {"kill": KillAt, "freeze": PauseAt}


class Inside(StreamListener):
    """Looks, at each batch, whether a file says ``kill:phase:nth`` or ``freeze:phase:nth``: from then on that is so."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fate: KillAt | PauseAt | None = None

    @classmethod
    def from_env(cls) -> Self | None:
        """The listener for the file that the environment names; None if it names none."""
        path = os.environ.get(VARIABLE)
        return cls(Path(path)) if path else None

    def on_phase(self, phase: Phase, ranges: tuple[OffsetRange, ...]) -> None:
        if phase is Phase.AFTER_FETCH and self._path.exists():
            kind, of_batch, nth = self._path.read_text().split(":")
            self._path.unlink()
            self._fate = _FATES[kind](of_batch, int(nth))
        if self._fate is not None:
            self._fate.on_phase(phase, ranges)

    def on_batch(self, progress: BatchProgress) -> None:
        moved = sorted(moved.partition for moved in progress.ranges if moved)
        print(f"moved {json.dumps(moved)}", flush=True)


def tell(path: Path, fate: str, phase: Phase, nth: int) -> None:
    """What the member whose file this is is to do at its next batches; ``fate`` is kill or freeze."""
    written = path.with_suffix(".new")
    written.write_text(f"{fate}:{phase}:{nth}")
    written.rename(path)


__all__ = ["VARIABLE", "Inside", "tell"]
