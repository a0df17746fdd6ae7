"""What the pages show works: each Python block is whole, what it names is there, and the first one runs."""

from __future__ import annotations

import ast
import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml

from kafka_stream import DirectStream, StreamSettings
from kafka_stream.testing import MemoryKafka

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "how-to").glob("*.md"))]


def _blocks() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        found = re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
        yield from ((f"{page.stem}-{number}", block) for number, block in enumerate(found, 1))


BLOCKS = dict(_blocks())


@pytest.mark.parametrize("name", BLOCKS)
def test_what_a_page_imports_is_there(name: str) -> None:
    tree = ast.parse(BLOCKS[name])
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "kafka_stream":
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module}.{alias.name}"


@pytest.mark.parametrize("name", BLOCKS)
def test_what_a_page_gives_a_stream_are_settings_that_it_has(name: str) -> None:
    for node in ast.walk(ast.parse(BLOCKS[name])):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "DirectStream":
            given = {keyword.arg for keyword in node.keywords if keyword.arg}
            assert given <= set(StreamSettings.model_fields)


def test_three_minutes_do_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the Kafka, which is one in memory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "shop.py").write_text(BLOCKS["start-1"])
    kafka = MemoryKafka({"orders": 1})
    for number in range(1, 11):
        kafka.produce("orders", json.dumps({"id": number, "customer": "ada", "amount": number}))
    try:
        stream = importlib.import_module("shop").stream
        assert isinstance(stream, DirectStream)
        for _ in range(2):
            stream.replace(kafka=kafka, assignment="static").run("latest")
    finally:
        sys.modules.pop("shop", None)
    engine = sa.create_engine("sqlite:///shop.db")
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*), sum(amount) FROM orders")).one() == (10, 55)
    engine.dispose()


def test_every_page_is_in_the_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text("utf-8")
    named = set(re.findall(r": ([\w/-]+\.md)$", menu, re.MULTILINE)) - {"index.md"}
    there = {page.relative_to(ROOT / "docs").as_posix() for page in PAGES if page.name != "README.md"}
    assert named == there
    assert yaml.safe_load(menu)["theme"]["font"] is False, "nothing is asked of others"
