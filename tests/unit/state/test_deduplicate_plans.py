"""How SQLite finds what was seen: by the whole key, or by time, however many rows there are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.deduplicating import PARTITIONS, Member, forgetting_soon, passed, record_of

Said = list[tuple[str, Any]]


@pytest.fixture
def said() -> Iterator[Said]:
    """What all engines say about the table."""
    found: Said = []

    def listen(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if "kafka_stream_seen" in statement and statement.startswith(("SELECT", "DELETE")):
            found.append((statement, parameters))

    sa.event.listen(sa.Engine, "before_cursor_execute", listen)
    yield found
    sa.event.remove(sa.Engine, "before_cursor_execute", listen)


def test_no_statement_reads_all_that_was_seen(tmp_path: Path, said: Said) -> None:
    url, table, where = f"sqlite:///{tmp_path / 'clicks.db'}", passed(), PARTITIONS[0]
    engine = sa.create_engine(url)
    table.create(engine)
    records = {where: [record_of(where, at, f"key {at % 40}", at * 1_000) for at in range(100)]}
    member = Member(url, "one", table, "10 s", [where])
    with engine.begin() as connection:  # a partition that nobody reads would be waited for
        connection.exec_driver_sql('DELETE FROM kafka_stream_offsets WHERE "partition" = 1')
    with forgetting_soon(1):
        for _ in range(4):
            member.process(member.batch(records, {where: 25}))
    member.close()
    with engine.connect() as connection:
        plans = [
            connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", given).all()[0][3]
            for statement, given in said
        ]
    engine.dispose()
    assert {plan.partition("(")[2] for plan in plans} == {
        "stream=? AND state=? AND key_hash=?)",
        "stream=? AND state=? AND time_us<?)",
    }
    assert all("SEARCH kafka_stream_seen USING" in plan for plan in plans), plans
