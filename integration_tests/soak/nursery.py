"""Members that begin at once: each is forked from a process that has imported all that the service needs.

Starting Python and importing takes half a second of a processor, of which a soak has few.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from integration_tests.running_service import RunningService
from integration_tests.service_settings import ServiceSettings

_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(["integration_tests.service"])
_END_WITH_PARENT = 1  # PR_SET_PDEATHSIG


class Forked:
    """A process of the nursery, as ``subprocess.Popen`` is used by those who run services."""

    def __init__(self, environment: Mapping[str, str], output: Path, errors: Path) -> None:
        self._process = _FORKING.Process(target=_serve, args=(dict(environment), str(output), str(errors)))
        self._process.start()

    @property
    def pid(self) -> int:
        """The process id."""
        found = self._process.pid
        assert found is not None
        return found

    def poll(self) -> int | None:
        """Its exit status once it has ended, negative for a signal."""
        return self._process.exitcode

    def wait(self, timeout_s: float | None = None, /) -> int:
        """Wait for its end."""
        self._process.join(timeout_s)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired("a member of the soak", timeout_s or 0.0)
        return status

    def send_signal(self, number: int) -> None:
        """Unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.send_signal(signal.SIGKILL)


def _serve(environment: dict[str, str], output: str, errors: str) -> None:
    """In the new process."""
    ctypes.CDLL(None, use_errno=True).prctl(_END_WITH_PARENT, signal.SIGKILL)  # nobody is left behind
    for path, descriptor in ((output, 1), (errors, 2)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(opened, descriptor)
        os.close(opened)
    for name in [name for name in os.environ if name.startswith("KAFKA_STREAM_")]:
        del os.environ[name]
    os.environ.update(environment)
    from integration_tests import service

    sys.exit(service.main())


class ForkedService(RunningService):
    """A service's process from the nursery."""

    def __init__(self, settings: ServiceSettings, log: Path, environment: Mapping[str, str] | None = None) -> None:
        errors = log.with_suffix(".err")
        log.touch()
        errors.touch()
        process = Forked({**settings.environment(), **(environment or {})}, log, errors)
        super().__init__(settings, log, process=process)


__all__ = ["ForkedService"]
