"""Members of a group that merge into the same rows wait for each other: no sum is lost, and none deadlocks."""

from __future__ import annotations

import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from kafka_stream.sinks.sql import Add, Greatest, Merge, SqlSink
from tests.sink_law import Transaction

MEMBERS, BATCHES, ROWS, KEYS = 3, 8, 1_200, 900
METADATA = sa.MetaData()
TOTALS = sa.Table(
    "totals",
    METADATA,
    sa.Column("k", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("n", sa.Integer, nullable=False),
    sa.Column("twice", sa.Integer, nullable=False),
    sa.Column("greatest", sa.Integer, nullable=False),
)
COMBINED = Merge(n=Add, twice=Add, greatest=Greatest)
COMPUTED = Merge(n=Add, twice=lambda old, new: old + new, greatest=Greatest)


def batches(member: int) -> list[list[Any]]:
    numbers = random.Random(member)
    return [[(numbers.randrange(KEYS), n, 2 * n, n) for n in range(ROWS)] for _ in range(BATCHES)]


def member(engine: sa.Engine, merge: Merge, number: int, start: threading.Barrier) -> int:
    """Writes its batches, each until it is committed; how often that failed."""
    sink, failures = SqlSink(TOTALS, lambda rows: rows, merge), 0
    start.wait(60)
    for batch in batches(number):
        while True:
            try:
                with engine.begin() as connection:
                    sink.write(sink.prepare(batch), Transaction(connection))
                break
            except sa.exc.OperationalError:  # a deadlock, which a store repeats
                failures += 1
    return failures


@pytest.mark.parametrize("merge", [COMBINED, COMPUTED], ids=["combined", "computed"])
@pytest.mark.parametrize("which", ["postgres", "mariadb"])
def test_members_lose_no_sum(which: str, merge: Merge, request: pytest.FixtureRequest) -> None:
    server: Any = request.getfixturevalue(f"{which}_server")
    found = server.create_database()
    engine = sa.create_engine(found.url, isolation_level="READ COMMITTED")
    METADATA.create_all(engine)
    start = threading.Barrier(MEMBERS)
    with ThreadPoolExecutor(MEMBERS) as pool:
        failures = list(pool.map(lambda number: member(engine, merge, number, start), range(1, MEMBERS + 1)))
    expected: Counter[int] = Counter()
    greatest: dict[int, int] = {}
    for number in range(1, MEMBERS + 1):
        for batch in batches(number):
            for key, n, _, _ in batch:
                expected[key] += n
                greatest[key] = max(greatest.get(key, 0), n)
    with engine.connect() as connection:
        rows = {k: (n, twice, most) for k, n, twice, most in connection.execute(sa.select(TOTALS))}
    engine.dispose()
    server.drop_database(found)
    assert rows == {key: (n, 2 * n, greatest[key]) for key, n in expected.items()}
    if which == "postgres":
        assert failures == [0] * MEMBERS, "keys are taken in one order"
