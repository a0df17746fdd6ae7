"""The service's process as a test sees it: its output, its signals, its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from integration_tests.engine import wait_until
from integration_tests.service_settings import ServiceSettings

ROOT = Path(__file__).parents[1]
TIMEOUT_S = 60.0


class Process(Protocol):
    """What is used of ``subprocess.Popen``; a process that was started otherwise has it too."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None, /) -> int: ...
    def send_signal(self, sig: int, /) -> None: ...
    def kill(self) -> None: ...


class RunningService:
    """One process; a SIGKILL ends it whatever happens (``end``)."""

    def __init__(
        self,
        settings: ServiceSettings,
        log: Path,
        environment: Mapping[str, str] | None = None,
        module: str = "integration_tests.service",
        process: Process | None = None,
    ) -> None:
        self.settings = settings
        self.log = log
        self.errors = log.with_suffix(".err")
        self._process = process or self._started(module, {**settings.environment(), **(environment or {})})

    def _started(self, module: str, environment: Mapping[str, str]) -> Process:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("KAFKA_STREAM_")}
        with self.log.open("wb") as output, self.errors.open("wb") as errors:
            return subprocess.Popen(
                [sys.executable, "-m", module],
                cwd=ROOT,
                env={**inherited, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def said(self, what: str) -> list[Any]:
        """What it has announced under a name so far (``ready``, ``positions``, ``batch``, ``failed``, ``done``)."""
        lines = self.log.read_text(errors="replace").splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n") and line.startswith(f"{what} ")]
        return [json.loads(line.removeprefix(f"{what} ")) for line in whole]

    def wait_until_said(self, what: str, times: int = 1, timeout_s: float = TIMEOUT_S) -> Any:
        """Wait for an announcement and return its (last) value; an end of the process before it is an error."""

        def ended_or_said() -> bool:
            return len(self.said(what)) >= times or self._process.poll() is not None

        wait_until(ended_or_said, timeout_s)
        found = self.said(what)
        if len(found) < times:
            raise AssertionError(
                f"the service did not say {what!r} {times} time(s) in {timeout_s:g} s: {self.report()}"
            )
        return found[-1]

    def is_stopped(self) -> bool:
        """Whether it is frozen by SIGSTOP."""
        stat = Path(f"/proc/{self.pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] == "T"

    def wait_until_stopped(self, timeout_s: float = TIMEOUT_S) -> None:
        """Wait until it is frozen."""
        assert wait_until(lambda: self._process.poll() is not None or self.is_stopped(), timeout_s), self.report()
        assert self._process.poll() is None, self.report()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def kill_after(self, seconds: float) -> bool:
        """SIGKILL it after a time, wherever it is then; False if it had ended before."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
        return self._process.wait(TIMEOUT_S) == -signal.SIGKILL

    def wait(self, timeout_s: float = TIMEOUT_S) -> int:
        """Wait for its end; its exit status, negative for a signal."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the service has not ended in {timeout_s:g} s: {self.report()}") from None

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def end(self) -> None:
        """Kill it, frozen or not, unless it has ended."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(TIMEOUT_S)

    def report(self) -> str:
        """The end of what it printed and logged."""
        return "\n".join(path.read_text(errors="replace")[-3000:] for path in (self.log, self.errors))


def wait_while_running(condition: Callable[[], bool], timeout_s: float, *services: RunningService) -> None:
    """Wait until something is true, or fail with what the services say; the end of one of them is a failure too."""

    def ended_or_true() -> bool:
        return condition() or not all(service.is_running() for service in services)

    wait_until(ended_or_true, timeout_s)
    assert condition(), f"not in {timeout_s:g} s:\n" + "\n".join(service.report() for service in services)


class Services:
    """The processes that one test starts; all of them are ended with it."""

    def __init__(self, directory: Path, module: str = "integration_tests.service") -> None:
        self._directory = directory
        self._module = module
        self._started: list[RunningService] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for service in self._started:
            service.end()

    def start(self, settings: ServiceSettings, **environment: str) -> RunningService:
        """Start a process with these settings and variables."""
        log = self._directory / f"service-{len(self._started)}.out"
        service = RunningService(settings, log, environment, self._module)
        self._started.append(service)
        return service
