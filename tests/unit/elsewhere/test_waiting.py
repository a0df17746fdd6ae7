"""What waits of workers' results: counted as it comes, and let go of, whatever becomes of the tasks."""

from __future__ import annotations

from concurrent.futures import Future

from hypothesis import given
from hypothesis import strategies as st

from kafka_stream.engine.elsewhere.waiting import ResultsWaiting
from kafka_stream.errors import WorkerLost
from kafka_stream.protocols import Outcome

_STEPS = st.lists(st.tuples(st.integers(0, 7), st.sampled_from(["comes", "fails", "is cancelled", "is let go of"])))


def outcome(size: int) -> Outcome:
    return Outcome([1], [1], [None], bytes(size), "w", 0.0, 0.0)


@given(st.lists(st.integers(0, 1_000), min_size=8, max_size=8), _STEPS)
def test_what_waits_is_what_has_come_and_was_not_let_go_of(sizes: list[int], steps: list[tuple[int, str]]) -> None:
    waiting = ResultsWaiting()
    tasks: list[Future[Outcome]] = [Future() for _ in sizes]
    for task in tasks:
        waiting.expect(task)
    come, gone = set[int](), set[int]()
    for number, step in steps:
        task = tasks[number]
        if step == "is let go of":
            waiting.let_go(task)
            gone.add(number)
        elif task.done():
            continue
        elif step == "comes":
            task.set_result(outcome(sizes[number]))
            come.add(number)
        elif step == "fails":
            task.set_exception(WorkerLost("gone"))
        else:
            task.cancel()
        assert waiting.bytes == sum(sizes[each] for each in come - gone)
