"""A handler that changes the offsets' own rows in the batch's transaction: nothing is committed."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from kafka_stream.errors import OwnershipLost
from kafka_stream.testing.store_backend import OLDER, P0, P1, STREAM, claim_of, next_offsets
from tests.sql_backend import SqlBackend, opened_store, write

CHANGES = {
    "moved": 'UPDATE kafka_stream_offsets SET next_offset = 2 WHERE "partition" = 1',
    "removed": 'DELETE FROM kafka_stream_offsets WHERE "partition" = 1',
    "taken over": 'UPDATE kafka_stream_offsets SET owner_epoch = owner_epoch + 1 WHERE "partition" = 1',
    "unplanned": 'UPDATE kafka_stream_offsets SET planned_until = NULL, plan_kind = NULL WHERE "partition" = 1',
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_offsets_that_are_not_as_they_were_claimed_do_not_advance(backend: SqlBackend, change: str) -> None:
    """Each row is counted: the one that is as it was does not make up for the other."""
    with opened_store(backend) as store:
        taken = store.take_over(STREAM, OLDER, [P0, P1], {})
        claim = claim_of(OLDER, {P0: (0, 5), P1: (0, 5)}, taken)
        with (
            pytest.raises(OwnershipLost, match="were changed inside the batch's own transaction"),
            store.begin(claim) as transaction,
        ):
            write(transaction.connection, 1)
            transaction.connection.execute(text(change))
            transaction.advance()
            pytest.fail("offsets advanced, and not all of them")
        assert backend.results() == []
        assert next_offsets(store) == {P0: 0, P1: 0}
