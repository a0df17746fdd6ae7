"""The processes of a service that has an executor, found by what they were all started with."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from integration_tests.engine import wait_until
from integration_tests.running_service import RunningService
from integration_tests.service_settings import ServiceSettings

WAIT_S = 60.0


def processes_of(settings: ServiceSettings) -> set[int]:
    """The numbers of all processes that run for the stream, of whatever service: drivers, workers, and orphans."""
    return {pid for pid in _running() if settings.stream.encode() in _content(pid, "environ")}


def workers_of(service: RunningService) -> list[int]:
    """The numbers of its workers' processes."""
    return sorted(pid for pid in processes_of(service.settings) if _parent(pid) == service.pid and _is_worker(pid))


def wait_until_gone(settings: ServiceSettings) -> None:
    """Wait until no process of the stream is left; its drivers have ended, so that what is left is an orphan."""
    assert wait_until(lambda: not processes_of(settings), WAIT_S), (
        f"left behind: {[(pid, _content(pid, 'cmdline')) for pid in processes_of(settings)]}"
    )


def kill_workers(service: RunningService, chance: random.Random, times: int) -> None:
    """Kill one after the other amid the work, which goes on after each."""
    for _ in range(times):
        wait_until(lambda: bool(workers_of(service)) or not service.is_running(), WAIT_S)
        assert service.is_running(), service.report()
        with suppress(ProcessLookupError):
            os.kill(chance.choice(workers_of(service)), signal.SIGKILL)
        service.wait_until_said("batch", times=len(service.said("batch")) + 2)


def _running() -> Iterator[int]:
    return (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())


def _is_worker(pid: int) -> bool:
    return b"spawn_main" in _content(pid, "cmdline")


def _parent(pid: int) -> int | None:
    stat = _content(pid, "stat")
    return int(stat.rpartition(b")")[2].split()[1]) if stat else None


def _content(pid: int, name: str) -> bytes:
    """Nothing of a process that has ended, or is another user's."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
