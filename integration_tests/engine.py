"""The Docker engine that the tests use: the one that answers, or a private one that is stopped again.

The private engine (Debian, root) has its own data root, exec root and socket under one short path, because names of
unix sockets end at 107 characters. It has no bridge and changes no firewall rule. Several test runs may share it:
each holds a shared lock, and the last one out stops it, unless somebody wants it kept.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from integration_tests import images
from integration_tests.images import CannotPrepareServers

COMPOSE_FILE = Path(__file__).parents[1] / "docker-compose.yml"
CLUSTER_FILE = COMPOSE_FILE.with_name("docker-compose.cluster.yml")
SECURED_FILE = COMPOSE_FILE.with_name("docker-compose.secured.yml")
TLS_FILE = COMPOSE_FILE.with_name("docker-compose.tls.yml")
KEEP = os.environ.get("KAFKA_STREAM_TEST_KEEP") == "1"


def state_directory() -> Path:
    """Where the private engine and what is kept between runs live: ours alone, under a short path."""
    default = "/tmp/kafka-stream-engine" if os.geteuid() == 0 else f"/tmp/kafka-stream-engine-{os.geteuid()}"
    path = Path(os.environ.get("KAFKA_STREAM_TEST_STATE", default))
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_uid != os.geteuid():
        raise CannotPrepareServers(
            f"{path} belongs to somebody else: set KAFKA_STREAM_TEST_STATE to another short path"
        )
    return path


@dataclass(frozen=True)
class Compose:
    """One project of a compose file, with its own images, ports and volumes."""

    command: tuple[str, ...]
    project: str
    environment: dict[str, str]
    file: Path = COMPOSE_FILE

    def __call__(self, *arguments: str, timeout_s: float = 240) -> str:
        """Run a compose subcommand; raise with its output when it fails."""
        command = [*self.command, "-f", str(self.file), "-p", self.project, *arguments]
        done = subprocess.run(
            command,
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(
                f"`docker compose {' '.join(arguments)}` of {self.project} failed: {done.stdout[-2000:]}"
            )
        return done.stdout

    def up(self, *services: str) -> None:
        """Start services, all of them if none is named, and wait until they are healthy; or say what they logged."""
        try:
            self("up", "--detach", "--wait", "--wait-timeout", "180", *services)
        except RuntimeError as error:
            raise RuntimeError(f"{error}\n{self('logs', '--tail', '30', *services)}") from error

    def container(self, service: str) -> str:
        """The id of a service's only container, running or not."""
        (container,) = self("ps", "--all", "--quiet", service).split()
        return container


@dataclass(frozen=True)
class DockerEngine:
    """An engine that answers and has the images; ``os.environ`` points the docker command at it."""

    compose_command: tuple[str, ...]
    images: dict[str, str]

    def compose(self, project: str, /, **environment: str) -> Compose:
        """A project of docker-compose.yml with these variables."""
        return self.compose_of(COMPOSE_FILE, project, **environment)

    def compose_of(self, file: Path, project: str, /, **environment: str) -> Compose:
        """A project of another compose file."""
        return Compose(self.compose_command, project, {**self.images, **environment}, file)


def _engine_answers() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0


def _compose_command(state: Path) -> tuple[str, ...]:
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0:
        return ("docker", "compose")
    binary = state / "compose" / "bin" / "docker-compose"
    if not binary.exists():
        requirements = images.RECIPE / "compose.lock"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"]
        pip += ["--require-hashes", "--requirement", str(requirements), "--target", str(state / "compose"), "--upgrade"]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise CannotPrepareServers(
                f"`docker compose` is missing and cannot be installed from {requirements.name}: install Docker's "
                f"compose plugin ({done.stderr.strip()[-300:]})"
            )
    return (str(binary),)


@contextlib.contextmanager
def docker_engine(*, keep: bool = KEEP) -> Iterator[DockerEngine]:
    """An engine with the images for as long as the block lasts; ``keep`` leaves a private one running after it."""
    refusal = "no Docker engine answers"
    if _engine_answers():
        wanted = images.wanted_images()
        refusal = images.obtain(wanted) or ""
        if not refusal:
            yield DockerEngine(_compose_command(state_directory()), wanted)
            return
    if not images.is_debian_with_root():
        raise CannotPrepareServers(
            f"{refusal}: start Docker (https://docs.docker.com/engine/install) where it can pull the images of "
            "docker-compose.yml, or run the tests as root on Debian, where they start an engine of their own"
        )
    with _private_engine(state_directory(), keep=keep) as engine:
        yield engine


@contextlib.contextmanager
def _private_engine(state: Path, *, keep: bool) -> Iterator[DockerEngine]:
    with private_engine_environment(state), (state / "users").open("w") as users:
        try:
            with _locked(state / "starting"):
                images.install_packages(state / "apt.log")
                start_private_engine(state)
                if keep:
                    _kept(state).touch()
                built = images.build(state / "build", state / "build.log")
                command = _compose_command(state)
                fcntl.flock(users, fcntl.LOCK_SH)
            yield DockerEngine(command, built)
        finally:
            fcntl.flock(users, fcntl.LOCK_UN)
            if not _kept(state).exists():
                stop_private_engine(state)


def _kept(state: Path) -> Path:
    """There while the private engine is to outlive those who use it."""
    return state / "kept"


@contextlib.contextmanager
def private_engine_environment(state: Path) -> Iterator[None]:
    """Point the docker command at the private engine, running or not."""
    before = {name: os.environ.get(name) for name in ("DOCKER_HOST", "PATH")}
    os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    os.environ["DOCKER_HOST"] = f"unix://{state}/docker.sock"
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def start_private_engine(state: Path) -> None:
    """Start dockerd on the state directory unless it runs; return when it answers. ``DOCKER_HOST`` names it."""
    if _engine_answers():
        return
    _kept(state).unlink(missing_ok=True)  # another engine's, which is gone
    log = state / "dockerd.log"
    (state / "dockerd.pid").unlink(missing_ok=True)
    command = ["dockerd", "--host", os.environ["DOCKER_HOST"], "--pidfile", str(state / "dockerd.pid")]
    command += ["--data-root", str(state / "data"), "--exec-root", str(state / "exec")]
    # Where a system containerd runs, dockerd uses it: keep our containers apart from the system engine's.
    command += ["--containerd-namespace", "kafka-stream-test", "--containerd-plugins-namespace", "kafka-stream-plugins"]
    command += ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]
    pid = _spawn(command, log)
    if not wait_until(lambda: _has_ended(pid) or _engine_answers(), 60) or _has_ended(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        last = (log.read_text(errors="replace").strip().splitlines() or ["no output"])[-1]
        raise CannotPrepareServers(
            f"a private Docker engine does not start ({last}; see {log}): start Docker by other means, or run the "
            "tests where containers are permitted"
        )


def _spawn(command: list[str], log: Path) -> int:
    """Start a process that outlives this one, in its own session: Ctrl-C is for the tests, which stop it in order."""
    with log.open("wb") as output:
        actions = [(os.POSIX_SPAWN_DUP2, output.fileno(), descriptor) for descriptor in (1, 2)]
        return os.posix_spawnp(command[0], command, os.environ, file_actions=actions, setsid=True)


def stop_private_engine(state: Path) -> None:
    """Stop the private engine with its containers and volumes, unless another test run uses it."""
    with _locked(state / "starting"), (state / "users").open("w") as users:
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        pid = _private_pid(state)
        if pid is None:
            return
        _remove("docker rm --force --volumes", "docker ps --all --quiet")
        _remove("docker volume rm --force", "docker volume ls --quiet")
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        if not wait_until(lambda: _has_ended(pid), 60):
            raise RuntimeError(f"the private Docker engine (process {pid}, {state}) does not stop")
        # Mounts that may be left would keep the directory from being removed; the first is that of containers on the
        # host's network.
        for mount in (state / "exec" / "netns" / "default", state / "data"):
            subprocess.run(["umount", str(mount)], capture_output=True, check=False)


def stop_kept_servers(project: str) -> None:
    """Take down what was left running: the private engine with all it holds, or the project in another engine."""
    state = state_directory()
    if _private_pid(state) is not None:
        with private_engine_environment(state):
            stop_private_engine(state)
    elif _engine_answers():
        Compose(_compose_command(state), project, {})("down", "--volumes", "--timeout", "5")


def _remove(command: str, listing: str) -> None:
    found = subprocess.run(listing.split(), capture_output=True, text=True, check=False).stdout.split()
    if found:
        subprocess.run([*command.split(), *found], capture_output=True, check=False)


def _private_pid(state: Path) -> int | None:
    """The private engine's process id; None if it does not run, or the id is another process's by now."""
    try:
        pid = int((state / "dockerd.pid").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return None
    return pid if os.fsencode(state / "data") in command else None


def _has_ended(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        if os.waitpid(pid, os.WNOHANG) != (0, 0):
            return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"  # another worker's child, which that one has not waited for


def wait_until(condition: Callable[[], object], timeout_s: float) -> bool:
    """Ask until the condition holds; False when it does not within the time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.1)
    return True
