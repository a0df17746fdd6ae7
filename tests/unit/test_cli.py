"""The command line: exit statuses, one sentence for a mistake, no password on any screen."""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
import sys
from pathlib import Path

import pytest

from kafka_stream.cli.exit_status import without_passwords
from kafka_stream.cli.options import holds_secret, kafka_settings
from tests.command_line import Invoke, one_sentence
from tests.memory_app import MEMORY_APP

PASSWORD = "hush-hush"

APP = """
from kafka_stream.stream import DirectStream

def write(batch, transaction):
    pass

stream = DirectStream(
    name="orders", topics=["orders"], kafka={"bootstrap.servers": "127.0.0.1:1"}, store="sqlite:///orders.db",
    sink=write,
)

def make():
    return stream

def make_with(argument):
    return stream

def make_badly():
    raise LookupError("no configuration here")

number = 3
"""


# -------------------------------------------------------------------------------------------------- a user's mistake


@pytest.mark.parametrize("arguments", [["--help"], ["version"], ["run", "--help"], ["demo", "--help"]])
def test_help_and_version_are_done(arguments: list[str], invoke: Invoke) -> None:
    ended = invoke(*arguments)
    assert ended.status == 0
    assert ended.out
    assert not ended.err


@pytest.mark.parametrize(
    "command",
    [
        *(["run"], ["demo"], ["version"], ["offsets", "describe"], ["schema", "sql"], ["schema", "apply"]),
        *(["dead-letters", name] for name in ("list", "show", "replay", "discard", "export", "stats")),
        *(["state", "describe"], ["state", "show"], ["windows"], ["ui"], ["top"]),
    ],
)
def test_every_command_has_an_example_that_names_it(command: list[str], invoke: Invoke) -> None:
    text = " ".join(invoke(*command, "--help").out.split())
    assert f"Example: kafka-stream {' '.join(command)}" in text


@pytest.mark.parametrize(
    "command",
    [
        *(["run"], ["demo"], ["version"], ["offsets", "describe"], ["schema", "sql"]),
        *(["dead-letters", name] for name in ("list", "show", "discard", "stats")),
        *(["offsets", "reset"], ["state", "describe"], ["state", "show"], ["windows"], ["ui"], ["top"]),
    ],
)
def test_every_option_has_a_variable(command: list[str], invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text = invoke(*command, "--help").out
    options = [line for line in text.splitlines() if line.startswith("│ --") and "--help" not in line]
    assert options
    assert text.count("[env var: KAFKA_STREAM_") == len(options) + ("MODULE:STREAM]" in text) + (command == ["run"])


@pytest.mark.parametrize(
    "arguments", [["frobnicate"], ["run"], ["run", "app:stream", "--nonsense"], ["version", "--output", "xml"]]
)
def test_usage_is_status_2(arguments: list[str], invoke: Invoke) -> None:
    ended = invoke(*arguments)
    assert ended.status == 2
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("app", "'app' is not MODULE:STREAM, such as app:stream"),
        ("app:", "'app:' is not MODULE:STREAM"),
        (":stream", "':stream' is not MODULE:STREAM"),
        ("nowhere:stream", "there is no module 'nowhere' in "),
        ("app.nowhere:stream", "there is no module 'app.nowhere' in "),
        ("app:nothing", "has no 'nothing'; it has the streams stream"),
        ("app:number", "app:number is (or returns) a int, not a DirectStream"),
        ("app:make_with", "the function app:make_with needs arguments (argument)"),
    ],
)
def test_a_stream_that_cannot_be_found(spec: str, sentence: str, invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    ended = invoke("run", spec)
    assert ended.status == 2
    assert sentence in one_sentence(ended)


@pytest.mark.parametrize(
    ("until", "sentence"),
    [("tomorrow", "'tomorrow' is not 'earliest', 'latest'"), ("2026-01-31T00:00", "has no time zone")],
)
def test_an_end_that_is_not_one(until: str, sentence: str, invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    ended = invoke("run", "app:stream", "--until", until)
    assert ended.status == 2
    assert sentence in one_sentence(ended)


@pytest.mark.parametrize("option", ["bootstrap.servers", "=x", f"{PASSWORD}"])
def test_a_kafka_option_that_is_not_key_and_value(option: str, invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    ended = invoke("run", "app:stream", "--kafka", option)
    assert ended.status == 2
    assert "--kafka takes key=value" in one_sentence(ended)
    assert PASSWORD not in ended.err


def test_a_wrong_setting_in_the_module_is_one_sentence(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP.replace('name="orders"', 'name="orders", assignment="statik"'))
    ended = invoke("run", "app:stream")
    assert ended.status == 2
    assert "assignment: 'statik' is not" in one_sentence(ended)


def test_a_dangerous_setting_on_the_command_line_is_refused(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    ended = invoke("run", "app:stream", "--kafka", "enable.auto.commit=true")
    assert ended.status == 2
    assert "'enable.auto.commit' cannot be set" in one_sentence(ended)


def test_a_module_that_fails_shows_its_own_traceback(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("boom = 1 / 0\n")
    ended = invoke("run", "app:stream")
    assert ended.status == 1
    assert "boom = 1 / 0" in ended.err
    assert "kafka_stream/cli" not in ended.err
    assert "importlib" not in ended.err
    assert ended.err.splitlines()[-1] == "error: module 'app' failed while it was imported"


def test_a_function_that_fails_shows_its_own_traceback(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    ended = invoke("run", "app:make_badly")
    assert ended.status == 1
    assert "LookupError: no configuration here" in ended.err
    assert ended.err.splitlines()[-1] == "error: the function app:make_badly failed to make a stream"


def test_a_module_that_needs_another_one_names_it(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import not_installed_here\n")
    ended = invoke("run", "app:stream")
    assert ended.status == 1
    assert "module 'app' needs 'not_installed_here', which is not installed" in ended.err


def test_folders_named_like_ours_are_the_users_own(invoke: Invoke, tmp_path: Path) -> None:
    for name in ("sinks", "offset_stores"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('whose am I?')")
    (tmp_path / "app.py").write_text(APP)
    assert invoke("version").status == 0
    ended = invoke("schema", "sql", "--app", "app:stream")
    assert (ended.status, ended.err) == (0, "")


def test_version_as_json(invoke: Invoke) -> None:
    found = {row["component"]: row["version"] for row in json.loads(invoke("version", "--output", "json").out)}
    assert found["kafka-stream"]
    assert found["librdkafka"]
    assert found["Python"] == ".".join(map(str, sys.version_info[:3]))


# -------------------------------------------------------------------------------------------------------------- run


def rows_in(database: Path) -> int:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return int(connection.execute("SELECT count(*) FROM results").fetchone()[0])


def next_offsets(invoke: Invoke, *where: str) -> list[int]:
    ended = invoke("offsets", "describe", *where, "--output", "json")
    assert ended.status == 0, ended.err
    return [row["next_offset"] for row in json.loads(ended.out)]


def test_a_bounded_run_in_plain_lines(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(MEMORY_APP)
    ended = invoke("run", "app:stream", "--until", "latest")
    assert ended.status == 0, ended.err
    assert "orders started: orders into function write, offsets in sqlite" in ended.err
    assert ", exactly-once\n" in ended.err
    assert "stopped after 10 records in " in ended.err
    assert rows_in(tmp_path / "orders.db") == 10
    assert next_offsets(invoke, "--app", "app:stream") == [5, 5]


def test_options_go_before_the_code(invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(MEMORY_APP)
    monkeypatch.setenv("KAFKA_STREAM_APP", "app:stream")
    monkeypatch.setenv("KAFKA_STREAM_UNTIL", "latest")
    ended = invoke("run", "--store", "sqlite:///other.db", "--name", "by-option")
    assert ended.status == 0, ended.err
    assert rows_in(tmp_path / "other.db") == 10
    assert not (tmp_path / "orders.db").exists()
    monkeypatch.delenv("KAFKA_STREAM_APP")
    assert next_offsets(invoke, "--store", "sqlite:///other.db", "--stream", "by-option") == [5, 5]
    assert invoke("offsets", "describe", "--store", "sqlite:///other.db", "--stream", "orders").status == 1


def test_logging_is_left_to_a_module_that_has_set_it_up(invoke: Invoke, tmp_path: Path) -> None:
    handler = logging.NullHandler()
    logging.getLogger().handlers[:] = [handler]
    (tmp_path / "app.py").write_text(MEMORY_APP)
    assert invoke("run", "app:stream", "--until", "latest").status == 0
    assert logging.getLogger().handlers == [handler]


# ---------------------------------------------------------------------------------------------------------- offsets


def test_describe_without_a_stream_says_what_is_needed(invoke: Invoke) -> None:
    ended = invoke("offsets", "describe")
    assert ended.status == 2
    assert "--app MODULE:STREAM, or --store URL and --stream NAME" in one_sentence(ended)


def test_describe_of_a_stream_that_does_not_exist_creates_nothing(invoke: Invoke, tmp_path: Path) -> None:
    ended = invoke("offsets", "describe", "--store", "sqlite:///none.db", "--stream", "orders")
    assert ended.status == 1
    assert "there is no stream 'orders' in " in one_sentence(ended)


# ---------------------------------------------------------------------------------------------------------- secrets


@pytest.mark.parametrize(
    ("argument", "secret"),
    [
        ("postgresql://user:pw@host/db", True),
        ("postgresql+psycopg://user:p%40w@host:5432/db", True),
        ("sasl.password=pw", True),
        ("--kafka=sasl.password=pw", True),
        ("ssl.key.password=pw", True),
        ("postgresql://user@host/db", False),
        ("sqlite:///orders.db", False),
        ("bootstrap.servers=localhost:9092", False),
        ("sasl.password=", False),
        ("app:stream", False),
    ],
)
def test_what_looks_like_a_secret(argument: str, *, secret: bool) -> None:
    assert holds_secret(argument) is secret


def test_a_password_on_the_command_line_is_warned_about_and_not_repeated(invoke: Invoke) -> None:
    url = f"mongo://user:{PASSWORD}@host/db"
    ended = invoke("offsets", "describe", "--store", url, "--stream", "orders")
    assert "warning: a password on the command line" in ended.err
    assert PASSWORD not in ended.err + ended.out


def test_a_password_in_the_environment_is_not_warned_about(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_STREAM_STORE", f"mongo://user:{PASSWORD}@host/db")
    ended = invoke("offsets", "describe", "--stream", "orders")
    assert "no offset store serves mongo://" in one_sentence(ended)
    assert "warning" not in ended.err
    assert PASSWORD not in ended.err + ended.out


def test_passwords_in_any_text_are_covered() -> None:
    text = f"could not connect to postgresql+psycopg://u:{PASSWORD}@h:5432/d, nor to http://x:y@z"
    assert without_passwords(text) == "could not connect to postgresql+psycopg://u:***@h:5432/d, nor to http://x:***@z"
    assert without_passwords("see http://host:8080/path") == "see http://host:8080/path"


def test_an_unexpected_error_shows_a_traceback_without_passwords(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(f"raise OSError('no route to postgresql://u:{PASSWORD}@h/d')\n")
    ended = invoke("run", "app:stream")
    assert ended.status == 1
    assert "no route to postgresql://u:***@h/d" in ended.err
    assert PASSWORD not in ended.err


def test_kafka_settings_from_variables_and_options() -> None:
    environment = {
        "KAFKA_STREAM_KAFKA__BOOTSTRAP_SERVERS": "a:1",
        "KAFKA_STREAM_KAFKA__SASL_PASSWORD": "from the environment",
        "KAFKA_STREAM_NAME": "orders",
    }
    assert kafka_settings(["bootstrap.servers=b:2", "sasl.username=a=b"], environment) == {
        "bootstrap.servers": "b:2",
        "sasl.password": "from the environment",
        "sasl.username": "a=b",
    }


def test_a_databases_error_is_a_sentence_behind_the_line_that_ran_into_it(invoke: Invoke, tmp_path: Path) -> None:
    app = MEMORY_APP.replace("    results.create(transaction.connection, checkfirst=True)\n", "")
    (tmp_path / "app.py").write_text(app)
    ended = invoke("run", "app:stream", "--until", "latest")
    assert ended.status == 1
    shown, sentence = ended.err.rstrip().rsplit("\n", 1)
    assert sentence.startswith("error: function write failed on orders[")
    assert sentence.endswith(
        ": OperationalError (SQLITE_ERROR): no such table: results; nothing of the batch was committed"
    )
    traceback = shown[shown.index("Traceback") :].splitlines()
    assert len(traceback) < 10
    assert "transaction.connection.execute(results.insert()" in "\n".join(traceback)
    assert "parameters hidden" in ended.err
