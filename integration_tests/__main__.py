"""``python -m integration_tests up | down``: the servers for development, kept until they are taken down."""

from __future__ import annotations

import sys

from integration_tests.engine import docker_engine, state_directory, stop_kept_servers
from integration_tests.images import CannotPrepareServers
from integration_tests.servers import KEPT_PORTS, KEPT_PROJECT, ServerPorts


def _up() -> None:
    ports = ServerPorts.kept(state_directory() / KEPT_PORTS)
    with docker_engine(keep=True) as engine:
        compose = engine.compose(KEPT_PROJECT, **ports.variables())
        compose("up", "--detach", "--wait", "--wait-timeout", "180")
    print(f"export KAFKA_STREAM_TEST_KAFKA={ports.bootstrap_servers}")
    print(f"export KAFKA_STREAM_TEST_POSTGRES={ports.postgres_url}")
    print(f"export KAFKA_STREAM_TEST_ZOOKEEPER={ports.zookeeper_address}")
    print(f"export KAFKA_STREAM_TEST_MARIADB={ports.mariadb_url}")


def _down() -> None:
    stop_kept_servers(KEPT_PROJECT)
    (state_directory() / KEPT_PORTS).unlink(missing_ok=True)


def main(arguments: list[str]) -> int:
    """Run one command; the exit status is 2 where the servers cannot be had."""
    commands = {"up": _up, "down": _down}
    if len(arguments) != 1 or arguments[0] not in commands:
        print("usage: python -m integration_tests up | down", file=sys.stderr)
        return 2
    try:
        commands[arguments[0]]()
    except CannotPrepareServers as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
