"""The grants on tables of state that docs/operating.md names are enough, and each of them is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from integration_tests.sql_roles import STATE_TABLES, TABLES, Grants, Role, documented, role_of
from kafka_stream import DirectStream
from kafka_stream.errors import KafkaStreamError
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.protocols import Action, ActionKind, Change, Clearing, Sink, StateDescription
from kafka_stream.sinks.sql import Add, Count, Deduplicate, Merge, SqlSink, StateSink, Tumbling, WindowSink
from kafka_stream.sinks.sql.stateful.registry import register
from kafka_stream.testing import MemoryKafka
from kafka_stream.testing.store_backend import OLDER, P0, STREAM, TOPIC, claim_of

METADATA = sa.MetaData()
TOTALS = sa.Table(
    "totals",
    METADATA,
    sa.Column("page", sa.String(40), primary_key=True),
    sa.Column("total", sa.BigInteger, nullable=False),
)
VISITS = sa.Table(
    "visits",
    METADATA,
    sa.Column("page", sa.String(40), primary_key=True),
    sa.Column("window_start", sa.DateTime(timezone=True), primary_key=True),
    sa.Column("window_end", sa.DateTime(timezone=True), nullable=False),
    sa.Column("records", sa.BigInteger, nullable=False),
)
STATES = (
    StateDescription("visits", "windows", "visits", ("page",), {"open": "visits_open"}),
    StateDescription("once", "seen", "kafka_stream_seen", ("key_hash",)),
)


@pytest.fixture(params=["postgres", "mariadb"])
def role(request: pytest.FixtureRequest) -> Iterator[Role]:
    with role_of(request, request.param) as found:
        yield found


def _merging() -> Sequence[Sink]:
    return [SqlSink(TOTALS, lambda batch: [{"page": "a", "total": len(batch)}], on_conflict=Merge(total=Add))]


def _counting() -> Sequence[Sink]:
    def update(key: str, records: Sequence[Any], row: Any) -> dict[str, int]:
        return {"total": len(records) + (row["total"] if row else 0)}

    return [StateSink(TOTALS, lambda _: "a", update)]


def _time(message: Any) -> datetime:
    return datetime.fromtimestamp(int(message.value()), UTC)


def _windows() -> Sequence[Sink]:
    aggregates = {"records": Count()}
    return [WindowSink(VISITS, Tumbling("1 minute"), lambda _: "a", _time, aggregates, retention="2 minutes")]


def _deduplicating() -> Sequence[Sink]:
    return [Deduplicate(lambda message: int(message.value()) // 300, "1 minute", time=_time), *_merging()]


_windows()  # whose tables beside it are declared by it


def _streams(sinks: Callable[[], Sequence[Sink]]) -> Callable[[SqlOffsetStore], None]:
    """Windows that close, records that are late, keys that come again and are forgotten, in two processes."""

    def run(store: SqlOffsetStore) -> None:
        kafka = MemoryKafka({"orders": 1})
        for times in ((1, 200, 5), (400, 600)):
            for seconds in times:
                kafka.produce("orders", str(seconds))
            DirectStream(
                name="s",
                topics=["orders"],
                kafka=kafka,
                store=store,
                sink=sinks(),
                assignment="static",
                max_records_per_batch=1,
            ).run(until="latest")

    return run


def _looks(store: SqlOffsetStore) -> None:
    assert {state.described.name for state in store.states(STREAM)} == {"visits", "once"}
    for described in STATES:
        store.state_rows(STREAM, described)
    store.find_seen(STREAM, STATES[1], [b"\0"], "a", 1)
    store.windows_now(STREAM, STATES[0], 1)


def _clears(store: SqlOffsetStore) -> None:
    store.open()
    store.positions(STREAM)
    list(store.letters(STREAM))  # as every command that changes something
    action = Action("1", ActionKind.RESET, "me")
    store.change_and_clear(STREAM, [P0], action, lambda found: [Change(P0, 5)], Clearing([P0]))


def _of_state(what: str) -> Grants:
    return documented(what, STATE_TABLES)


STREAM_GRANTS = documented("a stream")
DOING: dict[str, tuple[Callable[[SqlOffsetStore], object], Grants, Grants]] = {
    "merging": (_streams(_merging), STREAM_GRANTS, _of_state("`Merge`")),
    "state": (_streams(_counting), STREAM_GRANTS, _of_state("`Merge`")),
    "windows": (_streams(_windows), STREAM_GRANTS, _of_state("`WindowSink`")),
    "deduplicating": (_streams(_deduplicating), STREAM_GRANTS, _of_state("`Deduplicate`")),
    "looking": (_looks, documented("`state`"), _of_state("`state describe`")),
    "clearing": (_clears, documented("`reset`"), _of_state("`reset --with")),
}
EACH = [
    (what, table, kind) for what, (_, _, grants) in DOING.items() for table, kinds in grants.items() for kind in kinds
]


def _prepare(role: Role, what: str) -> None:
    """Tables, which the role may write, and, for commands, a stream that keeps state."""
    owner = sa.create_engine(role.owner._access.engine.url)
    METADATA.create_all(owner)
    owner.dispose()
    for table in METADATA.sorted_tables:
        role.grant_all(table.name)
    if what not in ("looking", "clearing"):
        return
    role.owner.initialise(STREAM, TOPIC, {0: 0}, None)
    taken = role.owner.take_over(STREAM, OLDER, [P0], {})
    with role.owner.begin(claim_of(OLDER, {P0: (0, 0)}, taken)) as transaction:
        for described in STATES:
            register(transaction, described)
        transaction.advance()
        transaction.commit()


@pytest.mark.parametrize("what", DOING)
def test_these_are_enough(role: Role, what: str) -> None:
    do, others, grants = DOING[what]
    _prepare(role, what)
    role.grant({**others, **grants})
    with role.store() as store:
        do(store)


@pytest.mark.parametrize(("what", "table", "kind"), EACH)
def test_without_any_of_them_it_cannot_be_done(role: Role, what: str, table: str, kind: str) -> None:
    do, others, grants = DOING[what]
    _prepare(role, what)
    role.grant({**others, **grants}, but=(table, kind))
    with role.store() as store, pytest.raises(KafkaStreamError):
        do(store)


def test_all_tables_are_in_one_of_the_two_lists(role: Role) -> None:
    prefix = "kafka_stream_"
    assert {table.name.removeprefix(prefix) for table in role.owner._access.tables} == {*TABLES, *STATE_TABLES}
