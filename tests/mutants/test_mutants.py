"""Each bug on purpose breaks a law of the suite, which says what is wrong; without the bug the law holds."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from kafka_stream import claims
from kafka_stream.engine.loop import Loop
from kafka_stream.engine.partitions.ownership import Ownership
from kafka_stream.engine.processing import BatchProcessor
from kafka_stream.engine.settlement import Settlement
from kafka_stream.offset_stores.sql import takeover
from kafka_stream.offset_stores.sql.statements import Statements
from kafka_stream.offset_stores.sql.transaction import SqlTransaction
from kafka_stream.offset_stores.zookeeper.transaction import ZooKeeperTransaction
from kafka_stream.source.buffer import BufferSnapshot, PartitionBuffer
from kafka_stream.source.inbox import Inbox
from tests.mutants import laws
from tests.mutants.laws import Law, in_memory, on_sqlite
from tests.mutants.mutants import Mutant
from tests.simulation import Endless


@dataclass(frozen=True)
class Case:
    """A bug, the law that it breaks, and what the law's failure says."""

    mutant: Mutant
    law: Law
    said: str


TWO_TAKEOVERS = ("test_of_two_takeovers_the_older_cannot_commit", "backend", "store", "opened")
OLDER_EPOCH = ("test_the_same_owner_at_an_older_epoch_is_refused_too", "store")
TAKEOVER = ("test_a_takeover_raises_the_epoch_and_says_what_is_stored", "store", "opened")
FROM_THERE = ("test_a_range_that_does_not_start_at_the_stored_offset_is_refused", "backend", "store")

COUNTED = "return claimed == len(self._claim.ranges)"
CLAIMING = "claimed = self._execute(self._statements.claim_planned if planned else self._statements.claim)"

READ_FIRST = """before = self._store.positions(self._stream)
    found = self._store.take_over(self._stream, self._owner, new, topic_ids)
    taken = {tp: replace(before[tp], owner_epoch=found[tp].owner_epoch) for tp in new}"""

RAISE = "connection.execute(access.statements.raise_epochs, values)"
READ = "found = access.read(connection, stream, ordered)"
BY_LAST_RECORD = "else offset_of(self._messages[-1]) + 1 if records else self.position"
COMMIT_FIRST = "transaction.advance(), transaction.commit(), write(transaction)"

CASES = [
    Case(
        Mutant("compare-and-set without the row count", SqlTransaction, "claim", ((COUNTED, "return True"),)),
        on_sqlite(*TWO_TAKEOVERS),
        "a stale owner was let in",
    ),
    Case(
        Mutant(
            "compare-and-set by whether any row matched", SqlTransaction, "claim", ((COUNTED, "return claimed > 0"),)
        ),
        on_sqlite(*TWO_TAKEOVERS),
        "a stale owner was let in",
    ),
    Case(
        Mutant(
            "offsets advanced without the row count",
            SqlTransaction,
            "_move",
            (("if moved != len(self._claim.ranges):", "if False:"),),
        ),
        laws.offsets_that_were_changed_do_not_advance,
        "offsets advanced, and not all of them",
    ),
    Case(
        Mutant(
            "errors that ZooKeeper's client returns are not looked at",
            ZooKeeperTransaction,
            "commit",
            (("(failure := failure_in(results)) is not None", "(failure := None) is not None"),),
        ),
        laws.a_batch_in_flight_stops_where_its_topic_is_closed,
        "DID NOT RAISE.*StreamClosed",
    ),
    Case(
        Mutant(
            "no comparison of the offset",
            Statements,
            "of",
            (('from_here = "o.next_offset = w.from_offset"', 'from_here = "1 = 1"'),),
        ),
        on_sqlite(*FROM_THERE),
        "a repeated or skipping range was let in",
    ),
    Case(
        Mutant("no owner epoch", Statements, "of", ((" AND o.owner_epoch = w.epoch", ""),)),
        on_sqlite(*OLDER_EPOCH),
        "a stale epoch was let in",
    ),
    Case(
        Mutant(
            "no owner epoch, in the words of all stores", claims, "_fenced", ((" and found.owner_epoch == epoch", ""),)
        ),
        in_memory(*OLDER_EPOCH),
        "a stale epoch was let in",
    ),
    Case(
        Mutant("claim missing", SqlTransaction, "claim", ((CLAIMING, "claimed = len(self._claim.ranges)"),)),
        on_sqlite(*TWO_TAKEOVERS),
        "a stale owner was let in",
    ),
    Case(
        Mutant(
            "epoch read before raised",
            takeover,
            "take_over",
            ((f"{RAISE}\n        {READ}\n", f"{READ}\n        {RAISE}\n"),),
        ),
        on_sqlite(*TAKEOVER),
        r"None.*Owner",
    ),
    Case(
        Mutant(
            "positions read before the epoch is raised",
            Ownership,
            "_taken_over",
            (
                (
                    "taken = dict(self._store.take_over(self._stream, self._owner, new, topic_ids)) if new else {}",
                    READ_FIRST,
                ),
            ),
        ),
        laws.a_commit_up_to_the_takeover_counts,
        "90.*110",
    ),
    Case(
        Mutant(
            "retry after an unknown commit",
            Settlement,
            "settle",
            (("committed = self._outcome(claim, unknown)", "committed = False"),),
        ),
        laws.a_lost_answer_is_settled,
        "lost, or repeated",
    ),
    Case(
        Mutant(
            "offsets before results",
            BatchProcessor,
            "_in_transaction",
            (
                ("        transaction.advance()\n", ""),
                ("        transaction.commit()\n", ""),
                ("        write(transaction)\n", f"        {COMMIT_FIRST}\n"),
            ),
        ),
        laws.a_process_that_dies_amid_its_files_loses_nothing,
        "Right contains 3 more items",
    ),
    Case(
        Mutant(
            "committing on lost",
            Inbox,
            "is_revoking",
            (
                (
                    "return not self._owned.issuperset(partitions) or not self._unreleased.isdisjoint(partitions)",
                    "return False",
                ),
            ),
        ),
        laws.a_lost_partition_is_not_committed,
        "lost, or repeated",
    ),
    Case(
        Mutant(
            "last offset + 1 instead of position",
            PartitionBuffer,
            "advance",
            (("self.position = offset\n    return True", "return False"),),
        ),
        laws.markers_at_the_end_are_progress,
        "BoundNotReached",
    ),
    Case(
        Mutant(
            "last offset + 1 at the end of a range",
            BufferSnapshot,
            "until_after",
            (("else self.position", BY_LAST_RECORD),),
        ),
        laws.markers_after_records_are_of_their_batch,
        "too many values to unpack",
    ),
    Case(
        Mutant(
            "plan not logged before a write that is idempotent by range",
            Loop,
            "_plan_kind",
            (
                (
                    "return PlanKind.RANGE if repeats or (self._ownership.plans_ranges and len(batch)) else",
                    "return PlanKind.TRANSACTION if True else",
                ),
            ),
        ),
        laws.planned_ranges_are_repeated,
        "until_offset=15",
    ),
    Case(
        Mutant(
            "plan kept in memory alone",
            Ownership,
            "plan",
            (("    self._store.plan(claim)\n", ""),),
        ),
        laws.planned_ranges_are_repeated,
        "is not in memory any more",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.mutant.name)
def test_the_law_holds_without_the_bug_and_fails_with_it(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.law()
    with monkeypatch.context() as patch:
        case.mutant.apply(patch)
        said = _failure(case.law)
        assert re.search(case.said, said, re.DOTALL), said
    case.law()


def _failure(law: Callable[[], None]) -> str:
    """What a law says that fails."""
    try:
        law()
    except (Exception, pytest.fail.Exception, Endless) as failure:
        return f"{type(failure).__name__}: {failure} {failure.__cause__ or ''}"
    pytest.fail("the suite did not notice the bug")


def test_a_bug_whose_function_was_changed_is_to_be_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Mutant("gone", Settlement, "settle", (("no such text", ""),))
    with pytest.raises(AssertionError, match=r"gone: 'no such text' is 0 times in Settlement\.settle"):
        gone.apply(monkeypatch)
    with pytest.raises(AttributeError):
        Mutant("renamed", Settlement, "settled", ()).apply(monkeypatch)


def test_every_bug_of_the_list_is_there() -> None:
    wanted = {
        "compare-and-set without the row count",
        "no owner epoch",
        "retry after an unknown commit",
        "offsets before results",
        "committing on lost",
        "last offset + 1 instead of position",
        "plan not logged before a write that is idempotent by range",
        "epoch read before raised",
        "claim missing",
    }
    assert wanted <= {case.mutant.name for case in CASES}
