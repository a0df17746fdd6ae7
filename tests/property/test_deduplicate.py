"""What goes on is what a plain program lets through, whatever the batches, failures and restarts; on SQLite."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kafka_stream.sinks.sql.deduplication.hashing import encoded, key_hash, key_text
from tests.deduplicating import (
    PARTITIONS,
    Member,
    Records,
    Steps,
    any_times,
    cuts,
    forgetting_soon,
    nearly_ordered_times,
    passed,
    record_of,
    rows_of,
    run,
    unforgetting,
)

SETTINGS = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One database for all examples: each is a stream of its own."""
    return f"sqlite:///{tmp_path_factory.mktemp('clicks') / 'clicks.db'}"


@SETTINGS
@given(records=any_times(), steps=cuts())
def test_what_goes_on_is_what_a_plain_program_lets_through(url: str, records: Records, steps: Steps) -> None:
    with unforgetting():
        found, expected = run(url, records, steps)
    assert found == expected


@SETTINGS
@given(records=nearly_ordered_times(), steps=cuts(), least_step=st.integers(1, 3))
def test_nothing_that_counts_is_forgotten(url: str, records: Records, steps: Steps, least_step: int) -> None:
    with forgetting_soon(least_step):
        found, expected = run(url, records, steps)
    assert found == expected


HOUR_MS = 3_600_000


@pytest.mark.parametrize("was_idle", [False, True])
def test_what_a_partition_got_while_the_stream_was_down_is_waited_for(url: str, was_idle: bool) -> None:
    """The other one may be read first, to its end: it is hours ahead then."""
    first, second = PARTITIONS
    records = {
        first: [record_of(first, hour, f"f{hour}", hour * HOUR_MS) for hour in range(30)],
        second: [record_of(second, offset, "a", offset * 1_000) for offset in range(2)],
    }
    engine, table, stream = sa.create_engine(url), passed(uuid.uuid4().hex), uuid.uuid4().hex
    table.create(engine)
    before = Member(url, "before", table, "1 hour", stream=stream)
    before.process(before.batch(records, {first: 1, second: 1}))
    before.tick({second: 7200.0} if was_idle else {})
    before.close()
    after = Member(url, "after", table, "1 hour", stream=stream)
    with forgetting_soon(1):
        after.tick({})  # as after each takeover
        after.process(after.batch(records, {first: 20}))
        after.process(after.batch(records, {second: 1}))
        kept = _remembered(engine, stream)
        after.tick({second: 7200.0})
        after.process(after.batch(records, {first: 9}))
    with engine.connect() as connection:
        assert [row for row in rows_of(connection, table) if row[0] == second.partition] == [(second.partition, 0)]
    assert kept == 22
    assert _remembered(engine, stream) < kept
    after.close()


def _remembered(engine: sa.Engine, stream: str) -> int:
    """How many keys are."""
    with engine.connect() as connection:
        counted = sa.text("SELECT count(*) FROM kafka_stream_seen WHERE stream = :stream")
        return int(connection.execute(counted, {"stream": stream}).scalar_one())


SCALARS = st.one_of(
    st.text(max_size=4), st.binary(max_size=4), st.integers(), st.integers(-300, 300), st.booleans(), st.uuids()
)
ANY_KEY = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=6)


def typed(key: Any) -> Any:
    """In a form in which keys are equal if they are one."""
    return tuple(map(typed, key)) if isinstance(key, tuple) else (type(key), key)


@settings(max_examples=2_000, deadline=None)
@given(one=ANY_KEY, other=ANY_KEY)
def test_different_keys_are_different_bytes(one: Any, other: Any) -> None:
    is_same = typed(one) == typed(other) and isinstance(one, tuple) is isinstance(other, tuple)
    assert (encoded(one) == encoded(other)) is is_same
    assert (key_hash(one) == key_hash(other)) is is_same


@pytest.mark.parametrize(
    "keys",
    [
        [1, "1", b"1", True, (1,), ("1",), ((1,),)],
        [("a", "bc"), ("ab", "c"), ("abc",), "abc", ("a", ("b", "c")), (("a", "b"), "c"), ("a", "b", "c")],
        [0, False, "", b"", (), ((),), 256, -256, 128, -128, 2**64, "\0", uuid.UUID(int=0), b"\0" * 16],
        ["é", "e\u0301", "\udcc3", b"\xc3"],
    ],
)
def test_keys_that_look_alike_are_told_apart(keys: list[Any]) -> None:
    assert len(set(map(encoded, keys))) == len(keys)


@settings(max_examples=500, deadline=None)
@given(key=ANY_KEY)
def test_a_key_is_shown_in_one_line_that_databases_take(key: Any) -> None:
    text = key_text(key)
    assert len(text) <= 255
    assert text.isprintable()
    assert text.encode("utf-8", "ignore").decode() == text  # no half of a pair of surrogates
