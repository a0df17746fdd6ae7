"""A function fits on a screen, a file holds one idea, a folder is looked through at a glance.

What is larger than it should be is named here, and names can only go: one that is no exception any more fails.
"""

from __future__ import annotations

import ast
import statistics
from collections import Counter
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path

from tests.architecture.code import ROOT, SHIPPED, functions, modules

MEDIAN_FUNCTION_LINES = 6
MOST_FUNCTIONS_LINES = 18
"""So long are nine of ten functions at most."""
FUNCTION_LINES = 40
FILE_LINES = 300
LONG_FILE_LINES = 500
MODULES_OF_A_FOLDER = 20
PARAMETERS = 6
NAMED_PARAMETERS = 9

LONG_FUNCTIONS = {
    (
        "integration_tests/test_administration.py: "
        "test_ten_resets_under_a_stream_into_another_database_leave_what_they_imply"
    ),
    "kafka_stream/cli/demo/command.py: demo",
    "kafka_stream/engine/loop.py: __init__",
    "offset_stores/sql/statements.py: of",
}
LONG_FILES = {
    "integration_tests/servers.py",
    "integration_tests/test_administration.py",
    "integration_tests/test_cli_offsets.py",
    "integration_tests/test_kafka_administration.py",
    "integration_tests/test_sql_copy_refusals.py",
    "integration_tests/test_sql_store_mariadb.py",
    "integration_tests/test_sql_store_mariadb_refusals.py",
    "integration_tests/test_sql_store_postgres.py",
    "integration_tests/test_stream.py",
    "integration_tests/test_zookeeper_administration.py",
    "integration_tests/test_zookeeper_sessions.py",
    "integration_tests/test_zookeeper_store.py",
    "kafka_stream/engine/loop.py",
    "kafka_stream/errors.py",
    "kafka_stream/source/inbox.py",
    "kafka_stream/testing/administration_contract.py",
    "kafka_stream/testing/dead_letter_contract.py",
    "kafka_stream/testing/memory/store.py",
    "kafka_stream/testing/source_contract.py",
    "kafka_stream/testing/store_contract.py",
    "offset_stores/kafka/administration.py",
    "offset_stores/kafka/tenure.py",
    "offset_stores/zookeeper/transaction.py",
    "tests/property/test_owners.py",
    "tests/unit/test_cli.py",
    "tests/unit/test_cli_offsets.py",
    "tests/unit/test_demo.py",
    "tests/unit/test_examples.py",
    "tests/unit/test_file_sink.py",
    "tests/unit/test_loop.py",
    "tests/unit/test_loop_ahead.py",
    "tests/unit/test_loop_recovery.py",
    "tests/unit/test_ownership.py",
    "tests/unit/test_settings.py",
    "tests/unit/test_sql_sink.py",
    "tests/unit/test_sql_store_sqlite.py",
    "tests/unit/test_stream.py",
    "tests/unit/test_zookeeper_administration.py",
    "tests/unit/test_zookeeper_store.py",
}

WRITTEN = (*SHIPPED, "examples", "tests", "integration_tests", "benchmarks")
EVERYTHING = modules(*WRITTEN)


def _where(path: Path, function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    return f"{path.relative_to(ROOT)}:{function.lineno} {function.name}"


def _by_position(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def test_there_is_something_to_measure() -> None:
    assert len(EVERYTHING) > 50


def _beyond(sizes: Mapping[str, int], limit: int, exceptions: AbstractSet[str]) -> list[str]:
    """What is too large and not named, and what is named and not too large any more (or gone)."""
    large = {name for name, size in sizes.items() if size > limit}
    return [
        *(f"{name}: {sizes[name]} lines, where {limit} are the most" for name in sorted(large - exceptions)),
        *(f"{name} is no exception any more: take its name off the list" for name in sorted(exceptions - large)),
    ]


def _lines_of_files() -> dict[str, int]:
    return {str(path.relative_to(ROOT)): path.read_text().count("\n") for path in EVERYTHING}


def _lines_of_functions(*folders: str) -> dict[str, int]:
    """By file and name; of several that share one, the longest."""
    found: dict[str, int] = {}
    for path in modules(*folders):
        for function in functions(path):
            name = f"{path.relative_to(ROOT)}: {function.name}"
            found[name] = max(found.get(name, 0), _lines(function))
    return found


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1


def test_files_hold_one_idea() -> None:
    assert _beyond(_lines_of_files(), FILE_LINES, LONG_FILES) == []


def test_no_file_is_longer_than_the_longest_may_be() -> None:
    assert _beyond(_lines_of_files(), LONG_FILE_LINES, set()) == []


def test_functions_fit_on_a_screen() -> None:
    assert _beyond(_lines_of_functions(*WRITTEN), FUNCTION_LINES, LONG_FUNCTIONS) == []


def test_most_functions_are_short() -> None:
    lines = [_lines(function) for path in modules(*SHIPPED) for function in functions(path)]
    assert statistics.median(lines) <= MEDIAN_FUNCTION_LINES
    longer = {name: size for name, size in _lines_of_functions(*SHIPPED).items() if size > MOST_FUNCTIONS_LINES}
    longest = sorted(longer, key=lambda name: -longer[name])[:10]
    share = sum(size > MOST_FUNCTIONS_LINES for size in lines) / len(lines)
    assert share <= 0.1, f"{share:.1%} of all functions are longer than {MOST_FUNCTIONS_LINES} lines, such as {longest}"


def test_folders_hold_few_modules() -> None:
    folders = Counter(str(path.parent.relative_to(ROOT)) for path in modules(*SHIPPED))
    assert {folder: count for folder, count in folders.items() if count > MODULES_OF_A_FOLDER} == {}


def test_an_exception_is_named_as_long_as_it_is_one() -> None:
    sizes = {"long": 41, "named": 41, "short": 40, "mended": 40}
    assert _beyond(sizes, 40, {"named", "mended", "gone"}) == [
        "long: 41 lines, where 40 are the most",
        "gone is no exception any more: take its name off the list",
        "mended is no exception any more: take its name off the list",
    ]


def test_parameters_are_few_and_many_only_by_name() -> None:
    """Fixtures of tests are not counted: nobody writes that call."""
    found = []
    for path in modules("kafka_stream", "offset_stores", "sinks", "examples"):
        for function in functions(path):
            positional = len(_by_position(function))
            if positional > PARAMETERS or positional + len(function.args.kwonlyargs) > NAMED_PARAMETERS:
                found.append(f"{_where(path, function)}: {positional} + {len(function.args.kwonlyargs)} parameters")
    assert found == []
