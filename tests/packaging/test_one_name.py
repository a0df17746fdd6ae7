"""Installed in any way, the library has one name, and users' own ``sinks`` and ``offset_stores`` stay theirs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.installed import ROOT, Environment, shop, wheel_of_others

IMPORTS = """
import kafka_streams, offset_stores, shop, sinks
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.sinks.sql import SqlSink

print(sinks.OURS, offset_stores.OURS, kafka_streams.OURS, shop.stream.guarantee, sep=", ")
"""
OURS_AT_THE_TOP = ("sinks", "offset_stores", "src", "tests", "integration_tests", "benchmarks", "examples", "docs")
PAIRINGS = {
    "right": """
import sinks
from kafka_stream import DirectStream
from kafka_stream.offset_stores.sql import SqlOffsetStore
from shop import write

theirs: str = sinks.OURS
DirectStream(store=SqlOffsetStore("sqlite://"), sink=write)
""",
    "wrong": """
from kafka_stream import DirectStream
from kafka_stream.offset_stores.kafka import KafkaOffsetStore
from shop import write

DirectStream(store=KafkaOffsetStore(), sink=write)
""",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder, with the README's example and a right and a wrong pairing."""
    for name, text in PAIRINGS.items():
        (tmp_path / f"{name}.py").write_text(text)
    return shop(tmp_path)


def test_the_readmes_example_is_imported_beside_the_users_own_names(installed: Environment, folder: Path) -> None:
    printed = installed.run(folder, "python", "-c", IMPORTS)
    assert printed == "the user's sinks, the user's stores, the user's streams, exactly-once\n"


def test_the_readmes_example_is_found_by_the_command(installed: Environment, folder: Path) -> None:
    printed = installed.run(folder, "kafka-stream", "schema", "sql", "--app", "shop:stream")
    assert "CREATE TABLE kafka_stream_offsets (" in printed


def test_mypy_and_pyright_accept_what_is_right_and_refuse_what_is_wrong(
    installed: Environment, folder: Path, environments: Path
) -> None:
    files = ("shop.py", "right.py", "wrong.py")
    assert installed.mypy(folder, *files, cache=environments / "mypy") == [("wrong.py", 6, "arg-type")]
    assert installed.pyright(folder, *files) == [("wrong.py", 6, "reportArgumentType")]


def test_nothing_of_the_repository_is_importable_by_another_name(installed: Environment, tmp_path: Path) -> None:
    find = f"import importlib.util as u; print([n for n in {OURS_AT_THE_TOP} if u.find_spec(n)])"
    assert installed.run(tmp_path, "python", "-c", find) == "[]\n"


def test_it_and_a_distribution_that_owns_these_names_leave_each_other_alone(
    what: list[str], environments: Path, tmp_path: Path
) -> None:
    environment, acme = Environment(environments / tmp_path.name), str(wheel_of_others(tmp_path))
    bare = environment.files()
    environment.install(acme)
    theirs = environment.files()
    environment.install(*what)
    both = environment.files()
    assert both == both | theirs
    environment.uninstall("acme")
    assert environment.files() == {name: text for name, text in both.items() if name in bare or name not in theirs}
    environment.install(acme)
    assert environment.files() == both
    environment.uninstall("kafka-stream")
    assert environment.files() == theirs


def test_from_a_checkout_the_folders_names_lead_to_the_same_classes() -> None:
    same = "import sinks.sql, kafka_stream.sinks.sql as ours; print(sinks.sql.SqlSink is ours.SqlSink)"
    done = subprocess.run([sys.executable, "-c", same], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "True\n", done.stderr
