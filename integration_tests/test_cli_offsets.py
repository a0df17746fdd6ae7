"""The commands on offsets as processes, on Kafka and PostgreSQL, while a stream runs and while it does not."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer
from sqlalchemy import make_url

from integration_tests.command_line import RECORDS, TIMEOUT_S, CommandLine, Ended, Orders, ended, sentence
from integration_tests.engine import wait_until
from integration_tests.servers import random_name

COMMANDS = {
    "streams": [],
    "describe": [],
    "reset": ["--all-topics", "--to-offset", "1", "--execute"],
    "delete": ["--yes"],
    "export": [],
    "import": ["offsets.csv", "--yes"],
    "migrate": ["--to", "sqlite:///other.db", "--fence", "--yes"],
    "mirror": [],
    "history": [],
    "undo": ["--yes"],
}
READING = ("streams", "describe", "export", "history", "mirror")


@dataclass
class Running:
    """A stream that has stored all records, and goes on."""

    process: subprocess.Popen[str]
    orders: Orders

    def has_stored(self, records: int) -> bool:
        """Wait for so many rows, or for the process to end."""
        wait_until(lambda: self.orders.stored() >= records or self.process.poll() is not None, TIMEOUT_S)
        return self.orders.stored() == records

    def end(self) -> Ended:
        """Stop it, unless it has stopped."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return ended(self.process)


@pytest.fixture
def stopped(command_line: CommandLine) -> CommandLine:
    """A stream that has stored all records, and does not run."""
    found = command_line("run", "app:stream", "--until", "latest")
    assert found.status == 0, found.err
    return command_line


@pytest.fixture
def running(command_line: CommandLine, orders: Orders) -> Iterator[Running]:
    found = Running(command_line.start("run", "app:stream"), orders)
    assert found.has_stored(RECORDS), found.end().err
    yield found
    found.end()


def offsets(command_line: CommandLine, command: str, *arguments: str) -> Ended:
    return command_line("offsets", command, "--app", "app:stream", *arguments)


def rows(found: Ended) -> list[dict[str, Any]]:
    assert found.status == 0, found.err
    return list(json.loads(found.out))


def described(command_line: CommandLine) -> list[dict[str, Any]]:
    return rows(offsets(command_line, "describe", "--output", "json"))


def next_offsets(command_line: CommandLine) -> list[int]:
    return [row["next_offset"] for row in described(command_line)]


# ------------------------------------------------------------------------------------------------------------- looking


def test_streams_and_describe_agree_in_every_form(stopped: CommandLine, orders: Orders) -> None:
    orders.produce(10)
    found = described(stopped)
    assert sum(row["lag"] for row in found) == 10
    assert all(0 <= row["lag_s"] < TIMEOUT_S for row in found)
    assert {row["high_watermark"] - row["end_offset"] for row in found} == {0}
    assert all(len(row["topic_id"]) == 22 and row["leader_epoch"] == 0 for row in found)
    as_csv = list(csv.DictReader(io.StringIO(offsets(stopped, "describe", "--output", "csv").out)))
    assert [int(row["next_offset"]) for row in as_csv] == [row["next_offset"] for row in found]
    table = offsets(stopped, "describe")
    assert "total lag: 10\n" in table.out
    assert "test:test" not in table.out
    (stream,) = rows(offsets(stopped, "streams", "--output", "json"))
    assert (stream["stream"], stream["topics"], stream["partitions"]) == (orders.topic, [orders.topic], 4)
    assert (stream["lag"], stream["marks"]) == (10, [])
    assert stream["last_commit_at"] == max(row["changed_at"] for row in found)


def test_an_open_transaction_and_a_recreated_topic_are_explained(stopped: CommandLine, orders: Orders) -> None:
    hanging = orders.kafka.open_transaction(orders.topic, ["never committed"], 0)
    orders.kafka.produce(orders.topic, ["behind it"], 0)
    table = offsets(stopped, "describe").out
    hanging.abort()
    assert re.search(rf"! {orders.topic}\[0\]: end pinned: an open transaction keeps the end at \d+; 2 offset", table)
    assert re.search(r"its first record is \d+ (ms|s) old", table)
    orders.kafka.delete_topic(orders.topic)
    missing = offsets(stopped, "describe")
    assert missing.status == 0
    assert f"topic missing: topic '{orders.topic}' does not exist" in missing.out
    orders.kafka.create_topic(orders.topic)
    assert {tuple(row["marks"]) for row in described(stopped)} == {("topic recreated",)}
    (stream,) = rows(offsets(stopped, "streams", "--output", "json"))
    assert stream["marks"] == ["topic recreated"]


def test_watch_shows_progress_until_ctrl_c(command_line: CommandLine, running: Running) -> None:
    process = command_line.start(
        "offsets", "describe", "--app", "app:stream", "--watch", "--interval", "0.2", "--no-time"
    )
    assert process.stdout is not None
    assert next(line for line in process.stdout if line.startswith("total lag: 0"))
    running.process.send_signal(signal.SIGTERM)
    assert ended(running.process).status == 0
    running.orders.produce(10)
    assert next(line for line in process.stdout if line.startswith("total lag: 10"))
    process.send_signal(signal.SIGINT)
    found = ended(process)
    assert (found.status, found.err) == (0, "")


# ------------------------------------------------------------------------------------------------ while a stream runs


def test_a_running_stream_goes_on_from_where_it_was_reset_to(command_line: CommandLine, running: Running) -> None:
    before = next_offsets(command_line)
    done = rows(offsets(command_line, "reset", "--all-topics", "--shift-by", "-25", "--execute", "--output", "json"))
    assert [(row["from_offset"], row["repeated"]) for row in done] == [(offset, 25) for offset in before]
    assert running.has_stored(RECORDS + 100)
    refused = offsets(command_line, "undo", "--yes")
    assert refused.status == 3
    assert "batches have committed" in sentence(refused)
    assert offsets(command_line, "reset", "--all-topics", "--to-latest", "--execute").status == 0
    running.orders.produce(8)
    assert running.has_stored(RECORDS + 108)
    stopped = running.end()
    assert stopped.status == 0, stopped.err
    assert next_offsets(command_line) == [offset + 2 for offset in before]


def test_a_running_stream_stops_when_it_is_deleted(command_line: CommandLine, running: Running) -> None:
    deleted = offsets(command_line, "delete", "--yes")
    assert (deleted.status, deleted.out) == (0, f"The offsets of {running.orders.topic} were deleted.\n")
    running.orders.produce(8)
    stopped = ended(running.process)
    assert stopped.status == 3
    assert "closed" in sentence(stopped)
    assert running.orders.stored() == RECORDS
    again = command_line("run", "app:stream", "--until", "latest")
    assert again.status == 0, again.err
    assert running.orders.stored() == 2 * RECORDS + 8


def test_a_running_stream_stops_when_it_is_migrated_away(
    command_line: CommandLine, running: Running, tmp_path: Path
) -> None:
    there = ("--to", f"sqlite:///{tmp_path}/other.db", "--yes")
    refused = offsets(command_line, "migrate", *there)
    assert refused.status == 3
    assert "is owned by" in sentence(refused)
    assert offsets(command_line, "migrate", *there, "--fence").status == 0
    running.orders.produce(8)
    stopped = ended(running.process)
    assert stopped.status == 3
    assert "migrated to sqlite" in sentence(stopped)
    assert running.orders.stored() == RECORDS
    before = next_offsets(command_line)
    start = command_line("run", "app:stream", "--until", "latest")
    assert start.status == 3
    assert "migrated to sqlite" in sentence(start)
    moved = command_line("offsets", "export", "--store", there[1], "--stream", running.orders.topic)
    assert [entry["next_offset"] for entry in json.loads(moved.out)["positions"]] == before
    again = offsets(command_line, "migrate", *there, "--fence", "--output", "json")
    assert rows(again) == []


def test_a_mirror_of_a_live_group_is_refused_and_one_of_a_stopped_stream_is_written(
    command_line: CommandLine, orders: Orders
) -> None:
    app = command_line.directory / "app.py"
    app.write_text(app.read_text().replace('assignment="static"', 'assignment="group"'))
    process = Running(command_line.start("run", "app:stream"), orders)
    assert process.has_stored(RECORDS), process.end().err
    refused = offsets(command_line, "mirror")
    assert refused.status == 3
    assert f"group '{orders.topic}' has members, " in sentence(refused)
    assert process.end().status == 0
    written = rows(offsets(command_line, "mirror", "--output", "json"))
    assert [row["offset"] for row in written] == next_offsets(command_line)


# -------------------------------------------------------------------------------------------------- what can be wrong


@pytest.fixture
def read_only(stopped: CommandLine, orders: Orders) -> Iterator[str]:
    """A user who may look at the stream's tables, and change nothing."""
    user = random_name("reader")
    orders.database.execute(f"CREATE ROLE {user} LOGIN PASSWORD 'hush-hush'")
    orders.database.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {user}")
    url = make_url(orders.database.url).set(username=user, password="hush-hush")
    yield url.render_as_string(hide_password=False)
    orders.database.execute(f"DROP OWNED BY {user}")
    orders.database.execute(f"DROP ROLE {user}")


def test_a_user_who_may_only_read_can_look_and_change_nothing(
    read_only: str, stopped: CommandLine, orders: Orders
) -> None:
    (stopped.directory / "offsets.csv").write_text(f"{orders.topic},0,1\n")
    assert offsets(stopped, "reset", "--all-topics", "--shift-by", "-1", "--execute").status == 0
    before = rows(offsets(stopped, "describe", "--no-time", "--output", "json"))
    stopped.environment["TEST_STORE"] = read_only
    for command, arguments in COMMANDS.items():
        found = offsets(stopped, command, *arguments)
        assert found.status == (0 if command in READING else 2), (command, found.err)
        if command not in READING:
            assert re.search("may not read and write table|permission denied", sentence(found)), command
        assert "hush-hush" not in found.out + found.err, command
    assert rows(offsets(stopped, "describe", "--no-time", "--output", "json")) == before


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"streams", "import"}))
def test_a_missing_stream_in_a_database_without_tables(command: str, command_line: CommandLine, orders: Orders) -> None:
    found = offsets(command_line, command, *COMMANDS[command])
    assert found.status == 1
    assert f"there is no stream {orders.topic!r}" in sentence(found)
    assert orders.database.execute("SELECT tablename FROM pg_tables WHERE tablename LIKE 'kafka_stream%'") == []


def test_a_database_that_does_not_answer(command_line: CommandLine, orders: Orders) -> None:
    command_line.environment["TEST_STORE"] = "postgresql://nobody:hush-hush@127.0.0.1:1/none"
    (command_line.directory / "offsets.csv").write_text(f"{orders.topic},0,1\n")
    look: Callable[..., Ended] = partial(offsets, command_line)
    for command, arguments in COMMANDS.items():
        found = look(command, *arguments)
        assert found.status == 1, (command, found.err)
        assert "127.0.0.1" in sentence(found), command
        assert "hush-hush" not in found.out + found.err, command


# --------------------------------------------------------------------------------------------------- on other stores


def test_offsets_go_round_all_stores_and_come_back_as_they_were(
    stopped: CommandLine, orders: Orders, zookeeper: str, tmp_path: Path
) -> None:
    stores = [
        orders.database.url,
        f"zookeeper://{zookeeper}",
        f"kafka://{orders.kafka.bootstrap_servers}",
        f"sqlite:///{tmp_path}/other.db",
    ]
    name = ("--stream", orders.topic)
    exported = [stopped("offsets", "export", "--store", stores[0], *name, "--output", "csv").out]
    for source, target in pairwise(stores):
        done = stopped("offsets", "migrate", *name, "--from", source, "--to", target, "--yes")
        assert done.status == 0, done.err
        assert "4 offset(s) were copied" in done.out
        exported.append(stopped("offsets", "export", "--store", target, *name, "--output", "csv").out)
    assert exported == [exported[0]] * 4
    assert exported[0].count("\n") == 4


def test_offsets_in_kafka_are_not_moved_under_a_live_member(command_line: CommandLine, orders: Orders) -> None:
    """Any plain consumer's offsets are positions of the Kafka store."""
    group = random_name("group")
    store = ("--store", f"kafka://{orders.kafka.bootstrap_servers}", "--stream", group)
    reset = ("offsets", "reset", *store, "--topic", f"{orders.topic}:0-3", "--to-offset", "7", "--execute")
    settings = {"group.id": group, "client.id": "accounting", "auto.offset.reset": "earliest"}
    with Consumer({"bootstrap.servers": orders.kafka.bootstrap_servers, **settings}) as member:
        member.subscribe([orders.topic])
        assert wait_until(lambda: member.poll(0.5) is not None and bool(member.assignment()), TIMEOUT_S)
        member.commit(asynchronous=False)
        before = command_line("offsets", "export", *store, "--output", "csv").out
        for command in (reset, ("offsets", "delete", *store, "--yes")):
            refused = command_line(*command)
            assert refused.status == 3, refused.err
            assert "accounting on " in sentence(refused)
        assert command_line("offsets", "export", *store, "--output", "csv").out == before
    assert wait_until(lambda: command_line(*reset).status == 0, TIMEOUT_S)
    assert command_line("offsets", "export", *store, "--output", "csv").out == "".join(
        f"{orders.topic},{number},7\n" for number in range(4)
    )
    history = command_line("offsets", "history", *store)
    assert history.status == 0
    assert "keeps no history" in history.err
    undo = command_line("offsets", "undo", *store, "--yes")
    assert undo.status == 3
    assert "keeps no history, so nothing can be undone there" in sentence(undo)
