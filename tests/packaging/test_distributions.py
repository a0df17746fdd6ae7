"""What is in the wheel and in the sdist."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

from kafka_stream import __version__
from tests.architecture.code import NOT_OURS, ROOT, SHIPPED
from tests.installed import Built

INFO = f"kafka_stream-{__version__}.dist-info"


def _contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_owns_one_name(built: Built) -> None:
    assert {name.split("/")[0] for name in _contents(built.wheel)} == {"kafka_stream", INFO}


def test_the_wheel_has_every_module_and_says_that_it_is_typed(built: Built) -> None:
    files = [f for folder in SHIPPED for f in (ROOT / folder).rglob("*.py") if not NOT_OURS & set(f.parts)]
    inside = [f.relative_to(ROOT) for f in files]
    wanted = {str(f if f.parts[0] == "kafka_stream" else Path("kafka_stream", f)) for f in inside}
    assert len(wanted) > 100
    found = {name for name in _contents(built.wheel) if not name.startswith(INFO)}
    page = {f"kafka_stream/observe/page/{name}" for name in ("login.html", "page.css", "page.html")}
    assert found == wanted | page | {"kafka_stream/py.typed"}


def test_the_sdist_makes_the_wheel_that_the_tree_makes(built: Built) -> None:
    assert _contents(built.wheel) == _contents(built.wheel_from_tree)


def test_the_sdist_is_without_links_and_has_nothing_twice(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        members = archive.getmembers()
    assert [member.name for member in members if not member.isfile() and not member.isdir()] == []
    top = {member.name.split("/")[1] for member in members if "/" in member.name}
    assert {"kafka_stream", "pyproject.toml", "README.md", "LICENSE"} <= top
    assert top.isdisjoint({"sinks", "offset_stores", "src", ".ci"})
