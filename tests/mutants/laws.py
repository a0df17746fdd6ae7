"""Laws of the suite that a bug on purpose has to break: its own tests, called with what their fixtures give."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from kafka_stream.protocols import OffsetStore
from kafka_stream.testing import MemoryKafka, MemoryOffsetStore
from kafka_stream.testing.compare_and_set_contract import CompareAndSetContract
from kafka_stream.types import Phase
from tests.property import test_streams
from tests.property.worlds import FilesWorld
from tests.simulation import ResultsStore
from tests.sql_backend import SqlBackend
from tests.unit import test_loop, test_loop_ranges, test_loop_trusting, test_ownership, test_zookeeper_store
from tests.unit.sql_handlers import test_changed_offsets
from tests.unit.test_memory_store import MemoryBackend

Law = Callable[[], None]


class Stores:
    """A backend of the stores' contract, and what its fixtures open."""

    def __init__(self, backend: Any, stack: ExitStack) -> None:
        self.backend = backend
        self._stack = stack

    def opened(self) -> OffsetStore:
        """The store of one more process."""
        store: OffsetStore = self.backend.store()
        store.open()
        self._stack.callback(store.close)
        return store


@contextmanager
def _on_sqlite() -> Iterator[Stores]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        backend = SqlBackend(f"sqlite:///{Path(folder) / 'offsets.db'}")
        stack.callback(backend.engine.dispose)
        yield Stores(backend, stack)


@contextmanager
def _in_memory() -> Iterator[Stores]:
    with ExitStack() as stack:
        yield Stores(MemoryBackend(), stack)


def _of_stores(place: Callable[[], Any], name: str, *fixtures: str) -> None:
    """One test of the stores' contract."""
    with place() as stores:
        given = {"backend": stores.backend, "opened": stores.opened}
        if "store" in fixtures:
            given["store"] = stores.opened()
        getattr(CompareAndSetContract(), name)(**{fixture: given[fixture] for fixture in fixtures})


def on_sqlite(name: str, *fixtures: str) -> Law:
    """A test of the stores' contract, on SQLite."""
    return partial(_of_stores, _on_sqlite, name, *fixtures)


def in_memory(name: str, *fixtures: str) -> Law:
    """A test of the stores' contract, in memory."""
    return partial(_of_stores, _in_memory, name, *fixtures)


def _results() -> ResultsStore:
    return ResultsStore(MemoryOffsetStore())


def a_batch_in_flight_stops_where_its_topic_is_closed() -> None:
    """Of the store in ZooKeeper, on followers that lag."""
    backend = test_zookeeper_store.LaggingBackend()
    test_zookeeper_store.test_a_closed_topic_stops_its_owner_and_every_other(backend.store(), backend)


def offsets_that_were_changed_do_not_advance() -> None:
    """Of handlers on SQLite."""
    with _on_sqlite() as stores:
        test_changed_offsets.test_offsets_that_are_not_as_they_were_claimed_do_not_advance(
            stores.backend, test_changed_offsets.CHANGES["moved"]
        )


def a_process_that_dies_amid_its_files_loses_nothing() -> None:
    """Of whole streams: the first one is away when it has written one of two files, and dies."""
    records = [("produce", partition, 3) for partition in (0, 1)]
    dies = test_streams.Plan(
        before=records,
        meanwhile=[],
        settings={"start": "earliest", "assignment": "static"},
        bounded=True,
        die_at=None,
        prepare=None,
        prepare_fails_at=None,
        handler_fails_at=0,
        sink_is_away_at=None,
        fenced_at=None,
        lost_answers=[],
        store_is_away={},
    )
    test_streams._check([dies], 2, FilesWorld())


def a_lost_answer_is_settled() -> None:
    """Of the loop beside a store that compares nothing."""
    store = ResultsStore(test_loop_trusting.TrustingStore())
    test_loop_trusting.test_a_commit_whose_answer_is_lost_is_not_tried_again_before_it_is_known(store, ["after"])


def a_lost_partition_is_not_committed() -> None:
    """Of the loop beside a store that compares nothing."""
    store = ResultsStore(test_loop_trusting.TrustingStore())
    test_loop_trusting.test_a_batch_of_a_partition_that_was_lost_is_not_committed(store, Phase.AFTER_PREPARE)


def a_commit_up_to_the_takeover_counts() -> None:
    """Of taking over."""
    test_ownership.test_what_an_older_owner_commits_up_to_the_takeover_is_no_truncation()


def markers_at_the_end_are_progress() -> None:
    """Of bounded runs: retention may pass them before the next start."""
    test_loop.test_markers_at_a_bounded_end_are_committed(MemoryKafka({"orders": 2}), _results())


def markers_after_records_are_of_their_batch() -> None:
    """Of bounded runs."""
    test_loop.test_a_report_of_a_batch(MemoryKafka({"orders": 2}), _results())


def planned_ranges_are_repeated() -> None:
    """Of the loop with a sink that is idempotent by range."""
    law = test_loop_ranges.test_a_restart_repeats_exactly_the_planned_ranges_whatever_the_limits_are_now
    law(test_loop_ranges.World(), Phase.AFTER_WRITE)
