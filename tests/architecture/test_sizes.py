"""A function fits on a screen, a file holds one idea."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.architecture.code import ROOT, functions, modules

FILE_LINES = 500
FUNCTION_LINES = 70
PARAMETERS = 6
NAMED_PARAMETERS = 9

EVERYTHING = modules("kafka_stream", "offset_stores", "sinks", "examples", "tests", "integration_tests", "benchmarks")


def _where(path: Path, function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    return f"{path.relative_to(ROOT)}:{function.lineno} {function.name}"


def _by_position(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def test_there_is_something_to_measure() -> None:
    assert len(EVERYTHING) > 50


def test_files_hold_one_idea() -> None:
    lines = {str(path.relative_to(ROOT)): path.read_text().count("\n") for path in EVERYTHING}
    assert {path: count for path, count in lines.items() if count > FILE_LINES} == {}


def test_functions_fit_on_a_screen() -> None:
    found = []
    for path in EVERYTHING:
        for function in functions(path):
            assert function.end_lineno is not None
            if (lines := function.end_lineno - function.lineno + 1) > FUNCTION_LINES:
                found.append(f"{_where(path, function)}: {lines} lines")
    assert found == []


def test_parameters_are_few_and_many_only_by_name() -> None:
    """Fixtures of tests are not counted: nobody writes that call."""
    found = []
    for path in modules("kafka_stream", "offset_stores", "sinks", "examples"):
        for function in functions(path):
            positional = len(_by_position(function))
            if positional > PARAMETERS or positional + len(function.args.kwonlyargs) > NAMED_PARAMETERS:
                found.append(f"{_where(path, function)}: {positional} + {len(function.args.kwonlyargs)} parameters")
    assert found == []
