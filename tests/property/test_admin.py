"""Properties of the admin library: plans stay in the log, undo takes back a reset, an import is what was exported."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from kafka_stream.admin.actions import new_action
from kafka_stream.admin.history import undo
from kafka_stream.admin.offsets_file import ExportedPosition, parse_offsets, to_csv, to_json
from kafka_stream.admin.reset import Reset, execute_reset
from kafka_stream.admin.reset_plan import (
    Log,
    ShiftBy,
    Target,
    ToCurrent,
    ToEarliest,
    ToLatest,
    ToOffset,
    ToOffsets,
    ToTime,
    plan_reset,
)
from kafka_stream.admin.transfer import export_offsets, import_offsets
from kafka_stream.protocols import ActionKind, Change
from kafka_stream.testing import MemoryOffsetStore
from kafka_stream.types import MAX_OFFSET, PlanKind, StoredPosition, TopicPartition

offsets = st.one_of(st.integers(0, 50), st.integers(0, MAX_OFFSET))
partitions = st.builds(TopicPartition, st.sampled_from(["orders", "a.b-c_D", "x" * 249]), st.integers(0, 3))
topic_ids = st.sampled_from([None, "id-1", "id-2"])
leader_epochs = st.one_of(st.none(), st.integers(0, 9))
times = st.datetimes(timezones=st.just(UTC), min_value=datetime(2000, 1, 1))


@st.composite
def logs(draw: st.DrawFn) -> Log:
    earliest, last_stable, high_watermark = sorted(draw(st.tuples(offsets, offsets, offsets)))
    at_time = draw(st.one_of(st.none(), st.integers(earliest, high_watermark)))
    return Log(earliest, last_stable, high_watermark, at_time, draw(topic_ids))


@st.composite
def positions(draw: st.DrawFn) -> StoredPosition:
    next_offset = draw(offsets)
    planned_until, plan_kind = None, None
    if draw(st.booleans()):
        planned_until = draw(st.integers(next_offset, min(MAX_OFFSET, next_offset + 60)))
        plan_kind = draw(st.sampled_from(PlanKind))
    return StoredPosition(
        next_offset,
        owner_epoch=draw(st.integers(0, 9)),
        planned_until=planned_until,
        plan_kind=plan_kind,
        leader_epoch=draw(leader_epochs),
        topic_id=draw(topic_ids),
    )


@st.composite
def targets(draw: st.DrawFn) -> Target:
    wanted: st.SearchStrategy[Target] = st.one_of(
        st.sampled_from([ToEarliest(), ToLatest(), ToCurrent()]),
        st.builds(ToOffset, offsets),
        st.builds(ShiftBy, st.one_of(st.integers(-60, 60), st.integers(-MAX_OFFSET, MAX_OFFSET))),
        st.builds(ToTime, times),
        st.builds(ToOffsets, st.dictionaries(partitions, offsets)),
    )
    return draw(wanted)


worlds = st.tuples(
    targets(), st.dictionaries(partitions, logs(), min_size=1), st.dictionaries(partitions, positions(), min_size=1)
)


@given(worlds, st.booleans())
def test_a_plan_names_each_partition_once_and_never_leaves_the_log(
    world: tuple[Target, Mapping[TopicPartition, Log], Mapping[TopicPartition, StoredPosition]], discards: bool
) -> None:
    target, there, stored = world
    plan = plan_reset(target, there, stored, discardable=there if discards else ())
    assert [p.topic_partition for p in plan.partitions] == sorted(there)
    for planned in plan.partitions:
        log, before = there[planned.topic_partition], stored.get(planned.topic_partition)
        assert (planned.to_offset is None) == (planned.refusal is not None)
        assert planned.from_offset == (None if before is None else before.next_offset)
        assert planned.skipped == 0 or planned.repeated == 0
        assert 0 <= planned.skipped + planned.repeated <= log.high_watermark - log.earliest
        if planned.to_offset is None:
            continue
        if not (isinstance(target, ToCurrent) and before is not None):
            assert log.earliest <= planned.to_offset <= log.high_watermark
        if before is not None and before.planned_until is not None:
            if before.plan_kind is PlanKind.RANGE:
                assert discards
            else:
                assert not before.next_offset < planned.to_offset < before.planned_until


@given(worlds)
def test_undo_takes_back_a_reset(
    world: tuple[Target, Mapping[TopicPartition, Log], Mapping[TopicPartition, StoredPosition]],
) -> None:
    target, there, stored = world
    store = MemoryOffsetStore()
    for tp, position in stored.items():
        store.put("s", tp, StoredPosition(position.next_offset, position.owner_epoch, topic_id=position.topic_id))
    before = store.positions("s")
    reset = Reset("s", target, {tp: log for tp, log in there.items() if tp in stored})
    if reset.plan(before).refused or not reset.logs:
        return
    execute_reset(store, reset)
    undo(store, "s")
    after = store.positions("s")
    assert {tp: (p.next_offset, p.leader_epoch, p.topic_id) for tp, p in after.items()} == {
        tp: (p.next_offset, p.leader_epoch, p.topic_id) for tp, p in before.items()
    }
    assert all(after[tp].owner_epoch > before[tp].owner_epoch for tp in reset.logs)


exports = st.dictionaries(
    partitions,
    st.builds(ExportedPosition, offsets, leader_epochs, topic_ids, st.integers(0, 2**62)),
    min_size=1,
)


@given(exports)
def test_what_was_exported_is_read_again(exported: dict[TopicPartition, ExportedPosition]) -> None:
    assert parse_offsets(to_json("s", exported), "s") == exported
    plain = {tp: position.next_offset for tp, position in exported.items()}
    assert {tp: p.next_offset for tp, p in parse_offsets(to_csv(plain), "s").items()} == plain
    grouped = "".join(f"s,{line}\n" for line in to_csv(plain).splitlines())
    assert {tp: p.next_offset for tp, p in parse_offsets(grouped, "s").items()} == plain


@given(exports, exports)
def test_an_import_of_an_export_changes_no_offset(
    there: dict[TopicPartition, ExportedPosition], between: dict[TopicPartition, ExportedPosition]
) -> None:
    store = MemoryOffsetStore()
    changes = [Change(tp, p.next_offset, p.leader_epoch, p.topic_id) for tp, p in there.items()]
    store.change("s", there, new_action(ActionKind.RESET), lambda _: changes)
    exported = export_offsets(store, "s")
    import_offsets(store, "s", {**exported, **{tp: p for tp, p in between.items() if tp in there}})
    import_offsets(store, "s", exported)
    found = store.positions("s")
    assert {tp: (p.next_offset, p.leader_epoch, p.topic_id) for tp, p in found.items()} == {
        tp: (p.next_offset, p.leader_epoch, p.topic_id) for tp, p in exported.items()
    }
