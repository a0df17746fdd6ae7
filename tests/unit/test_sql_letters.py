"""Dead letters in SQLite: the contract, and what only a database has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, MetaData, create_engine, text

from kafka_stream.errors import SchemaMismatch, TransactionEscaped
from kafka_stream.offset_stores.sql import SqlOffsetStore, define_tables
from kafka_stream.offset_stores.sql import schema as schemas
from kafka_stream.offset_stores.sql.tables import SCHEMA_VERSION
from kafka_stream.protocols import LetterStatus
from kafka_stream.testing.dead_letter_contract import letter
from kafka_stream.testing.in_place_contract import InPlaceContract
from kafka_stream.testing.store_backend import OLDER, P0, STREAM, claim_of, next_offsets
from tests.sql_backend import SqlBackend, backend_at


class TestDeadLettersOnSqlite(InPlaceContract):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> Iterator[SqlBackend]:
        with backend_at(f"sqlite:///{tmp_path}/orders.db") as found:
            yield found


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    found = create_engine(f"sqlite:///{tmp_path}/orders.db")
    yield found
    found.dispose()


def _of_version_2(engine: Engine) -> None:
    SqlOffsetStore(engine).open()
    with engine.begin() as connection:
        connection.execute(text("UPDATE kafka_stream_schema SET version = 2"))
        connection.execute(text("DROP TABLE kafka_stream_dead_letters"))


def test_tables_of_version_2_get_their_dead_letters_and_keep_what_is_in_them(engine: Engine) -> None:
    _of_version_2(engine)
    store = SqlOffsetStore(engine)
    assert list(store.letters(STREAM)) == []
    assert store.replay_under_way(STREAM) is None
    store.initialise(STREAM, "orders", {0: 7}, None)
    taken = store.take_over(STREAM, OLDER, [P0], {})
    with pytest.raises(SchemaMismatch, match="kafka_stream_dead_letters"):
        SqlOffsetStore(engine, tables="verify").open()
    assert next_offsets(store) == {P0: 7}
    for _ in range(2):
        store.open()
    with engine.connect() as connection:
        assert schemas.stored_versions(connection, define_tables(MetaData())) == [(SCHEMA_VERSION, 1)]
    with store.begin(claim_of(OLDER, {P0: (7, 9)}, taken)) as transaction:
        transaction.set_aside([letter(8)])
        transaction.advance()
        transaction.commit()
    assert next_offsets(store) == {P0: 9}
    assert [one.id.offset for one in store.letters(STREAM)] == [8]


def test_who_leaves_a_letters_transaction_is_found(tmp_path: Path) -> None:
    backend = SqlBackend(f"sqlite:///{tmp_path}/letters.db")
    store = backend.store()
    store.open()
    store.initialise(STREAM, "orders", {0: 0}, None)
    with store.begin(claim_of(OLDER, {P0: (0, 9)}, store.take_over(STREAM, OLDER, [P0], {}))) as batch:
        batch.set_aside([letter(8)])
        batch.advance()
        batch.commit()
    with pytest.raises(TransactionEscaped), store.begin_letter(letter(8)) as transaction:
        backend.write(transaction, 7)
        backend.escape(transaction)
        transaction.advance()
    assert [one.status for one in store.letters(STREAM)] == [LetterStatus.WAITING]
    store.close()
    backend.engine.dispose()
