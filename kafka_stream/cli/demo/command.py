"""``kafka-stream demo``: build the stage, play, count, say where to go next."""

from __future__ import annotations

import random
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kafka_stream.cli.interrupts import interrupts
from kafka_stream.cli.options import KafkaOption, kafka_settings

if TYPE_CHECKING:
    from rich.console import Console

    from kafka_stream.cli.demo.cluster import Cluster
    from kafka_stream.cli.demo.ledger import Ledger
    from kafka_stream.cli.demo.report import Places
    from kafka_stream.cli.demo.service import ServiceProcess
    from kafka_stream.cli.demo.show import Outcome
    from kafka_stream.protocols import OffsetStore

RATE_PER_S = 800.0
LONGEST_S = 60.0
EMBEDDED_LIMIT = 100_000


def demo(
    bootstrap_servers: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            envvar="KAFKA_STREAM_DEMO_BOOTSTRAP_SERVERS",
            help="A real Kafka, in place of the embedded mock; a topic is created and deleted again.",
        ),
    ] = None,
    kafka: KafkaOption = None,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="KAFKA_STREAM_DEMO_STORE",
            help="A real database, such as postgresql://user@host/db, in place of a temporary SQLite file.",
        ),
    ] = None,
    records: Annotated[
        int, typer.Option(min=1000, envvar="KAFKA_STREAM_DEMO_RECORDS", help="How many orders are produced.")
    ] = 24_000,
    kills: Annotated[
        int, typer.Option(min=1, max=50, envvar="KAFKA_STREAM_DEMO_KILLS", help="How often the service is killed.")
    ] = 6,
) -> None:
    """See what this is for, in a minute: kill -9, again and again, and the table is right.

    Needs nothing but this package: Kafka is librdkafka's mock cluster, and the
    database a SQLite file. Exit status 1 if an order is lost or repeated.
    """
    from rich.console import Console

    from kafka_stream.cli.demo.report import print_intro, print_outcome

    console = Console(highlight=False)
    try:
        # SIGTERM too: child processes, topic and temporary files are tidied up.
        with interrupts(signal.SIGINT, signal.SIGTERM) as interrupted, ExitStack() as stack:
            stage = _stage(stack, _kafka(bootstrap_servers, kafka), store, records)
            print_intro(console, kills, database=stage.database)
            outcome = _play(stack, console, stage, kills)
            if interrupted():
                raise KeyboardInterrupt
            stage.folder_is_kept = True
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: the service has been killed, and what was temporary is removed\n")
        sys.exit(1)
    print_outcome(console, outcome, stage.places())
    if not outcome.verdict.is_right:
        sys.exit(1)


@dataclass(slots=True)
class _Stage:
    """What the show is played on."""

    folder: Path
    cluster: Cluster
    ledger: Ledger
    store: OffsetStore
    store_url: str
    stream: str
    records: int
    database: str
    folder_is_kept: bool = False

    def places(self) -> Places:
        """Where to look afterwards; without a password."""
        from kafka_stream.cli.demo.report import Places

        url = self.ledger.url.render_as_string(hide_password=True)
        return Places(store_url=url, stream=self.stream, table=self.ledger.orders.name, sqlite_file=_sqlite_file(url))

    def environment(self) -> Mapping[str, str]:
        """What the services are told; nothing secret is on a command line."""
        kafka = {f"ORDERS_KAFKA__{key.upper().replace('.', '_')}": value for key, value in self.cluster.kafka.items()}
        return {
            **kafka,
            "ORDERS_NAME": self.stream,
            "ORDERS_TOPICS": self.cluster.topic,
            "ORDERS_STORE": self.store_url,
            "ORDERS_TABLE": self.ledger.orders.name,
        }

    def service(self, version: int) -> ServiceProcess:
        """A new process of a version."""
        from kafka_stream.cli.demo.service import ServiceProcess

        return ServiceProcess(version, self.environment(), self.folder / "services.log")

    def tidy_up(self) -> None:
        """Remove the temporary folder, unless there is something to look at."""
        if not self.folder_is_kept:
            shutil.rmtree(self.folder, ignore_errors=True)


def _kafka(bootstrap_servers: str | None, options: list[str] | None) -> Mapping[str, str]:
    """Settings of a real cluster, or none."""
    from kafka_stream.errors import ConfigurationError

    settings = kafka_settings(options)
    if bootstrap_servers is not None:
        settings["bootstrap.servers"] = bootstrap_servers
    if settings and "bootstrap.servers" not in settings:
        raise ConfigurationError("--kafka needs --bootstrap-servers, such as localhost:9092")
    return settings


def _stage(stack: ExitStack, kafka: Mapping[str, str], store_url: str | None, records: int) -> _Stage:
    """Connect to everything; what was opened is closed with the stack."""
    from kafka_stream.cli.demo.cluster import EmbeddedCluster, ServerCluster
    from kafka_stream.cli.demo.ledger import Ledger
    from kafka_stream.errors import ConfigurationError
    from kafka_stream.plugins import store_from_url

    if not kafka and records > EMBEDDED_LIMIT:
        raise ConfigurationError(
            f"--records {records}: the embedded Kafka keeps {EMBEDDED_LIMIT} orders; use --bootstrap-servers for more"
        )
    suffix = secrets.token_hex(3)
    folder = Path(tempfile.mkdtemp(prefix="kafka-stream-demo-"))
    stack.callback(lambda: stage.tidy_up() if stage else shutil.rmtree(folder, ignore_errors=True))
    stage: _Stage | None = None
    url = store_url or f"sqlite:///{folder / 'orders.db'}"
    store = store_from_url(url)
    stack.callback(store.close)
    store.open()
    ledger = Ledger(url, "orders" if store_url is None else f"demo_orders_{suffix}")
    stack.callback(ledger.close)
    ledger.create()
    topic = f"demo-orders-{suffix}"
    cluster = ServerCluster(kafka, topic) if kafka else EmbeddedCluster(topic)
    stack.callback(cluster.close)
    stage = _Stage(
        folder=folder,
        cluster=cluster,
        ledger=ledger,
        store=store,
        store_url=url,
        stream=topic,
        records=records,
        database=ledger.describe(),
    )
    return stage


def _play(stack: ExitStack, console: Console, stage: _Stage, kills: int) -> Outcome:
    from kafka_stream.cli.demo.display import Board, display_for
    from kafka_stream.cli.demo.kills import Script
    from kafka_stream.cli.demo.orders import OrderProducer
    from kafka_stream.cli.demo.show import Show

    board = Board(stage.cluster.describe(), stage.database, stage.records, kills)
    duration_s = min(stage.records / RATE_PER_S, LONGEST_S)
    show = Show(
        board=board,
        display=stack.enter_context(display_for(console, board)),
        ledger=stage.ledger,
        store=stage.store,
        stream=stage.stream,
        producer=OrderProducer(stage.cluster.producer, stage.cluster.topic, stage.records, duration_s),
        services=stage.service,
        script=Script(kills, random.Random()),  # noqa: S311 - a random instant, not a secret
    )
    try:
        return show.play()
    finally:
        show.close()


def _sqlite_file(url: str) -> str | None:
    return url.removeprefix("sqlite:///") if url.startswith("sqlite:///") else None


__all__ = ["demo"]
