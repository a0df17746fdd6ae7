"""Imports point one way, and importing the library does nothing."""

from __future__ import annotations

import ast
import graphlib
import json
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

from tests.architecture.code import ROOT, SHIPPED, modules, name_of, tree


def test_the_contracts_of_import_linter_hold() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_are_no_import_cycles_not_even_for_types() -> None:
    graph = grimp.build_graph("kafka_stream", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    order = list(graphlib.TopologicalSorter(imports).static_order())  # raises CycleError, naming the cycle
    assert len(order) >= len(modules(*SHIPPED))


def _fresh(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )


def test_the_engine_imports_no_store_no_sink_and_no_driver() -> None:
    done = _fresh("import json, sys, kafka_stream; print(json.dumps(sorted(sys.modules)))")
    modules_imported = json.loads(done.stdout)
    assert not [
        name for name in modules_imported if name.startswith(("kafka_stream.offset_stores", "kafka_stream.sinks"))
    ]
    imported = {name.split(".")[0] for name in modules_imported}
    assert not imported & {"sqlalchemy", "sqlite3", "psycopg", "kazoo", "pymysql", "alembic"}
    assert not imported & {"typer", "rich"}, "nor what only the command line needs"
    assert "confluent_kafka" in imported


@pytest.mark.parametrize(
    "package", ["kafka_stream.offset_stores.sql", "kafka_stream.sinks.files", "kafka_stream.sinks.sql"]
)
def test_drivers_are_imported_only_where_they_are_used(package: str) -> None:
    done = _fresh(f"import json, sys, {package}; print(json.dumps(sorted(sys.modules)))")
    imported = {name.split(".")[0] for name in json.loads(done.stdout)}
    assert not imported & {"psycopg", "kazoo", "pymysql", "pyarrow", "alembic"}


def test_importing_prints_nothing_and_leaves_logging_and_signals_alone() -> None:
    done = _fresh(
        "import logging, signal, threading\n"
        "before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]\n"
        "import kafka_stream, kafka_stream.testing, kafka_stream.offset_stores.sql\n"
        "import kafka_stream.sinks.files, kafka_stream.sinks.sql\n"
        "ours = [logging.getLogger(n) for n in logging.root.manager.loggerDict if n.split('.')[0] == 'kafka_stream']\n"
        "assert not logging.root.handlers and logging.root.level == logging.WARNING\n"
        "assert all(not it.handlers and it.level == logging.NOTSET and it.propagate for it in ours)\n"
        "assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before\n"
        "assert threading.active_count() == 1\n"
    )
    assert (done.stdout, done.stderr) == ("", "")


_LOUD = {"basicConfig", "dictConfig", "fileConfig", "addHandler", "setLevel", "captureWarnings"}


def _loud_calls(path: Path) -> list[str]:
    found = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in {"print", "input"}:
                found.append(f"{path}:{node.lineno} calls {node.func.id}")
            if isinstance(node.func, ast.Attribute) and node.func.attr in _LOUD:
                found.append(f"{path}:{node.lineno} calls {node.func.attr}")
        if isinstance(node, ast.Attribute) and node.attr in {"stdout", "stderr"} and ast.unparse(node.value) == "sys":
            found.append(f"{path}:{node.lineno} uses sys.{node.attr}")
    return found


def test_the_library_prints_nothing_and_configures_no_logging() -> None:
    library = [path for path in modules(*SHIPPED) if not name_of(path).startswith("kafka_stream.cli")]
    assert [call for path in library for call in _loud_calls(path)] == []
