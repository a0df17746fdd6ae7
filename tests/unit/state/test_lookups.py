"""Look-ups: rows of other tables by their keys, and what a cached one may give."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kafka_stream.errors import ConfigurationError, ProcessingError
from kafka_stream.offset_stores.sql import SqlOffsetStore, SqlTransaction
from kafka_stream.sinks.sql import CachedLookup, lookup
from kafka_stream.testing.store_backend import OLDER, P0, STREAM, TOPIC, claim_of

METADATA = sa.MetaData()
PRODUCTS = sa.Table(
    "products",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("code", sa.String(20), unique=True),
    sa.Column("price", sa.Integer),
)
SHOPS = sa.Table(
    "shops",
    METADATA,
    sa.Column("city", sa.String(20), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
)
WITHOUT_KEY = sa.Table("without_key", METADATA, sa.Column("name", sa.String(20)))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlOffsetStore]:
    url = f"sqlite:///{tmp_path}/state.db"
    engine = sa.create_engine(url)
    METADATA.create_all(engine)
    with engine.begin() as connection:
        connection.execute(sa.insert(PRODUCTS), [{"id": i, "code": f"c{i}", "price": 10 * i} for i in (1, 2, 3)])
        connection.execute(sa.insert(SHOPS), [{"city": "Rome", "number": i} for i in (1, 2)])
    engine.dispose()
    found = SqlOffsetStore(url)
    found.open()
    found.initialise(STREAM, TOPIC, {0: 0}, None)
    found.take_over(STREAM, OLDER, [P0], {})
    yield found
    found.close()


@pytest.fixture
def transaction(store: SqlOffsetStore) -> Iterator[SqlTransaction]:
    with begun(store) as opened:
        yield opened


def begun(store: SqlOffsetStore) -> Any:
    offset = store.positions(STREAM)[P0].next_offset
    return store.begin(claim_of(OLDER, {P0: (offset, offset + 1)}, store.positions(STREAM)))


def test_rows_come_by_the_keys_that_were_asked_for(transaction: SqlTransaction) -> None:
    assert lookup(PRODUCTS, [3, 1, 3, 9, None], transaction) == {
        3: {"id": 3, "code": "c3", "price": 30},
        1: {"id": 1, "code": "c1", "price": 10},
    }
    assert lookup(PRODUCTS, {"c2"}, transaction, key=["code"], lock=True)["c2"]["id"] == 2
    assert lookup(SHOPS, [("Rome", 2), ("Rome", 7), ("Rome", None)], transaction) == {
        ("Rome", 2): {"city": "Rome", "number": 2}
    }
    assert lookup(PRODUCTS, [], transaction) == {}


@pytest.mark.parametrize(
    ("table", "keys", "words"),
    [
        (PRODUCTS, ["1"], r"its key \(str\) is of another type than the key \(id\)"),
        (SHOPS, ["Rome"], r"its key is a str, where the key is \(city, number\)"),
        (PRODUCTS, "12", "several keys, in a list or a set, not a str"),
    ],
)
def test_keys_of_another_type_are_refused(table: sa.Table, keys: Any, words: str, transaction: SqlTransaction) -> None:
    with pytest.raises(ProcessingError, match=words):
        lookup(table, keys, transaction)


def test_a_table_without_the_key_is_refused(transaction: SqlTransaction) -> None:
    with pytest.raises(ConfigurationError, match="it has no primary key"):
        lookup(WITHOUT_KEY, [1], transaction)
    with pytest.raises(ConfigurationError, match="neither its primary key nor a unique constraint"):
        CachedLookup(PRODUCTS, 5, key=["price"])
    with pytest.raises(ConfigurationError, match="is not above 0; use lookup"):
        CachedLookup(PRODUCTS, max_age_s=0)
    with pytest.raises(ConfigurationError, match="is not above 0; use lookup"):
        CachedLookup(PRODUCTS, 5, most_rows=0)


class Table:
    """A look-up with a clock of its own, and what it gives of a product."""

    def __init__(self, store: SqlOffsetStore, **options: Any) -> None:
        self.now = 0.0
        self.store = store
        self.products = CachedLookup(PRODUCTS, 10, clock=lambda: self.now, **options)

    def prices(self, *ids: int, commits: bool = True, sets: int | None = None, attempts: bool = False) -> list[Any]:
        """What a batch sees, after it has set these prices."""
        with begun(self.store) as transaction:
            if sets is not None:
                transaction.connection.execute(sa.update(PRODUCTS).values(price=sets))
            if attempts:
                with transaction.attempt():
                    found = self.products(ids, transaction)
            else:
                found = self.products(ids, transaction)
            if commits:
                transaction.advance()
                transaction.commit()
        return [found[it]["price"] if it in found else None for it in ids]


def test_a_row_is_read_again_when_it_is_old(store: SqlOffsetStore) -> None:
    table = Table(store)
    assert table.prices(1, 9) == [10, None]
    table.now = 9.9
    assert table.prices(1, 2, 9, sets=5) == [10, 5, None]
    table.now = 10.0
    assert table.prices(1, 2) == [5, 5]


def test_what_a_batch_has_seen_that_was_undone_is_forgotten(store: SqlOffsetStore) -> None:
    table = Table(store)
    assert table.prices(1, sets=5, commits=False) == [5]
    assert table.prices(1) == [10]


def test_nothing_is_kept_of_what_is_tried(store: SqlOffsetStore) -> None:
    table = Table(store)
    assert table.prices(1, attempts=True) == [10]
    assert table.prices(1, sets=5) == [5]


def test_a_row_that_was_given_may_be_changed(store: SqlOffsetStore) -> None:
    table = Table(store)
    for _ in range(2):
        with begun(store) as transaction:
            found = table.products([1], transaction)
            assert found[1]["price"] == 10
            found[1]["price"] = 0  # type: ignore[index]
            transaction.advance()
            transaction.commit()


def test_not_more_keys_are_kept_than_are_wanted(store: SqlOffsetStore) -> None:
    table = Table(store, most_rows=2)
    assert table.prices(1, 2) == [10, 20]
    assert table.prices(3) == [30]
    assert table.prices(1, 2, 3, sets=5) == [5, 20, 30]
