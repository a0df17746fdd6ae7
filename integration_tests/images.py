"""The images: official ones where they are present or can be pulled, otherwise built from packages on Debian."""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

OFFICIAL_IMAGES = {
    "KAFKA_IMAGE": "apache/kafka:4.3.0",
    "POSTGRES_IMAGE": "postgres:15",
    "ZOOKEEPER_IMAGE": "zookeeper:3.9.4",
    "MARIADB_IMAGE": "mariadb:10.11",
}
RECIPE = Path(__file__).parent / "docker"

# A file that is there once the package is -> the packages that bring it, the first one that the release has.
_PACKAGES = {
    "/usr/sbin/dockerd": ("docker.io",),
    "/usr/bin/docker": ("docker-cli", "docker.io"),
    "/var/lib/dpkg/info/busybox-static.list": ("busybox-static",),
    "/usr/lib/jvm/java-*-openjdk-*/bin/jlink": ("openjdk-17-jdk-headless", "openjdk-21-jdk-headless"),
    "/usr/bin/mvn": ("maven",),
    "/usr/lib/postgresql/*/bin/postgres": ("postgresql-15", "postgresql-17"),
    # MariaDB's programs alone: the package mariadb-server would also start a server for the whole machine.
    "/usr/sbin/mariadbd": ("mariadb-server-core",),
    "/usr/bin/mariadb": ("mariadb-client-core",),
    # Not in an image: a test starts one of its own.
    "/usr/sbin/pgbouncer": ("pgbouncer",),
}


class CannotPrepareServers(Exception):
    """No Docker engine with the images can be had; the message says how to get one."""


def wanted_images() -> dict[str, str]:
    """The images that docker-compose.yml is to use: the environment's choice, or the official ones."""
    return {name: os.environ.get(name, official) for name, official in OFFICIAL_IMAGES.items()}


def obtain(images: Mapping[str, str]) -> str | None:
    """See that the engine has the images, pulling what is missing; return why not, or None."""
    for image in images.values():
        if subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False).returncode == 0:
            continue
        pulled = subprocess.run(["docker", "pull", "--quiet", image], capture_output=True, text=True, check=False)
        if pulled.returncode != 0:
            reason = (pulled.stderr.strip().splitlines() or ["docker pull failed"])[-1]
            return f"the image {image} is not there and cannot be pulled ({reason})"
    return None


def is_debian_with_root() -> bool:
    """Whether packages can be installed and a private engine started."""
    return os.geteuid() == 0 and Path("/etc/debian_version").exists() and shutil.which("apt-get") is not None


def install_packages(log: Path) -> None:
    """Install what the private engine, the image recipe and some tests need, if it is not all there."""
    if missing := [names for file, names in _PACKAGES.items() if not glob.glob(file)]:
        _install(missing, log)


def install_program(program: Path, package: str, log: Path) -> None:
    """Install one program that a test starts by itself, where the servers came by other means."""
    if program.exists():
        return
    if not is_debian_with_root():
        raise CannotPrepareServers(f"{program} is missing: install the package {package}")
    _install([(package,)], log)


def _install(missing: Sequence[tuple[str, ...]], log: Path) -> None:
    # A run level in which packages start no service: a program that comes with one would be up for the whole machine.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    apt_get = ["apt-get", "-y", "-qq", "-o", "DPkg::Lock::Timeout=300"]
    with log.open("ab") as output:
        for command in (["update"], ["install", "--no-install-recommends"]):
            packages = [_available(names) for names in missing] if command[0] == "install" else []
            done = subprocess.run(
                [*apt_get, *command, *packages], env=environment, stdout=output, stderr=output, check=False
            )
            if done.returncode != 0:
                raise CannotPrepareServers(
                    f"`apt-get {' '.join(command + packages)}` failed (see {log}): install these packages, or start a "
                    "Docker engine that has or can pull the images of docker-compose.yml. The log ends with:\n"
                    f"{tail(log)}"
                )


def tail(log: Path) -> str:
    """A log's last lines: where CI throws the machine away they are all that is left."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-12:])


def _available(names: tuple[str, ...]) -> str:
    for name in names:
        shown = subprocess.run(["apt-cache", "show", name], capture_output=True, check=False)
        if shown.returncode == 0 and shown.stdout.strip():
            return name
    return names[-1]


def build(work: Path, log: Path) -> dict[str, str]:
    """Build the images in the engine of ``DOCKER_HOST``, unless it has them from this very recipe; return them."""
    recipe = hashlib.sha256()
    for file in sorted(path for path in RECIPE.rglob("*") if path.is_file()):
        recipe.update(file.read_bytes())
    images = {name: f"kafka-stream-test/{name[:-6].lower()}:{recipe.hexdigest()[:12]}" for name in OFFICIAL_IMAGES}
    present = subprocess.run(["docker", "image", "inspect", *images.values()], capture_output=True, check=False)
    if present.returncode != 0:
        with log.open("ab") as output:
            command = [str(RECIPE / "build-images.sh"), str(work)]
            built = subprocess.run(command, env={**os.environ, **images}, stdout=output, stderr=output, check=False)
        if built.returncode != 0:
            raise CannotPrepareServers(
                f"building the images failed (see {log}): run the tests again when its cause is gone, or start a "
                f"Docker engine that has or can pull the images of docker-compose.yml. The log ends with:\n{tail(log)}"
            )
    return images
