"""What ``kafka-stream run`` says on stderr: lines, JSON, or what a file of the user's says."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from kafka_stream.cli.logs import LogFormat, LogLevel, show_records
from tests.command_line import Invoke, one_sentence
from tests.memory_app import MEMORY_APP

FAILING = MEMORY_APP.replace(
    "    results.create",
    '    raise LookupError("no such thing at postgresql://me:hunter2@db/shop")\n    results.create',
)


def _objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_every_line_has_its_time_and_zone(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(MEMORY_APP)
    ended = invoke("run", "app:stream", "--until", "latest")
    assert ended.status == 0, ended.err
    lines = ended.err.splitlines()
    assert len(lines) >= 3
    for line in lines:
        found = re.match(r"(\S+Z) INFO kafka_stream\S*: \S", line)
        assert found is not None, line
        assert datetime.fromisoformat(found[1]).tzinfo is not None


def test_as_json_each_line_is_an_object_with_fields(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(MEMORY_APP)
    ended = invoke("run", "app:stream", "--until", "latest", "--log-format", "json")
    assert ended.status == 0, ended.err
    found = {each["event"]: each for each in _objects(ended.err) if "event" in each}
    assert list(found) == ["started", "assigned", "batch", "stopped"]
    assert {each["stream"] for each in found.values()} == {"orders"}
    assert found["stopped"]["records"] == 10
    assert found["batch"]["ranges"], found["batch"]
    for each in found.values():
        assert each["level"] == "info"
        assert each["logger"] == "kafka_stream.stream"
        assert datetime.fromisoformat(each["time"]).tzinfo is not None


@pytest.mark.parametrize("variable", [False, True])
def test_a_failure_is_an_object_too_and_says_no_password(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, variable: bool
) -> None:
    (tmp_path / "app.py").write_text(FAILING)
    given = [] if variable else ["--log-format", "json"]
    if variable:
        monkeypatch.setenv("KAFKA_STREAM_LOG_FORMAT", "json")
    ended = invoke("run", "app:stream", "--until", "latest", *given)
    assert ended.status == 1
    last = _objects(ended.err)[-1]
    assert (last["level"], last["event"], last["stream"]) == ("error", "error", "orders")
    assert "LookupError" in last["exception"]
    assert "hunter2" not in ended.err


def test_errors_alone_can_be_shown(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(MEMORY_APP)
    ended = invoke("run", "app:stream", "--until", "latest", "--log-level", "error")
    assert (ended.status, ended.err) == (0, "")


CONFIGURATION = {
    "formatters": {"own": {"format": "OWN %(message)s"}},
    "handlers": {"file": {"class": "logging.FileHandler", "filename": "own.log", "formatter": "own"}},
    "root": {"level": "INFO", "handlers": ["file"]},
}
TOML = """
[formatters.own]
format = "OWN %(message)s"
[handlers.file]
class = "logging.FileHandler"
filename = "own.log"
formatter = "own"
[root]
level = "INFO"
handlers = ["file"]
"""
INI = """
[loggers]
keys = root
[handlers]
keys = file
[formatters]
keys = own
[logger_root]
level = INFO
handlers = file
[handler_file]
class = FileHandler
args = ("own.log",)
formatter = own
[formatter_own]
format = OWN %(message)s
"""


@pytest.mark.parametrize(
    ("name", "text"), [("own.json", json.dumps(CONFIGURATION)), ("own.toml", TOML), ("own.ini", INI)]
)
def test_a_file_says_where_records_go(invoke: Invoke, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "app.py").write_text(f"import logging\nlogging.basicConfig()\n{MEMORY_APP}")
    (tmp_path / name).write_text(text)
    ended = invoke("run", "app:stream", "--until", "latest", "--log-config", name)
    assert (ended.status, ended.err) == (0, "")
    logging.shutdown()
    assert "OWN orders stopped after 10 records" in (tmp_path / "own.log").read_text()


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("none.json", None, "--log-config: 'none.json' cannot be read: No such file or directory"),
        ("none.ini", None, "--log-config: 'none.ini' cannot be read: No such file or directory"),
        ("bad.json", "{", "--log-config: 'bad.json' is no logging configuration: Expecting property name"),
        ("bad.json", "[]", "--log-config: 'bad.json' is no logging configuration: it is no mapping"),
        ("bad.toml", "x", "--log-config: 'bad.toml' is no logging configuration: "),
        ("bad.ini", "x", "--log-config: 'bad.ini' is no logging configuration: "),
        (
            "bad.json",
            '{"root": {"handlers": ["none"]}}',
            "logging configuration: Unable to configure root logger",
        ),
    ],
)
def test_a_file_that_is_none(invoke: Invoke, tmp_path: Path, name: str, text: str | None, sentence: str) -> None:
    (tmp_path / "app.py").write_text(MEMORY_APP)
    if text is not None:
        (tmp_path / name).write_text(text)
    ended = invoke("run", "app:stream", "--until", "latest", "--log-config", name)
    assert ended.status == 2, ended.err
    assert sentence in one_sentence(ended)
    assert not (tmp_path / "orders.db").exists()


@pytest.mark.parametrize("command", [["run", "app:stream"], ["offsets", "describe"], ["version"], ["settings"]])
@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("KAFKA_STREAM_STOER", "KAFKA_STREAM_STORE"),
        ("KAFKA_STREAM_LOG_LEVLE", "KAFKA_STREAM_LOG_LEVEL"),
        ("KAFKA_STREAM_KAFKA_BOOTSTRAP_SERVERS", "KAFKA_STREAM_KAFKA__BOOTSTRAP_SERVERS"),
    ],
)
def test_a_misspelt_variable_is_refused_by_every_command(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, command: list[str], variable: str, meant: str
) -> None:
    monkeypatch.setenv(variable, "hunter2")
    ended = invoke(*command)
    assert ended.status == 2
    assert one_sentence(ended) == f"the variable {variable} is none that there is; is {meant!r} meant?"
    assert invoke(*command, "--help").status == 0


def test_a_terminal_gets_colours_and_no_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    show_records(LogLevel.INFO, LogFormat.TEXT, with_time=True)
    logging.getLogger("kafka_stream.stream").info("[orders] reads from postgresql://me:hunter2@db/shop")
    said = capsys.readouterr().err
    assert "\x1b[" in said
    assert "[orders] reads from" in re.sub(r"\x1b\[[0-9;]*m", "", said), "it is no markup"
    assert "hunter2" not in said
    assert re.search(r"\d\d:\d\d:\d\d", said)
