"""State is what a plain program has: through cuts of batches, rollbacks, rescues, takeovers and changes of code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kafka_stream.offset_stores.sql import SqlOffsetStore
from tests.state_world import METADATA, PLACES, World

RECORDS = st.lists(
    st.tuples(st.integers(0, 1), st.tuples(st.sampled_from("ab"), st.integers(0, 8))), min_size=1, max_size=6
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("commit"), RECORDS),
        st.tuples(st.just("commit"), RECORDS),
        st.tuples(st.just("rescue"), RECORDS, st.lists(st.booleans(), min_size=1, max_size=3)),
        st.tuples(st.just("roll back"), RECORDS, st.booleans()),
        st.tuples(st.just("hand over"), st.sets(st.sampled_from(PLACES), min_size=1).map(sorted)),
        st.tuples(st.just("rewind"), st.sampled_from(PLACES)),
        st.tuples(st.just("new code")),
    ),
    min_size=4,
    max_size=16,
)


P0 = PLACES[0]
A = ("commit", [(0, ("a", 2))])
"""A batch of one record."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SqlOffsetStore, sa.Engine]]:
    url = f"sqlite:///{tmp_path_factory.mktemp('state')}/state.db"
    engine = sa.create_engine(url)
    METADATA.create_all(engine)
    store = SqlOffsetStore(url)
    store.open()
    yield store, engine
    store.close()
    engine.dispose()


@pytest.mark.parametrize("scope", ["key", "partition"])
@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS, cached_rows=st.sampled_from([0, 2, 100]))
@example(steps=[A, ("hand over", [P0]), A, ("hand over", [P0]), A], cached_rows=9)  # what the other has written
@example(steps=[A, ("hand over", [P0]), A, ("rewind", P0), ("hand over", [P0]), A], cached_rows=9)  # at that offset
@example(steps=[A, ("roll back", A[1], False), A], cached_rows=9)  # what was never there
@example(steps=[A, ("roll back", A[1], True), A], cached_rows=9)
@example(steps=[A, ("rescue", A[1], [False]), A], cached_rows=9)
@example(steps=[A, ("rescue", A[1] * 2, [True, False]), A], cached_rows=9)
def test_state_is_what_a_plain_program_has(
    place: tuple[SqlOffsetStore, sa.Engine], scope: str, steps: list[Any], cached_rows: int
) -> None:
    store, engine = place
    with engine.begin() as connection:
        for table in METADATA.sorted_tables:
            connection.execute(sa.delete(table))
    world = World(store, engine, scope, cached_rows)
    for what, *arguments in steps:
        if what in ("commit", "rescue"):
            world.commit(*arguments)
        elif what == "roll back":
            records, skips = arguments
            world.roll_back(records, skips=skips)
        elif what == "hand over":
            world.hand_over(*arguments)
        elif what == "rewind":
            world.rewind(*arguments)
        else:
            world.new_code()
        world.check()
