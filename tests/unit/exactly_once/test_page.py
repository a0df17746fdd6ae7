"""The Python on the page about testing a handler runs, with the plugin's fixtures, and what it says is what is said."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from kafka_stream import testing
from kafka_stream.testing import plugin

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "how-to" / "test-your-handler.md").read_text()


def test_the_tests_on_the_page_pass_as_they_stand_there(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    page = tmp_path / "test_page.py"
    page.write_text("\n\n".join(blocks))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-W", "ignore::ResourceWarning", "-p", "no:cacheprovider",
         "--rootdir", tmp_path, page],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_the_page_names_every_error_and_every_fixture() -> None:
    exported = [getattr(testing, name) for name in testing.__all__]
    errors = {it.__name__ for it in exported if isinstance(it, type) and issubclass(it, testing.NotExactlyOnce)}
    assert errors - {"NotExactlyOnce"} == set(re.findall(r"^\| `([A-Z]\w+)` \|", PAGE, re.MULTILINE))
    fixtures = {name for name in vars(plugin) if name.startswith("kafka_stream_")}
    assert fixtures == set(re.findall(r"^\| `(kafka_stream_\w+)` \|", PAGE, re.MULTILINE))
