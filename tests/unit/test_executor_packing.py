"""Work on its way to workers: user code goes by reference, and what cannot go there is named."""

from __future__ import annotations

import functools
import logging
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from kafka_stream.batch import Batch
from kafka_stream.errors import ConfigurationError
from kafka_stream.executors.packing import dumped, packed, packed_beside_script, unpacked
from kafka_stream.protocols import PositionLost
from kafka_stream.protocols.executors import PositionGone
from kafka_stream.types import TopicPartition
from tests import executor_work
from tests.executor_work import Keeping, Loaded, work_of


def test_work_arrives_as_it_was() -> None:
    sent = work_of(executor_work.values, kafka={"bootstrap.servers": "a:1", "sasl.password": "hunter2"}, sinks=2)
    arrived = unpacked(packed(sent))
    assert arrived.prepare is executor_work.values
    assert (arrived.stream, arrived.kafka, arrived.by_range) == (sent.stream, sent.kafka, (False, False))
    assert [type(sink) for sink in arrived.sinks] == [Keeping, Keeping]
    assert arrived.piece_bytes == sent.piece_bytes


def test_what_a_function_keeps_stays_where_another_part_changes() -> None:
    loaded = Loaded()
    first = unpacked(packed(work_of(loaded)))
    second = unpacked(packed(work_of(loaded, sinks=3)))
    assert first.prepare is second.prepare is not loaded
    assert len(second.sinks) == 3


class Holding:
    def __init__(self, held: Any) -> None:
        self.held = held

    def prepare(self, prepared: Any) -> Any:
        raise NotImplementedError


def _inner() -> Any:
    def inside(batch: Batch) -> None:
        raise NotImplementedError

    return inside


@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        (lambda batch: batch, r"test_executor_packing:<lambda> is a lambda, and nobody can import it"),
        (_inner(), r"test_executor_packing:_inner\.<locals>\.inside is defined inside a function"),
        (functools.partial(print, lambda: None), r"<lambda> is a lambda"),
        (Holding(_inner()).prepare, r"_inner\.<locals>\.inside is defined inside a function"),
        (Holding(threading.Lock()).prepare, r"cannot pickle '_thread\.lock' object; keep what belongs to this process"),
    ],
    ids=["lambda", "closure", "in-partial", "in-object", "lock"],
)
def test_what_cannot_be_sent_is_named(prepare: Any, says: str) -> None:
    for pack in (packed, packed_beside_script):
        with pytest.raises(
            ConfigurationError, match=rf"^prepare of stream 'orders' cannot be sent to workers: .*{says}"
        ):
            pack(work_of(prepare))


def test_a_sink_that_cannot_be_sent_is_named() -> None:
    work = work_of(None)
    work.sinks[0].rows = lambda batch: batch
    with pytest.raises(
        ConfigurationError, match=r"^sink Keeping of stream 'orders' cannot be sent to workers: .*lambda"
    ):
        packed(work)


def test_a_setting_that_cannot_be_sent_is_named_and_not_shown() -> None:
    for value in (lambda error: "hunter2", Holding(threading.Lock())):
        with pytest.raises(ConfigurationError, match=r"^kafka setting 'oauth_cb' of stream 'orders' cannot") as refused:
            packed(work_of(None, kafka={"sasl.password": "hunter2", "oauth_cb": value}))
        assert "hunter2" not in str(refused.value) + repr(refused.value)
        assert "hunter2" not in repr(work_of(None, kafka={"sasl.password": "hunter2"}))


def test_settings_that_are_functions_of_a_module_and_loggers_can_be_sent() -> None:
    settings = {"oauth_cb": executor_work.values, "logger": logging.getLogger("orders")}
    assert unpacked(packed(work_of(None, kafka=settings))).kafka == settings


SCRIPT = """
import sys
from kafka_stream.errors import ConfigurationError
from kafka_stream.executors.packing import packed, packed_beside_script
from tests.executor_work import work_of

def prepare(batch):
    return batch

try:
    packed(work_of(prepare))
except ConfigurationError as error:
    print(error)
try:
    packed_beside_script(work_of(prepare))
except ConfigurationError as error:
    print(error)
else:
    print("goes along")
"""


@pytest.mark.parametrize("is_file", [True, False])
def test_functions_of_a_script_go_to_processes_that_load_it_as_well(tmp_path: Path, is_file: bool) -> None:
    (tmp_path / "app.py").write_text(SCRIPT)
    given = [str(tmp_path / "app.py")] if is_file else ["-c", SCRIPT]
    said = subprocess.run(
        [sys.executable, *given],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    ).stdout.splitlines()
    assert "prepare is of __main__" in said[0]
    assert "put it into a module that workers can import, as module:name" in said[0]
    assert said[1] == ("goes along" if is_file else said[0])


def test_a_worker_without_the_application_says_so() -> None:
    content = packed(work_of(executor_work.values)).replace(b"tests.executor_work", b"tests.executor_wark")
    with pytest.raises(ConfigurationError, match=r"cannot load (prepare|a sink) of stream 'orders' .*executor_wark"):
        unpacked(content)


def test_results_that_cannot_be_sent_back_are_named_by_their_type() -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be sent back from a worker: _thread\.lock"):
        dumped([[{"a": [1, threading.Lock()]}]], "prepare of stream 'orders'")
    with pytest.raises(ConfigurationError, match=r"cannot be sent back from a worker: builtins\.generator"):
        dumped([[(n for n in range(3))]], "prepare of stream 'orders'")


def test_a_position_that_is_gone_arrives_with_its_facts() -> None:
    lost = PositionLost(TopicPartition("orders", 0), 7, truncated=True, reason="cut")
    arrived = pickle.loads(pickle.dumps(PositionGone("gone", lost=lost)))
    assert (type(arrived), str(arrived), arrived.lost) == (PositionGone, "gone", lost)
