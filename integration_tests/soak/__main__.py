"""``python -m integration_tests.soak run | page``: a soak on servers of its own; the page of what was recorded."""

from __future__ import annotations

import argparse
import contextlib
import random
import signal
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from integration_tests.engine import Compose, DockerEngine, docker_engine
from integration_tests.kafka_cluster import running_cluster
from integration_tests.mariadb_server import MariadbServer
from integration_tests.servers import KafkaServer, PostgresServer, PrivateKafka, ServerPorts, cluster_id
from integration_tests.soak.places import Servers, place_of
from integration_tests.soak.recorded import PAGE, RECORDS, Recorded, page, recorded
from integration_tests.soak.run import Outcome, Soak
from integration_tests.soak.schedule import ASSIGNMENTS, KILLS, STORES, Setting
from integration_tests.zookeeper_server import ZooKeeperServer


@contextlib.contextmanager
def servers_of(setting: Setting) -> Iterator[Servers]:
    """Servers of the soak's own, on ports of their own; they go with it."""
    with ExitStack() as stack:
        engine = stack.enter_context(docker_engine())
        ports = ServerPorts()
        named = {"kafka"} if setting.brokers == 1 else set[str]()
        named |= {setting.store} & {"postgres", "mariadb", "zookeeper"}
        compose = _project(engine, ports)
        stack.callback(compose, "down", "--volumes", "--timeout", "5")
        if named:
            compose.up(*sorted(named))
        kafka: KafkaServer
        if setting.brokers == 1:
            kafka = PrivateKafka(compose, ports)
            kafka.wait_until_up()
        else:
            kafka = stack.enter_context(running_cluster(engine))
        yield Servers(
            kafka,
            PostgresServer(ports.postgres_url) if "postgres" in named else None,
            MariadbServer(ports.mariadb_url) if "mariadb" in named else None,
            ZooKeeperServer(ports.zookeeper_address) if "zookeeper" in named else None,
        )


def _project(engine: DockerEngine, ports: ServerPorts) -> Compose:
    name = f"kafka-stream-soak-{uuid.uuid4().hex[:8]}"
    return engine.compose(
        name,
        KAFKA_CLUSTER_ID=cluster_id(),
        KAFKA_BROKER_SESSION="10000",
        KAFKA_ABORT_INTERVAL="1000",
        **ports.variables(),
    )


def soak(setting: Setting, seed: int, servers: Servers, directory: Path) -> Outcome:
    """Run one, and say what came of it."""
    say = _said_at_once
    say(f"soak of {setting} with seed {seed}; what members say is in {directory}")
    with place_of(setting.store, servers, directory, one_broker=setting.brokers < 3) as place:
        outcome = Soak(setting, seed, place, servers.kafka, directory, say).run()
    for line in told(outcome):
        say(line)
    return outcome


def told(outcome: Outcome) -> Iterator[str]:
    """For people."""
    yield f"seed {outcome.seed}, {outcome.setting.store}, {outcome.setting.assignment}: {outcome.seconds:.0f} s"
    yield "faults: " + ", ".join(f"{fault} {times}" for fault, times in sorted(outcome.faults.items()))
    aimed = sum(outcome.faults[fault] for fault in KILLS)
    yield f"kills: {outcome.kills} in {aimed} faults; batches: {outcome.batches}; gave up at start: {outcome.gave_up}"
    yield f"faults left out for want of time: {outcome.left_out}; mean load average: {outcome.load:.1f}"
    yield f"{outcome.verdict}" if outcome.verdict else f"NO VERDICT: {outcome.no_verdict}"
    yield f"longest time without a commit: {outcome.pause}"
    yield "by fault: " + ", ".join(f"{fault} {seconds:.1f} s" for fault, seconds in sorted(outcome.pauses.items()))
    yield from (f"FOUND {finding}" for finding in outcome.findings)
    yield "good" if outcome.is_good else "NOT GOOD"


def _said_at_once(line: str) -> None:
    print(line, flush=True)


def _arguments(given: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m integration_tests.soak")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("page")
    run = commands.add_parser("run")
    run.add_argument("--minutes", type=float, default=10.0)
    run.add_argument("--store", choices=STORES, default="postgres")
    run.add_argument("--assignment", choices=ASSIGNMENTS, default="static")
    run.add_argument("--seed", type=int, default=None)
    run.add_argument("--pace", type=float, default=1.0, help="seconds between faults, on average")
    run.add_argument("--brokers", type=int, choices=(1, 3), default=1)
    run.add_argument("--records", type=Path, default=RECORDS)
    return parser.parse_args(given)


def main(given: list[str]) -> int:
    """The exit status is 1 where something was lost, repeated or found."""
    arguments = _arguments(given)
    if arguments.command == "page":
        _write_page()
        return 0
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stopped)
    seed = random.SystemRandom().randrange(2**31) if arguments.seed is None else arguments.seed
    setting = Setting(arguments.store, arguments.assignment, 60 * arguments.minutes, arguments.pace, arguments.brokers)
    directory = Path(tempfile.mkdtemp(prefix="kafka-stream-soak-"))
    with servers_of(setting) as servers:
        outcome = soak(setting, seed, servers, directory)
    with arguments.records.open("a") as file:
        file.write(Recorded.of(outcome).line())
    if arguments.records == RECORDS:
        _write_page()
    return 0 if outcome.is_good else 1


def _write_page() -> None:
    PAGE.write_text(page(recorded(RECORDS.read_text())))


def _stopped(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
