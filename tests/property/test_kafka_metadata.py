"""Whatever a position is, its offset's metadata in Kafka keeps it."""

from __future__ import annotations

from datetime import UTC

from hypothesis import given
from hypothesis import strategies as st

from kafka_stream.offset_stores.kafka.metadata import MARKS, Stored, decode, encode
from kafka_stream.types import MAX_OFFSET, Owner, PlanKind, PositionState, StoredPosition, TopicPartition

TP = TopicPartition("orders", 3)

_texts = st.text(st.characters(codec="utf-8"), max_size=40)
_offsets = st.integers(0, MAX_OFFSET)
_plans = st.tuples(_offsets, st.sampled_from(PlanKind)) | st.just((None, None))
_states = st.tuples(st.just(PositionState.OPEN), st.none(), st.just(value=False)) | st.tuples(
    st.just(PositionState.CLOSED), st.none() | _texts, st.booleans()
)


@st.composite
def stored_values(draw: st.DrawFn) -> Stored:
    planned_until, plan_kind = draw(_plans)
    state, reason, deleted = draw(_states)
    owner = draw(st.none() | st.builds(Owner, _texts, _texts, st.none() | _texts))
    position = StoredPosition(
        draw(_offsets),
        draw(st.integers(0, 2**40)),
        owner,
        planned_until,
        plan_kind,
        draw(st.none() | st.integers(0, 2**31 - 1)),
        draw(st.none() | _texts),
        state,
        reason,
        draw(st.none() | st.datetimes(timezones=st.just(UTC))),
    )
    marks = tuple(draw(st.lists(st.from_regex(r"[0-9a-f]{8}", fullmatch=True), max_size=MARKS)))
    return Stored(position, draw(st.none() | _texts), draw(st.integers(0, 10_000)), deleted, marks)


@given(stored_values())
def test_what_is_encoded_is_decoded(stored: Stored) -> None:
    position = stored.position
    assert decode(TP, position.next_offset, position.leader_epoch, encode(stored)) == stored
