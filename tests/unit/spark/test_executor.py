"""``SparkExecutor`` without pyspark: what is refused when it is built, and what is missing when it is started."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from kafka_stream import DirectStream
from kafka_stream.errors import ConfigurationError, MissingExtra
from kafka_stream.executors import SparkExecutor
from kafka_stream.executors.named import executor_of
from kafka_stream.protocols.executors import DEFAULT_RESULT_BYTES, DEFAULT_TASK_TIMEOUT_S, Work

NO_SESSION: Any = object()
WORK = Work("orders", {"bootstrap.servers": "127.0.0.1:1"}, None, [], [], 1)


def test_its_limits_are_the_ports_unless_others_are_given() -> None:
    default = SparkExecutor(NO_SESSION)
    assert (default.task_timeout_s, default.max_result_bytes) == (DEFAULT_TASK_TIMEOUT_S, DEFAULT_RESULT_BYTES)
    given = SparkExecutor(NO_SESSION, task_timeout_s=5, max_result_bytes=7)
    assert (given.task_timeout_s, given.max_result_bytes) == (5, 7)


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"task_timeout_s": 0}, "task_timeout_s=0; give a number of seconds above 0"),
        ({"task_timeout_s": float("inf")}, "task_timeout_s=inf; give a number of seconds above 0"),
        ({"max_result_bytes": -1}, "max_result_bytes=-1; give 1 or more"),
    ],
)
def test_a_limit_that_is_not_positive_is_refused(limits: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^SparkExecutor has {told}$"):
        SparkExecutor(NO_SESSION, **limits)


def test_options_have_names_in_any_case() -> None:
    with pytest.raises(ConfigurationError, match="startingoffsets"):
        SparkExecutor(NO_SESSION, options={"startingOffsets": "latest"})


def test_without_pyspark_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspark", None)
    with pytest.raises(MissingExtra, match=r"kafka-stream\[spark\]"):
        SparkExecutor(NO_SESSION).start(WORK)


def test_spark_by_text_is_the_session_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspark", None)
    with pytest.raises(MissingExtra, match=r"kafka-stream\[spark\]"):
        executor_of("spark")


def test_a_stream_with_dead_letters_is_refused_when_it_is_built() -> None:
    given: dict[str, Any] = {
        "kafka": WORK.kafka,
        "store": "sqlite://",
        "prepare": lambda frame: frame,
        "sink": lambda prepared, transaction: None,
        "executor": SparkExecutor(NO_SESSION),
    }
    assert DirectStream(name="orders", topics=["orders"], **given).name == "orders"
    with pytest.raises(ConfigurationError, match="SparkExecutor prepares whole batches"):
        DirectStream(name="orders", topics=["orders"], on_error="dead-letter", **given)
