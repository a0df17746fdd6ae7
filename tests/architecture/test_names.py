"""The public surface, and names that say what a thing is."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

import kafka_stream
from tests.architecture.code import ROOT, SHIPPED, functions, modules, name_of, texts, tree

PUBLIC = {
    "kafka_stream": {"DirectStream", "Batch", "OffsetRange", "TopicPartition", "Guarantee", "RecordError"},
    "kafka_stream.admin": {"GroupOffsetMirror"},
    "kafka_stream.testing": {"message", "batch_of", "MemoryKafka", "MemoryOffsetStore"},
    "kafka_stream.offset_stores.sql": {"SqlOffsetStore", "SqlTransaction", "define_tables"},
    "kafka_stream.offset_stores.zookeeper": {"ZooKeeperOffsetStore", "ZooKeeperTransaction"},
    "kafka_stream.sinks.files": {"FileSink"},
    "kafka_stream.sinks.sql": {"Deduplicate", "Delete", "SqlSink", "StateSink", "lookup"},
    "kafka_stream.sinks.zookeeper": {"ZooKeeperSink"},
}
LIBRARY = [name_of(path) for path in modules(*SHIPPED) if not name_of(path).startswith("kafka_stream.cli")]


@pytest.mark.parametrize("module", PUBLIC)
def test_the_names_of_the_design_are_there(module: str) -> None:
    exported = importlib.import_module(module)
    assert PUBLIC[module] <= set(exported.__all__)


def _exporting() -> list[ModuleType]:
    return [module for name in LIBRARY if hasattr(module := importlib.import_module(name), "__all__")]


def test_exported_names_are_sorted_and_exist() -> None:
    for module in _exporting():
        exported = list(module.__all__)
        assert exported == sorted(set(exported), key=_isort_order), module.__name__
        missing = [name for name in exported if not hasattr(module, name)]
        assert missing == [], module.__name__


def _isort_order(name: str) -> tuple[int, str]:
    """As ruff sorts ``__all__``: constants, classes, functions."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def test_every_package_says_what_it_exports() -> None:
    packages = {name for name in PUBLIC if name in LIBRARY}
    assert packages <= {module.__name__ for module in _exporting()}


def _public_definitions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    found: list[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef] = []
    for node in tree(path).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            found.append(node)
            if isinstance(node, ast.ClassDef):
                found += [
                    member
                    for member in node.body
                    if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef) and not member.name.startswith("_")
                ]
    return found


def test_every_module_and_public_name_has_a_docstring() -> None:
    """A contract's tests are exempt: their names are sentences."""
    bare = []
    for path in modules(*SHIPPED):
        if ast.get_docstring(tree(path)) is None:
            bare.append(name_of(path))
        bare += [
            f"{name_of(path)}.{node.name}"
            for node in _public_definitions(path)
            if ast.get_docstring(node) is None and not _is_overload(node) and not node.name.startswith("test_")
        ]
    assert bare == []


def _is_overload(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    return any(ast.unparse(decorator).endswith("overload") for decorator in node.decorator_list)


def test_the_streams_methods_say_what_they_raise_and_in_which_unit() -> None:
    for name, member in inspect.getmembers(kafka_stream.DirectStream, inspect.isfunction):
        if not name.startswith("_"):
            assert inspect.getdoc(member), name
            for parameter in inspect.signature(member).parameters:
                assert not parameter.endswith(("timeout", "duration", "interval", "delay")), (
                    f"{name}({parameter}) in …?"
                )


def test_durations_and_sizes_name_their_unit() -> None:
    unitless = re.compile(r"(^|_)(timeout|duration|interval|delay|ttl|elapsed)$")
    found = [
        f"{name_of(path)}.{function.name}({argument.arg})"
        for path in modules(*SHIPPED)
        for function in functions(path)
        for argument in [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        if unitless.search(argument.arg)
    ]
    assert found == []


def test_modules_are_nouns_of_the_field() -> None:
    vague = {"base", "common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}
    everything = modules("kafka_stream", "offset_stores", "sinks", "examples", "tests", "integration_tests")
    assert [str(path) for path in everything if vague & {path.stem.strip("_"), *path.parent.parts[-2:]}] == []


def test_no_name_is_mangled() -> None:
    mangled = re.compile(r"self\.__[a-z]\w*[a-z]\b(?!__)")
    assert [str(path) for path in modules(*SHIPPED) if mangled.search(path.read_text())] == []


# What a file of the project may point to: everywhere else it would be somebody's machine, or somebody's network.
_HOME = re.compile(r"(?<![\w.$~}])/(home|root|Users|work|workspace|mnt)/[\w.-]+")
_URL = re.compile(r"\bhttps?://(?:[^/\s@\"']+@)?([A-Za-z0-9._-]+)")
_HOSTS = re.compile(
    r"^(127\.0\.0\.1|localhost|0\.0\.0\.0|host|x|[a-z]+"  # services of a compose file, placeholders
    r"|(.*\.)?(example|invalid|test|local)"
    r"|(.*\.)?(example\.(com|org)|apache\.org|dask\.org|docker\.com|github\.com|python\.org|pypi\.org|readthedocs\.io"
    r"|postgresql\.org|sqlalchemy\.org|confluent\.io|keepachangelog\.com|semver\.org|w3\.org|conventionalcommits\.org))$"
)


def test_no_file_names_a_machine_or_a_registry() -> None:
    found = []
    for path, text in texts():
        if path == Path(__file__):
            continue
        where = path.relative_to(ROOT)
        found += [f"{where}: {match[0]}" for match in _HOME.finditer(text)]
        found += [f"{where}: {match[0]}" for match in _URL.finditer(text) if not _HOSTS.match(match[1])]
        found += [f"{where}: {line}" for line in text.splitlines() if re.match(r"\s*(--)?(extra-)?index-url\b", line)]
    assert found == []
