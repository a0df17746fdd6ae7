"""Every command on offsets in MariaDB: as an operator uses it, and where something is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import make_url

from integration_tests.command_line import CommandLine, Ended, Orders, sentence
from integration_tests.mariadb_server import MariadbDatabase, MariadbServer
from integration_tests.servers import random_name
from integration_tests.test_cli_offsets import COMMANDS, READING, rows
from tests.sql_backend import SqlBackend


@pytest.fixture
def command_line(command_line: CommandLine, mariadb: MariadbDatabase) -> CommandLine:
    """Commands know the store, the stream's name and the brokers by the environment."""
    command_line.environment |= {
        "KAFKA_STREAM_STORE": mariadb.url,
        "KAFKA_STREAM_NAME": command_line.environment["TEST_TOPIC"],
        "KAFKA_STREAM_KAFKA__BOOTSTRAP_SERVERS": command_line.environment["TEST_KAFKA"],
    }
    return command_line


@pytest.fixture
def stopped(command_line: CommandLine, mariadb_backend: SqlBackend, orders: Orders) -> CommandLine:
    """A stream that has come to offset 5 of each partition, and does not run."""
    store = mariadb_backend.store()
    store.open()
    store.initialise(orders.topic, orders.topic, dict.fromkeys(orders.kafka.end_offsets(orders.topic), 5), None)
    store.close()
    (command_line.directory / "offsets.csv").write_text(f"{orders.topic},0,1\n")
    return command_line


@pytest.fixture
def read_only(mariadb_server: MariadbServer, mariadb: MariadbDatabase) -> Iterator[str]:
    """The URL of a user who may look at the tables, and change nothing."""
    user = random_name("reader")
    mariadb_server.execute(f"CREATE USER {user}@'%%' IDENTIFIED BY 'hush-hush'", ())
    mariadb_server.execute(f"GRANT SELECT ON {mariadb.name}.* TO {user}@'%'")
    yield make_url(mariadb.url).set(username=user, password="hush-hush").render_as_string(hide_password=False)
    mariadb_server.execute(f"DROP USER {user}@'%'")


def offsets(command_line: CommandLine, command: str, *arguments: str) -> Ended:
    return command_line("offsets", command, *arguments)


def next_offsets(command_line: CommandLine) -> list[int]:
    return [row["next_offset"] for row in rows(offsets(command_line, "describe", "--no-time", "--output", "json"))]


def test_the_commands_do_as_they_say(stopped: CommandLine, orders: Orders) -> None:
    assert next_offsets(stopped) == [5] * 4
    done = rows(offsets(stopped, "reset", "--all-topics", "--shift-by", "-2", "--execute", "--output", "json"))
    assert [(row["from_offset"], row["to_offset"], row["repeated"]) for row in done] == [(5, 3, 2)] * 4
    assert offsets(stopped, "undo", "--yes").status == 0
    assert next_offsets(stopped) == [5] * 4
    assert offsets(stopped, "import", "offsets.csv", "--yes").status == 0
    assert next_offsets(stopped) == [1, 5, 5, 5]
    exported = offsets(stopped, "export", "--output", "csv").out
    assert exported == "".join(f"{orders.topic},{tp},{at}\n" for tp, at in enumerate([1, 5, 5, 5]))
    assert {row["action"] for row in rows(offsets(stopped, "history", "--output", "json"))} == {
        "reset",
        "undo",
        "import",
    }
    (stream,) = rows(offsets(stopped, "streams", "--output", "json"))
    assert (stream["stream"], stream["partitions"]) == (orders.topic, 4)
    written = rows(offsets(stopped, "mirror", "--output", "json"))
    assert [row["offset"] for row in written] == [1, 5, 5, 5]
    there = f"sqlite:///{stopped.directory}/other.db"
    assert offsets(stopped, "migrate", "--to", there, "--yes").status == 0
    moved = offsets(stopped, "export", "--store", there, "--output", "csv")
    assert moved.out == exported
    assert offsets(stopped, "delete", "--store", there, "--yes").status == 0


def test_a_user_who_may_only_read_can_look_and_change_nothing(stopped: CommandLine, read_only: str) -> None:
    assert offsets(stopped, "reset", "--all-topics", "--shift-by", "-1", "--execute").status == 0
    stopped.environment["KAFKA_STREAM_STORE"] = read_only
    for command, arguments in COMMANDS.items():
        found = offsets(stopped, command, *arguments)
        assert found.status == (0 if command in READING else 2), (command, found.err)
        if command not in READING:
            assert re.search("may not read and write table|denied", sentence(found)), command
        assert "hush-hush" not in found.out + found.err, command
    assert next_offsets(stopped) == [4] * 4


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"streams", "import"}))
def test_a_missing_stream_in_a_database_without_tables(
    command: str, command_line: CommandLine, orders: Orders, mariadb: MariadbDatabase
) -> None:
    found = offsets(command_line, command, *COMMANDS[command])
    assert found.status == 1
    assert f"there is no stream {orders.topic!r}" in sentence(found)
    assert mariadb.execute("SHOW TABLES") == []


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"host": "127.0.0.1", "port": 1, "password": "hush-hush"}, 1),
        ({"password": "hush-hush"}, 2),
        ({"database": "no_such_database", "password": None}, 2),
    ],
    ids=["unreachable", "wrong password", "wrong database"],
)
def test_a_wrong_address_is_one_sentence(stopped: CommandLine, wrong: dict[str, Any], status: int) -> None:
    right = make_url(stopped.environment["KAFKA_STREAM_STORE"])
    changed = {name: value for name, value in wrong.items() if value is not None}
    stopped.environment["KAFKA_STREAM_STORE"] = right.set(**changed).render_as_string(hide_password=False)
    for command, arguments in COMMANDS.items():
        found = offsets(stopped, command, *arguments)
        assert found.status == status, (command, found.err)
        assert "127.0.0.1" in sentence(found), command
        assert "hush-hush" not in found.out + found.err, command
