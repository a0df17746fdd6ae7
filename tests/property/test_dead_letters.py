"""Whole streams with records that fail: every good result once, every poison record set aside once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from kafka_stream import Batch, DeadLetters, DirectStream, ExponentialBackoff, RecordError
from kafka_stream.protocols import AFTER_ANOTHER
from kafka_stream.testing import MemoryKafka, MemoryOffsetStore
from kafka_stream.types import TopicPartition, Writes

Row = tuple[int, int]
STAGES = ("prepare", "prepare, named", "prepare, rejected", "sink", "sink, named", "write", "write, named", "rejected")


class Away(Exception):
    """A server that does not answer."""


@dataclass
class Work:
    """A fragile application: records whose place is in ``poison`` fail at that stage; some calls find a server away."""

    poison: dict[Any, str]
    outages: set[int] = field(default_factory=set)
    calls: int = 0

    def _check(self, messages: Sequence[Any], stage: str) -> None:
        self.calls += 1
        if self.calls in self.outages:
            raise Away
        for message in messages:
            found = self.poison.get((message.partition(), message.offset()))
            if found == stage:
                raise ValueError("a record that cannot be")
            if found == f"{stage}, named":
                raise RecordError.of(message, "it is known which")

    def prepare(self, batch: Batch) -> list[Any]:
        self._check(batch.messages, "prepare")
        for message in batch:
            if self.poison.get((message.partition(), message.offset())) == "prepare, rejected":
                batch.reject(message, "not wanted")
        gone = {(error.partition, error.offset) for error in batch.rejected}
        return [message for message in batch if (message.partition(), message.offset()) not in gone]

    def write(self, messages: Any, transaction: Any) -> None:
        for message in messages:
            transaction.rows.append((message.partition(), message.offset()))
        self._check(messages, "write")


class OtherSink:
    """A second one, which fails while it prepares, or rejects what the first one has written."""

    writes = Writes.THROUGH_TRANSACTION
    needs = None

    def __init__(self, work: Work) -> None:
        self.work = work

    def describe(self) -> str:
        return "the other sink"

    def prepare(self, messages: Any) -> Any:
        self.work._check(messages, "sink")
        return messages

    def write(self, messages: Any, transaction: Any) -> None:
        transaction.rows += [("other", message.partition(), message.offset()) for message in messages]


@st.composite
def works(draw: st.DrawFn) -> tuple[int, Work]:
    """How many records there are in two partitions, and what fails of them: never the very first one."""
    count = draw(st.integers(2, 60))
    places = st.tuples(st.integers(0, 1), st.integers(0, (count - 1) // 2))
    poison = draw(st.dictionaries(places, st.sampled_from([s for s in STAGES if s != "rejected"]), max_size=8))
    poison.pop((0, 0), None)
    return count, Work(poison, draw(st.sets(st.integers(1, 40), max_size=3)))


def run(kafka: MemoryKafka, store: MemoryOffsetStore, work: Work, **options: Any) -> None:
    """Over all that is there."""
    given_: dict[str, Any] = {
        "name": "s",
        "topics": ["orders"],
        "kafka": kafka,
        "store": store,
        "prepare": work.prepare,
        "sink": [work.write, OtherSink(work)],
        "assignment": "static",
        "on_error": "dead-letter",
        "dead_letters": DeadLetters(max_ratio=1.0, max_in_a_row=100),
        "retry": ExponentialBackoff(0.001, 0.001),
        "transient_errors": [Away],
    }
    DirectStream(**(given_ | options)).run(until="latest")


@settings(deadline=None, max_examples=150)
@example((4, Work({(1, 0): "prepare, rejected", (1, 1): "prepare"})), 4, True, 1, "")
@given(works(), st.integers(1, 60), st.booleans(), st.integers(1, 6), st.sampled_from(["", "before", "after"]))
def test_every_good_result_is_there_once_and_every_poison_record_set_aside_once(
    given_work: tuple[int, Work], batch_size: int, keep_order: bool, keys: int, cut: str
) -> None:
    count, work = given_work
    kafka, store = MemoryKafka({"orders": 2}), MemoryOffsetStore()
    for number in range(count):
        kafka.produce("orders", str(number), key=str(number % (2 * keys)), partition=number % 2)
    if cut == "before":
        store.cut_before_commit()
    elif cut == "after":
        store.cut_after_commit()
    limits = DeadLetters(max_ratio=1.0, max_in_a_row=100, keep_key_order=keep_order)
    run(kafka, store, work, dead_letters=limits, max_records_per_batch=batch_size)
    everything = [(number % 2, number // 2) for number in range(count)]
    waiting: set[tuple[int, int]] = set()
    bad, after = set(), set()
    for partition, offset in sorted(everything):
        key = (partition, (offset * 2 + partition) % (2 * keys))
        if keep_order and key in waiting:
            after.add((partition, offset))
        elif (partition, offset) in work.poison:
            bad.add((partition, offset))
            waiting.add(key)
    good = [record for record in sorted(everything) if record not in bad | after]
    letters = {(one.id.partition, one.id.offset): one for one in store.letters("s")}
    assert letters.keys() == bad | after
    waits = {record for record, one in letters.items() if one.error.type == AFTER_ANOTHER}
    assert after - work.poison.keys() <= waits <= after, "one that fails itself, and waits too, may say either"
    assert {one.attempts for one in letters.values()} <= {1}
    for partition in (0, 1):
        assert [row for row in store.rows if row[0] == partition] == [row for row in good if row[0] == partition]
        others = [row[1:] for row in store.rows if row[0] == "other" and row[1] == partition]
        assert others == [row for row in good if row[0] == partition]
    ends = {TopicPartition("orders", p): sum(record[0] == p for record in everything) for p in (0, 1)}
    assert {tp: position.next_offset for tp, position in store.positions("s").items()} == ends
