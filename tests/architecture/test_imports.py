"""Imports point one way, and importing the library does nothing."""

from __future__ import annotations

import ast
import graphlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

import grimp
import pytest

from tests.architecture.code import ROOT, SHIPPED, modules, name_of, tree

CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
SEEN_BY_STORES_AND_SINKS = {"arrow", "batch", "callables", "claims", "errors", "librdkafka", "protocols", "types"}
STORES_AND_SINKS = {"offset_stores", "sinks"}


def _lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = Path(sys.executable).with_name("lint-imports")
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"}
    return subprocess.run(
        [command, "--no-cache", "--no-logo"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_contracts_of_import_linter_hold() -> None:
    done = _lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


BREACHES = {
    "kafka_stream/types.py": "kafka_stream.errors",
    "kafka_stream/batch.py": "kafka_stream.protocols",
    "kafka_stream/protocols/sinks.py": "kafka_stream.settings",
    "kafka_stream/source/waker.py": "kafka_stream.source.cluster",
    "kafka_stream/source/consumer/partition_states.py": "kafka_stream.source.consumer.rebalancing",
    "kafka_stream/source/buffer.py": "kafka_stream.engine.retry",
    "kafka_stream/engine/retry.py": "kafka_stream.engine.loop",
    "kafka_stream/engine/bounds.py": "kafka_stream.stream",
    "kafka_stream/stream.py": "kafka_stream.admin.reset",
    "kafka_stream/admin/reset.py": "kafka_stream.cli.output",
    "kafka_stream/admin/history.py": "psycopg",
    "sinks/kafka.py": "kafka_stream.progress",
    "offset_stores/sql/store.py": "kafka_stream.source.renewed",
}


def test_each_contract_of_import_linter_can_be_broken(tmp_path: Path) -> None:
    """What may not import, does, in a copy; and a module that has no floor is there."""
    for folder in SHIPPED:
        shutil.copytree(ROOT / folder, tmp_path / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for module, imported in BREACHES.items():
        path = tmp_path / module
        path.write_text(f"{path.read_text()}\nimport {imported}\n")
    (tmp_path / "kafka_stream" / "homeless.py").touch()
    (tmp_path / "kafka_stream" / "engine" / "roomless.py").touch()
    done = _lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{len(CONTRACTS)} broken" in done.stdout
    told = [f"{name_of(ROOT / module)} -> {imported}" for module, imported in BREACHES.items()]
    assert [breach for breach in told if breach not in done.stdout] == []
    assert "kafka_stream.homeless" in done.stdout
    assert "kafka_stream.engine.roomless" in done.stdout


def test_the_floors_are_those_of_the_design() -> None:
    floors = [name for floor in CONTRACTS[0]["layers"] for name in floor.split(" | ")]
    assert CONTRACTS[0]["exhaustive"]
    chain = ["cli", "admin", "stream", "engine", "source", "protocols", "types"]
    assert [name for name in floors if name in chain] == chain


def test_a_contract_about_some_forgets_none_of_the_others() -> None:
    rooms = {name_of(path).split(".")[1] for path in modules("kafka_stream") if name_of(path) != "kafka_stream"}
    by_name = {contract["name"]: contract for contract in CONTRACTS}
    ports = by_name["stores and sinks see ports and values only"]
    drivers = by_name["nothing but stores imports a database's driver"]
    assert set(ports["forbidden_modules"]) == {f"kafka_stream.{it}" for it in rooms - SEEN_BY_STORES_AND_SINKS}
    assert {f"kafka_stream.{it}" for it in STORES_AND_SINKS} == set(ports["source_modules"])
    assert set(drivers["source_modules"]) == {f"kafka_stream.{it}" for it in rooms}
    assert {line.split(" -> ")[1] for line in ports["ignore_imports"]} == {
        "kafka_stream.source.asking.coordinators",
        "kafka_stream.source.client_log",
        "kafka_stream.source.connection",
        "kafka_stream.source.kafka_errors",
        "kafka_stream.source.renewed",
        "kafka_stream.source.security.*",
    }


def test_there_are_no_import_cycles_not_even_for_types() -> None:
    graph = grimp.build_graph("kafka_stream", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(_in_order(imports)) >= len(modules(*SHIPPED))


def test_an_import_cycle_would_be_seen() -> None:
    with pytest.raises(graphlib.CycleError, match="cycle"):
        _in_order({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})


def _in_order(imports: Mapping[str, Iterable[str]]) -> list[str]:
    return list(graphlib.TopologicalSorter(imports).static_order())  # raises CycleError, naming the cycle


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


def test_what_prints_or_configures_logging_would_be_seen(tmp_path: Path) -> None:
    loud = tmp_path / "loud.py"
    loud.write_text("import logging, sys\nprint(1)\nlogging.basicConfig()\nsys.stderr.write('x')\n")
    assert [call.rsplit(":", 1)[1] for call in _loud_calls(loud)] == [
        "2 calls print",
        "3 calls basicConfig",
        "4 uses sys.stderr",
    ]
