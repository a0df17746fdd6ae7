"""No question to a group's coordinator is given up by librdkafka: ``source/asking/coordinators.py`` says why."""

from __future__ import annotations

import ast

from tests.architecture.code import SHIPPED, modules, tree

TO_COORDINATORS = {
    "alter_consumer_group_offsets",
    "delete_consumer_group_offsets",
    "delete_consumer_groups",
    "describe_consumer_groups",
    "describe_transactions",
    "list_consumer_group_offsets",
}


def test_each_is_given_all_the_time_that_librdkafka_takes() -> None:
    calls = [
        (path, node)
        for path in modules(*SHIPPED)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in TO_COORDINATORS
    ]
    assert calls, "none is found: this test looks for the wrong names"
    for path, call in calls:
        timeouts = {ast.unparse(each.value) for each in call.keywords if each.arg == "request_timeout"}
        assert timeouts <= {"REQUEST_S", "coordinators.REQUEST_S"} and timeouts, f"{path}:{call.lineno}"
