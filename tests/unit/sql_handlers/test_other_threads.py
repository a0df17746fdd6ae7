"""What ``prepare`` raises is looked at on its own thread, while the loop's gives the batch's connection back."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import exc

from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.testing.store_backend import OLDER, P0, STREAM, claim_of


def test_an_error_is_nobodys_where_the_connection_is_given_back_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqlOffsetStore(f"sqlite:///{tmp_path}/orders.db")
    store.open()
    store.initialise(STREAM, "orders", {0: 0}, None)
    positions = store.take_over(STREAM, OLDER, [P0], {})
    with store.begin(claim_of(OLDER, {P0: (0, 1)}, positions)) as transaction:

        def closed_meanwhile(database: object, connection: object) -> bool:
            raise exc.ResourceClosedError("This Connection is closed")

        monkeypatch.setattr(type(transaction._database), "is_lost", closed_meanwhile)
        assert store.classify(KeyError("price")) is None
        monkeypatch.undo()
    store.close()
