"""The console script as a process, against Kafka and PostgreSQL: what it does, what it says, how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from integration_tests.command_line import RECORDS, TIMEOUT_S, CommandLine, Orders, ended, sentence
from integration_tests.engine import wait_until
from integration_tests.servers import random_name

# ---------------------------------------------------------------------------------------------------------------- run


def test_a_bounded_run_says_what_it_does_and_ends_with_0(command_line: CommandLine, orders: Orders) -> None:
    found = command_line("run", "app:stream", "--until", "latest")
    assert (found.status, orders.stored()) == (0, RECORDS), found.err
    assert f"{orders.topic} started: {orders.topic} into " in found.err
    assert "exactly-once" in found.err
    assert re.search(r"stopped after 2 000 records in \d+ batches", found.err)
    assert "test:test" not in found.err

    described = json.loads(command_line("offsets", "describe", "--app", "app:stream", "--output", "json").out)
    assert [row["partition"] for row in described] == [0, 1, 2, 3]
    assert sum(row["next_offset"] for row in described) == RECORDS
    assert [row["lag"] for row in described] == [0] * 4
    assert {row["state"] for row in described} == {"open"}


def test_a_run_to_a_time_in_the_past_has_nothing_to_do(command_line: CommandLine, orders: Orders) -> None:
    found = command_line("run", "app:stream", "--until", "2020-01-01T00:00:00+00:00")
    assert (found.status, orders.stored()) == (0, 0), found.err


def test_sigterm_finishes_with_0(command_line: CommandLine, orders: Orders) -> None:
    process = command_line.start("run", "app:stream")
    assert wait_until(lambda: orders.stored() == RECORDS, TIMEOUT_S), "the records to be stored"
    process.send_signal(signal.SIGTERM)
    found = ended(process)
    assert found.status == 0, found.err
    assert "stopped after 2 000 records" in found.err


def test_a_terminal_shows_a_bar(command_line: CommandLine, orders: Orders) -> None:
    ours, theirs = pty.openpty()
    process = command_line.start("run", "app:stream", "--until", "latest", stderr=theirs)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError), os.fdopen(ours, "rb", buffering=0) as terminal:
        while read := terminal.read(4096):
            shown += read
    assert ended(process).status == 0
    assert orders.stored() == RECORDS
    text = shown.decode()
    assert "━" in text
    assert "2 000 records" in text
    assert "\x1b[?25h" in text  # the cursor is back


def test_a_handler_that_raises_shows_its_traceback_and_nothing_is_committed(
    command_line: CommandLine, orders: Orders
) -> None:
    found = command_line("run", "app:bad", "--until", "latest")
    assert found.status == 1
    assert 'raise LookupError("this handler cannot go on")' in found.err
    assert found.err.splitlines()[-1].startswith("error: ")
    assert orders.stored() == 0
    described = json.loads(command_line("offsets", "describe", "--app", "app:bad", "--output", "json").out)
    assert [row["next_offset"] for row in described] == [0] * 4


def test_a_guarantee_that_cannot_hold_is_refused_with_3(command_line: CommandLine, orders: Orders) -> None:
    found = command_line("run", "app:weak", "--until", "latest")
    assert found.status == 3
    assert "exactly-once was asked for" in sentence(found)


def test_data_loss_stops_with_3(command_line: CommandLine, orders: Orders) -> None:
    assert command_line("run", "app:stream", "--until", "latest").status == 0
    orders.produce()
    end = orders.kafka.end_offsets(orders.topic)[0]
    orders.kafka.delete_records(orders.topic, 0, end)
    found = command_line("run", "app:stream", "--until", "latest")
    assert found.status == 3
    assert f"{orders.topic}[0] was to be read from offset" in sentence(found)


def test_another_owner_stops_the_first_with_3(command_line: CommandLine, orders: Orders) -> None:
    first = command_line.start("run", "app:stream")
    assert wait_until(lambda: orders.stored() == RECORDS, TIMEOUT_S), "the first to store"
    second = command_line.start("run", "app:stream")

    def produced_until_the_first_has_left() -> bool:
        orders.produce(100)
        return first.poll() is not None

    assert wait_until(produced_until_the_first_has_left, TIMEOUT_S), "the first to be fenced"
    found = ended(first)
    assert found.status == 3, found.err
    (owner,) = {row["owner"] for row in describe(command_line)}
    assert owner in sentence(found)
    second.send_signal(signal.SIGTERM)
    assert ended(second).status == 0


def describe(command_line: CommandLine) -> list[dict[str, Any]]:
    found = command_line("offsets", "describe", "--app", "app:stream", "--output", "json")
    return list(json.loads(found.out))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--store", "oracle://x"], "no offset store serves oracle://"),
        (["--kafka", "no.such.setting=1"], "no.such.setting"),
    ],
)
def test_settings_that_cannot_work(options: list[str], words: str, command_line: CommandLine, orders: Orders) -> None:
    found = command_line("run", "app:stream", "--until", "latest", *options)
    assert found.status == 2, found.err
    assert words in sentence(found)


def test_a_missing_topic_is_named(command_line: CommandLine) -> None:
    command_line.environment["TEST_TOPIC"] = "no-such-topic"
    found = command_line("run", "app:stream", "--until", "latest")
    assert found.status == 2
    assert "topic 'no-such-topic' does not exist" in sentence(found)


# ---------------------------------------------------------------------------------------------- offsets and schema


def test_describe_as_a_table_and_without_kafka(command_line: CommandLine, orders: Orders) -> None:
    assert command_line("run", "app:stream", "--until", "latest").status == 0
    orders.produce(10)
    command_line.environment["KAFKA_STREAM_STORE"] = orders.database.url
    found = command_line("offsets", "describe", "--stream", orders.topic)
    assert found.status == 0
    assert "test:test" not in found.out + found.err
    for heading in ("next offset", "owner", "host", "epoch", "state", "changed"):
        assert heading in found.out
    assert "lag" not in found.out
    rows = json.loads(command_line("offsets", "describe", "--stream", orders.topic, "--output", "json").out)
    assert [row["lag"] for row in rows] == [None] * 4
    kafka = f"bootstrap.servers={orders.kafka.bootstrap_servers}"
    behind = command_line("offsets", "describe", "--stream", orders.topic, "--kafka", kafka, "--output", "json")
    assert sum(row["lag"] for row in json.loads(behind.out)) == 10


def test_describe_survives_a_deleted_topic(command_line: CommandLine, orders: Orders) -> None:
    assert command_line("run", "app:stream", "--until", "latest").status == 0
    orders.kafka.delete_topic(orders.topic)
    found = command_line("offsets", "describe", "--app", "app:stream", "--output", "json")
    assert found.status == 0
    assert "warning: " in found.err
    assert [row["end_offset"] for row in json.loads(found.out)] == [None] * 4


def test_describe_of_no_stream_creates_no_table(command_line: CommandLine, orders: Orders) -> None:
    found = command_line("offsets", "describe", "--app", "app:stream")
    assert found.status == 1
    assert f"there is no stream {orders.topic!r}" in sentence(found)
    assert orders.database.execute("SELECT tablename FROM pg_tables WHERE tablename LIKE 'kafka_stream%'") == []


def test_the_schema_can_be_printed_checked_and_applied(command_line: CommandLine, orders: Orders) -> None:
    missing = command_line("schema", "check", "--app", "app:stream")
    assert missing.status == 2
    sentence(missing)
    printed = command_line("schema", "sql", "--app", "app:stream")
    assert printed.status == 0
    assert "CREATE TABLE" in printed.out
    assert command_line("schema", "check", "--app", "app:stream").status == 2
    for _ in range(2):
        applied = command_line("schema", "apply", "--app", "app:stream")
        assert applied.status == 0, applied.err
        assert "up to date" in applied.out
        assert "test:test" not in applied.out
    assert command_line("schema", "check", "--app", "app:stream").status == 0


def test_the_printed_schema_is_what_is_needed(command_line: CommandLine, orders: Orders) -> None:
    orders.database.execute(command_line("schema", "sql", "--app", "app:stream").out)
    assert command_line("schema", "check", "--app", "app:stream").status == 0


def test_a_database_that_does_not_answer_is_named(command_line: CommandLine) -> None:
    command_line.environment["KAFKA_STREAM_STORE"] = "postgresql://nobody:hush-hush@127.0.0.1:1/none"
    for command in (["offsets", "describe", "--stream", "orders"], ["schema", "check"]):
        found = command_line(*command)
        assert found.status == 1, found.err
        assert "127.0.0.1" in sentence(found)
        assert "hush-hush" not in found.err


# --------------------------------------------------------------------------------------------------------------- demo


def figures(out: str) -> dict[str, int]:
    """The last table of the demo: label to number."""
    rows = re.findall(r"│ (produced|stored|lost|repeated)[^│]*│\s*([\d ]+?)\s*│", out)
    return {label: int(number.replace(" ", "")) for label, number in rows}


def test_the_demo_with_nothing_but_this_package(command_line: CommandLine) -> None:
    found = command_line("demo", "--records", "3000", "--kills", "4")
    assert found.status == 0, found.out + found.err
    assert figures(found.out) == {"produced": 3000, "stored": 3000, "lost": 0, "repeated": 0}
    assert found.out.count("✖ kill -9 ") == 4
    assert "rows were written, before offsets and commit" in found.out
    assert "version 1 was refused its next batch" in found.out
    shown = re.search(r"kafka-stream (offsets describe --store \S+ --stream \S+)", found.out)
    assert shown is not None
    assert command_line(*shown[1].split()).status == 0


def test_the_demo_on_real_servers(command_line: CommandLine, orders: Orders) -> None:
    servers = orders.kafka.bootstrap_servers
    command_line.environment["KAFKA_STREAM_DEMO_STORE"] = orders.database.url
    found = command_line("demo", "--bootstrap-servers", servers, "--records", "3000", "--kills", "3")
    assert found.status == 0, found.out + found.err
    assert figures(found.out) == {"produced": 3000, "stored": 3000, "lost": 0, "repeated": 0}
    assert "test:test" not in found.out + found.err
    ((table,),) = orders.database.execute("SELECT tablename FROM pg_tables WHERE tablename ~ '^demo_orders_[0-9a-f]+$'")
    assert orders.database.execute(f"SELECT count(*), count(DISTINCT order_id) FROM {table}") == [(3000, 3000)]


SABOTAGE = """
from sqlalchemy import text
from kafka_stream.cli.app import main
from kafka_stream.cli.demo.ledger import Ledger

verdict = Ledger.verdict

def after_sabotage(self, record):
    with self._engine.begin() as connection:
        connection.execute(text("DELETE FROM orders WHERE order_id = 17"))
        connection.execute(text("INSERT INTO orders (order_id, cents) VALUES (18, 1), (18, 1)"))
    return verdict(self, record)

Ledger.verdict = after_sabotage
main(["demo", "--records", "1000", "--kills", "1"])
"""


def test_the_demo_fails_if_an_order_is_lost_or_repeated(command_line: CommandLine) -> None:
    process = subprocess.run(
        [sys.executable, "-P", "-c", SABOTAGE],
        cwd=command_line.directory,
        env=command_line.environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert process.returncode == 1, process.stderr
    assert figures(process.stdout) == {"produced": 1000, "stored": 1001, "lost": 1, "repeated": 2}
    assert "please report it" in process.stdout


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_demo_that_is_ended_takes_its_services_with_it(number: signal.Signals, command_line: CommandLine) -> None:
    process = command_line.start("demo", "--records", "50000", "--kills", "2")
    assert process.stdout is not None
    found: Callable[[str], re.Match[str] | None] = re.compile(r"starts \(process (\d+)\)").search
    started = next(match for line in process.stdout if (match := found(line)) is not None)
    process.send_signal(number)
    process.communicate(timeout=TIMEOUT_S)
    assert process.returncode != 0
    assert wait_until(lambda: not is_running(int(started[1])), TIMEOUT_S), "the service to be gone"
    if number is not signal.SIGKILL:
        assert not list(command_line.directory.glob("kafka-stream-demo-*"))


def test_the_demo_says_that_a_server_does_not_answer(command_line: CommandLine) -> None:
    found = command_line("demo", "--store", f"postgresql://nobody@127.0.0.1:1/{random_name()}")
    assert found.status == 1
    assert "127.0.0.1" in sentence(found)
