"""The service as the demo sees it: a process that can be watched, held at a point, killed and stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kafka_stream
from kafka_stream.types import Phase

EXIT_TIMEOUT_S = 30.0


@dataclass(slots=True)
class Observed:
    """What the service has reported so far; written by the thread that reads its stdout."""

    positions: Mapping[int, int] = field(default_factory=dict)
    batches: int = 0
    phase: Phase | None = None
    phase_records: int = 0
    held: bool = False
    error: str | None = None


class ServiceProcess:
    """One process start of one version of the service."""

    def __init__(self, version: int, environment: Mapping[str, str], log: Path) -> None:
        self.version = version
        self.observed = Observed()
        self._log = log
        home = str(Path(kafka_stream.__file__).parents[1])
        paths = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-P", "-m", f"{__package__}.service_v{version}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, **environment, "PYTHONPATH": paths},
                start_new_session=True,  # Ctrl-C is for the demo, which tidies up
            )
        self._reader = threading.Thread(target=self._read, name=f"service-{self.pid}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """``None`` while it runs."""
        return self._process.poll()

    def hold_at(self, phase: Phase) -> None:
        """Have it stand still the next time a batch with records comes to this point."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{phase}\n".encode())
        self._process.stdin.flush()

    def kill(self) -> None:
        """``kill -9``: no handler runs, nothing is flushed. Returns when the process is gone and all was read."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._end()

    def stop(self) -> int:
        """SIGTERM, as a deployment would; returns the exit status."""
        self._process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Wait for it to leave by itself; killed if it does not within 30 s."""
        try:
            self._process.wait(EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGKILL)
        self._end()
        return self._process.returncode

    def last_words(self) -> str:
        """The end of what all services wrote to stderr."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return "\n".join(lines[-15:])

    def _end(self) -> None:
        self._process.wait(EXIT_TIMEOUT_S)
        self._reader.join(EXIT_TIMEOUT_S)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                event = json.loads(line)
            except ValueError:
                continue  # cut off by kill -9
            self._observe(event)

    def _observe(self, event: Mapping[str, Any]) -> None:
        seen = self.observed
        match event["event"]:
            case "positions":
                seen.positions = {int(partition): offset for partition, offset in event["positions"].items()}
            case "phase":
                seen.phase, seen.phase_records = Phase(event["phase"]), event["records"]
                seen.held = event["held"]
                seen.batches += seen.phase is Phase.AFTER_COMMIT
            case "stopped":
                seen.error = event["error"]


__all__ = ["Observed", "ServiceProcess"]
