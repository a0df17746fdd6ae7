"""The console script, run in this process: what it says, and how it ends."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from kafka_stream.cli.app import main


@dataclass
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str


Invoke = Callable[..., Ended]


@contextmanager
def in_directory(path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Invoke]:
    """Run the console script in a directory, with nothing set in the environment."""
    monkeypatch.chdir(path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    modules = set(sys.modules)

    def run(*arguments: str) -> Ended:
        capsys.readouterr()
        if arguments[:1] == ("run",):  # which shows records, unless somebody else does
            root.handlers[:] = [each for each in root.handlers if not type(each).__module__.startswith("_pytest")]
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        captured = capsys.readouterr()
        return Ended(int(ended.value.code or 0), captured.out, captured.err)

    yield run
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in set(sys.modules) - modules:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(path)):
            del sys.modules[name]


def one_sentence(ended: Ended) -> str:
    """What was said on stderr, which is one line without a traceback."""
    lines = [line for line in ended.err.splitlines() if not line.startswith("warning: ")]
    assert len(lines) == 1, ended.err
    assert lines[0].startswith("error: ")
    assert "Traceback" not in ended.err
    return lines[0].removeprefix("error: ")
