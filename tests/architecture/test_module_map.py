"""``docs/design.md`` says where things are, and every path that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

from tests.architecture.code import ROOT, SHIPPED
from tests.architecture.module_map import BEGIN, COMMAND, END, PAGE, drawn, kept, redrawn, rooms

TEXT = PAGE.read_text()
_ROOM = re.compile(r"^\*\*`(.+)/`\*\* \S", re.MULTILINE)
_MODULE = re.compile(r"^\| `(\w+\.py)` \| \S", re.MULTILINE)
_NAMED = re.compile(r"`((?:[\w-]+/)*(?:[\w-]+\.py|[\w-]+/))`")


def _on_the_page() -> list[str]:
    """What a reader finds in the map: read from the page, not from what draws it."""
    _, *parts = _ROOM.split(kept(TEXT))
    return [
        f"{room}/{name}" for room, rows in zip(parts[::2], parts[1::2], strict=True) for name in _MODULE.findall(rows)
    ]


def _in_the_tree(folders: tuple[str, ...] = SHIPPED) -> list[str]:
    found = [path.relative_to(ROOT) for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sorted(str(path) for path in found if path.name != "__init__.py")


def test_every_module_has_one_row_in_the_map() -> None:
    assert sorted(_on_the_page()) == _in_the_tree(), f"the map in {PAGE.name} is not the tree: run {COMMAND}"


def test_the_map_is_what_the_modules_say_of_themselves() -> None:
    assert kept(TEXT) == drawn(rooms()), f"the map in {PAGE.name} is older than the modules' docstrings: run {COMMAND}"


def test_the_engine_and_the_source_come_first() -> None:
    first = ["kafka_stream/engine", "kafka_stream/engine/elsewhere", "kafka_stream/engine/partitions"]
    assert [str(room) for room in rooms()][:4] == [*first, "kafka_stream/source"]


def test_every_path_that_the_page_names_is_there() -> None:
    there = {path.relative_to(ROOT) for path in ROOT.glob("*/**/*") if not path.is_relative_to(ROOT / ".venv")}
    names = {str(Path(*path.parts[at:])) for path in there for at in range(len(path.parts))}
    named = set(_NAMED.findall(TEXT))
    assert len(named) > 100
    assert {name for name in named if name.rstrip("/") not in names} == set()


def test_a_module_that_is_new_is_drawn_into_its_room_and_nothing_else_changes(tmp_path: Path) -> None:
    new = tmp_path / "metrics.py"
    new.write_text('"""Figures | for ``Prometheus``.\n\nMore."""\n')
    found = {**rooms(), Path("kafka_stream/metrics"): [new]}
    page = redrawn(f"before\n{BEGIN}\nas it was\n{END}\nafter\n", found)
    assert page.startswith(f"before\n{BEGIN}\n") and page.endswith(f"{END}\nafter\n")
    assert "| `metrics.py` | Figures \\| for `Prometheus`. |" in page
    assert redrawn(page, found) == page
    assert "as it was" not in page
