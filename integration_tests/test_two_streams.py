"""Two streams of one module, side by side: as two processes, and both started in one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from integration_tests.servers import KafkaServer, PostgresDatabase

RECORDS = 500
APP = """
import os
import sqlalchemy as sa
from kafka_stream import DirectStream

def made(name):
    def write(batch, transaction):
        rows = [{"value": m.value().decode()} for m in batch]
        transaction.connection.execute(sa.text(f"INSERT INTO {name} VALUES (:value)"), rows)

    return DirectStream(
        name=os.environ["TEST_TOPIC"] + "-" + name, topics=[os.environ["TEST_TOPIC"]],
        kafka={"bootstrap.servers": os.environ["TEST_KAFKA"]}, store=os.environ["TEST_STORE"], sink=write,
        max_records_per_batch=50, group_instance_id="the-same-pod",
    )

one, other = made("one"), made("other")

if __name__ == "__main__":
    import time
    one.start()
    other.start()
    both = (one, other)
    while any(sum(s.status().positions.values()) < int(os.environ["TEST_RECORDS"]) for s in both):
        for stream in both:
            assert stream.wait(0.05) is None, stream.status()
    print([s.stop() and s.wait(0).records for s in both])
"""


@pytest.fixture
def environment(kafka: KafkaServer, postgres: PostgresDatabase, tmp_path: Path) -> Mapping[str, str]:
    """The module, two tables, and a topic with records; no markers, so that offsets count them."""
    for table in ("one", "other"):
        postgres.execute(f"CREATE TABLE {table} (value text)")
    topic = kafka.create_topic(partitions=2)
    for partition in range(2):
        kafka.produce(topic, [f"{partition}-{n}" for n in range(RECORDS // 2)], partition=partition)
    (tmp_path / "app.py").write_text(APP)
    names = {"TEST_TOPIC": topic, "TEST_KAFKA": kafka.bootstrap_servers, "TEST_STORE": postgres.url}
    return {**os.environ, **names, "TEST_RECORDS": str(RECORDS)}


def in_tables(postgres: PostgresDatabase) -> list[tuple[int, int]]:
    """Of each, how many rows, and how many different ones."""
    counts = [postgres.execute(f"SELECT count(*), count(DISTINCT value) FROM {table}")[0] for table in ("one", "other")]
    return [(int(rows), int(different)) for rows, different in counts]


def test_two_streams_of_a_module_run_as_two_processes(
    environment: Mapping[str, str], postgres: PostgresDatabase, tmp_path: Path
) -> None:
    script = str(Path(sys.executable).with_name("kafka-stream"))
    running = [
        subprocess.Popen([script, "run", f"app:{name}", "--until", "latest"], cwd=tmp_path, env=dict(environment))
        for name in ("one", "other")
    ]
    assert [process.wait(120) for process in running] == [0, 0]
    assert in_tables(postgres) == [(RECORDS, RECORDS)] * 2


def test_two_streams_of_a_module_run_in_one_process(
    environment: Mapping[str, str], postgres: PostgresDatabase, tmp_path: Path
) -> None:
    ended = subprocess.run(
        [sys.executable, "app.py"], cwd=tmp_path, env=dict(environment), capture_output=True, text=True, timeout=120
    )
    assert ended.stdout == f"{[RECORDS, RECORDS]}\n", ended.stderr
    assert in_tables(postgres) == [(RECORDS, RECORDS)] * 2
