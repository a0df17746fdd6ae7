"""The Python on the page about stores and sinks of one's own runs, and its example keeps the contract."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from kafka_stream.plugins import SINKS_GROUP, STORES_GROUP

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "writing-a-store-or-sink.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_the_code_runs_and_its_sink_keeps_the_contract(tmp_path: Path) -> None:
    code = blocks("python")
    assert len(code) == 4
    page = tmp_path / "test_page.py"
    page.write_text("\n\n".join(code))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "--rootdir", tmp_path, page],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"^(\d+) passed in", done.stdout, re.MULTILINE)
    assert passed is not None, done.stdout
    assert int(passed[1]) > 10


def test_what_the_page_names_is_there() -> None:
    text = PAGE.read_text()
    for path in re.findall(r"`((?:kafka_stream|offset_stores)/[\w/.]+)`", text):
        assert (ROOT / path).exists(), path
    for module, name in re.findall(r"^\| `(\w+_contract)\.(\w+)` \|", text, re.MULTILINE):
        source = ROOT / "kafka_stream" / "testing" / f"{module}.py"
        assert f"class {name}" in source.read_text()


def test_its_entry_points_are_of_the_groups_that_are_looked_up() -> None:
    (toml,) = blocks("toml")
    assert set(tomllib.loads(toml)["project"]["entry-points"]) == {STORES_GROUP, SINKS_GROUP}
