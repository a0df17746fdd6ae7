"""The image of deploy/Dockerfile, built on a base of this machine, runs a stream as nobody, on a read-only root."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from integration_tests.engine import Compose, DockerEngine, wait_until
from integration_tests.images import RECIPE
from integration_tests.servers import KafkaServer, PostgresDatabase, ServerPorts, cluster_id, free_port

ROOT = Path(__file__).parents[1]
BASE = "kafka-stream-test/python-base"
TRY = ROOT / "deploy" / "try" / "compose.yml"
RECORDS = 500
APP = """
import os
import sqlalchemy as sa
from kafka_stream import DirectStream

def write(batch, transaction):
    rows = [{"value": m.value().decode()} for m in batch]
    transaction.connection.execute(sa.text("INSERT INTO results VALUES (:value)"), rows)

stream = DirectStream(
    name=os.environ["TEST_TOPIC"], topics=[os.environ["TEST_TOPIC"]], sink=write,
    kafka={"bootstrap.servers": os.environ["TEST_KAFKA"]}, store=os.environ["TEST_STORE"],
)
"""


class Trial(NamedTuple):
    """The project of a compose file, and where its servers and its streams' pages are."""

    compose: Compose
    ports: ServerPorts
    http: list[int]


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (arguments, done.stdout[-3000:], done.stderr[-3000:])
    return (done.stdout + done.stderr if arguments[0] == "logs" else done.stdout).strip()


@pytest.fixture(scope="module")
def image(engine: DockerEngine) -> Iterator[str]:
    tag = f"{BASE}:{sys.version_info.major}.{sys.version_info.minor}"
    subprocess.run([str(RECIPE / "python" / "build-base.sh"), sys.executable, tag], check=True)
    index = [f"PIP_INDEX_URL={url}"] if (url := os.environ.get("PIP_INDEX_URL")) else []
    arguments = [part for argument in [f"BASE={tag}", *index] for part in ("--build-arg", argument)]
    name = f"kafka-stream-test/image-{uuid.uuid4().hex[:8]}"
    docker("build", "--quiet", "--network", "host", "--file", "deploy/Dockerfile", *arguments, "--tag", name, str(ROOT))
    yield name
    docker("image", "rm", "--force", name)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as ending:
        yield ending


@pytest.fixture
def container(image: str, kafka: KafkaServer, postgres: PostgresDatabase, tmp_path: Path, stack: ExitStack) -> str:
    """A stream in it, of an application on top of it."""
    postgres.execute("CREATE TABLE results (value text)")
    topic = kafka.create_topic(partitions=2)
    for partition in range(2):
        kafka.produce(topic, [f"{partition}-{n}" for n in range(RECORDS // 2)], partition=partition)
    folder = tmp_path / "app"
    folder.mkdir(mode=0o755)
    (folder / "shop.py").write_text(APP)
    (folder / "Dockerfile").write_text(f"FROM {image}\nCOPY shop.py /app/\n")
    stack.callback(docker, "image", "rm", "--force", application := docker("build", "--quiet", str(folder)))
    variables = {
        "KAFKA_STREAM_APP": "shop:stream",
        "KAFKA_STREAM_HTTP": f"127.0.0.1:{free_port()}",
        "TEST_TOPIC": topic,
        "TEST_KAFKA": kafka.bootstrap_servers,
        "TEST_STORE": postgres.url,
    }
    given = [part for item in variables.items() for part in ("--env", "=".join(item))]
    name = f"kafka-stream-image-{uuid.uuid4().hex[:8]}"
    options = ["--read-only", "--network", "host", "--health-interval", "1s"]
    docker("create", "--name", name, *options, *given, application)
    stack.callback(docker, "rm", "--force", name)
    docker("start", name)
    return name


def test_the_image_runs_a_stream_as_nobody_on_a_read_only_root_and_says_that_it_is_healthy(
    container: str, postgres: PostgresDatabase
) -> None:
    def health() -> str:
        return docker("inspect", "--format", "{{.State.Health.Status}}", container)

    assert wait_until(lambda: health() == "healthy", 60), docker("logs", container)
    assert wait_until(lambda: postgres.execute("SELECT count(*) FROM results") == [(RECORDS,)], 60)
    (seen,) = json.loads(docker("inspect", container))
    assert seen["Config"]["User"] == "10001:10001"
    assert seen["HostConfig"]["ReadonlyRootfs"]
    assert docker("exec", container, "python", "-c", "import os; print(os.getuid(), os.getgid())") == "10001 10001"
    docker("stop", "--time", "40", container)
    assert docker("inspect", "--format", "{{.State.ExitCode}}", container) == "0", "it has stopped by itself"
    assert postgres.execute("SELECT count(*), count(DISTINCT value) FROM results") == [(RECORDS, RECORDS)]


@pytest.fixture
def trial(image: str, engine: DockerEngine, stack: ExitStack) -> Trial:
    """`make try` on servers of its own, without Prometheus and Grafana."""
    ports, http = ServerPorts(), [free_port(), free_port()]
    variables = {"STREAM_IMAGE": image, "TRY_PORT_1": str(http[0]), "TRY_PORT_2": str(http[1]), **ports.variables()}
    variables["KAFKA_CLUSTER_ID"] = cluster_id()
    compose = engine.compose_of(TRY, f"kafka-stream-try-{uuid.uuid4().hex[:8]}", **variables)
    stack.callback(compose, "down", "--volumes", "--timeout", "5")
    try:
        compose("up", "--detach", "stream-1", "stream-2", "orders")
    except RuntimeError as error:
        raise RuntimeError(f"{error}\n{compose('logs', '--tail', '40', 'setup')}") from error
    return Trial(compose, ports, http)


def test_a_look_at_a_running_system_goes_on_when_a_copy_is_killed(trial: Trial) -> None:
    def orders() -> int:
        with psycopg.connect(trial.ports.postgres_url.replace("+psycopg", "")) as connection:
            row = connection.execute("SELECT coalesce(sum(orders), 0) FROM totals").fetchone()
        return 0 if row is None else int(row[0])

    def page(port: int) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
                return str(answer.read().decode())
        except urllib.error.URLError:
            return ""

    assert wait_until(lambda: all("totals" in page(port) for port in trial.http), 120), trial.compose("logs")
    assert wait_until(lambda: orders() > 0, 60), trial.compose("logs")
    trial.compose("kill", "stream-1")
    trial.compose("start", "stream-1")
    before = orders()
    assert wait_until(lambda: orders() > before + 200, 120), trial.compose("logs")
    trial.compose("stop", "orders")
    read = KafkaServer(f"127.0.0.1:{trial.ports.kafka}").read_committed("orders")
    assert wait_until(lambda: orders() >= len(read), 120), trial.compose("logs")
    assert orders() == len(read), "each order is counted once"
