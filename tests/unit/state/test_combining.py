"""Which rows of a key are combined before the database sees them: those of which that comes to the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from kafka_stream.sinks.sql import Add, Greatest, Latest, Least, Merge
from kafka_stream.sinks.sql.facts import ColumnFacts, Kind, TableFacts
from kafka_stream.sinks.sql.merging.combining import Combining, Repeated
from kafka_stream.sinks.sql.merging.merge import Merging
from kafka_stream.sinks.sql.target import Target

AT = datetime(2025, 3, 1, 12)
TABLE = sa.Table(
    "t",
    sa.MetaData(),
    sa.Column("k", sa.Integer, primary_key=True),
    sa.Column("n", sa.SmallInteger),
    sa.Column("price", sa.Numeric(6, 2)),
    sa.Column("share", sa.Double),
    sa.Column("at", sa.DateTime(timezone=True)),
    sa.Column("text", sa.String(9)),
)
FACTS = TableFacts(
    columns={
        "k": ColumnFacts(Kind.INTEGER, largest=2**31 - 1),
        "n": ColumnFacts(Kind.INTEGER, largest=2**15 - 1, nullable=True),
        "price": ColumnFacts(Kind.DECIMAL, digits=2, largest=9_999, nullable=True),
        "share": ColumnFacts(Kind.FLOAT, nullable=True),
        "at": ColumnFacts(Kind.TIMESTAMP_WITH_ZONE, nullable=True),
        "text": ColumnFacts(Kind.TEXT, longest=9, nullable=True),
    },
    bare=True,
    takes_unicode=True,
)


def combined(how: Any, values: list[Any], facts: TableFacts = FACTS) -> Any:
    """What values of a column come to."""
    target = Target.of(TABLE, None)
    ((name, _),) = how.items()
    columns = ("k", name, how[name].by) if isinstance(how[name], Latest) else ("k", name)
    combining = Combining(
        target, Merging.of(Merge(how), target).aggregates, facts, sa.make_url("postgresql+psycopg://").get_dialect()()
    )
    rows = [(1, *it) if isinstance(it, tuple) else (1, it) for it in values]
    found = combining.of(columns, Repeated.of(rows, [1] * len(rows)))
    return None if found is None else found[1][1:]


@pytest.mark.parametrize(
    ("how", "values", "expected"),
    [
        ({"n": Add}, [1, None, 2], (3,)),
        ({"n": Add}, [None, None], (None,)),
        ({"n": Least}, [2, None, 1, 3], (1,)),
        ({"n": Greatest}, [None, None], (None,)),
        ({"price": Add}, [Decimal("0.10"), Decimal("0.2"), Decimal(1)], (Decimal("1.30"),)),
        ({"share": Add}, [0.5, 0.25], (0.75,)),
        (
            {"at": Greatest},
            [AT.replace(tzinfo=timezone(timedelta(hours=3))), AT.replace(tzinfo=UTC)],
            (AT.replace(tzinfo=UTC),),
        ),
        ({"text": Latest(by="n")}, [("a", 1), ("b", 2), ("c", None), ("d", 2), ("e", 1)], ("d", 2)),
        ({"text": Latest(by="n")}, [("a", None), ("b", None)], ("b", None)),
        ({"text": Latest(by="n")}, [("a", 1), (None, 1)], (None, 1)),
    ],
)
def test_what_rows_come_to(how: Any, values: list[Any], expected: Any) -> None:
    assert combined({name: it() if isinstance(it, type) else it for name, it in how.items()}, values) == expected


@pytest.mark.parametrize(
    ("how", "values"),
    [
        ({"n": Add()}, [2**15 - 1, 1]),
        ({"n": Add()}, [2**15, -1]),
        ({"n": Add()}, [1, True]),
        ({"n": Add()}, [1, 1.0]),
        ({"price": Add()}, [Decimal("0.005"), Decimal("0.005")]),
        ({"price": Add()}, [Decimal("NaN"), Decimal(1)]),
        ({"price": Add()}, [Decimal(9_999), Decimal(1)]),
        ({"share": Add()}, [1e308, 1e308]),
        ({"share": Greatest()}, [float("nan"), 1.0]),
        ({"at": Greatest()}, [AT, AT]),
        ({"at": Greatest()}, [AT.replace(tzinfo=ZoneInfo("Europe/Berlin"))] * 2),
        ({"text": Greatest()}, ["a", "b"]),
        ({"text": Latest(by="price")}, [("a", Decimal("0.001")), ("b", Decimal(0))]),
        ({"text": Latest(by="n")}, [("too long for it", 1), ("b", 2)]),
    ],
)
def test_what_may_come_to_something_else_is_left_as_it_is(how: Any, values: list[Any]) -> None:
    assert combined(how, values) is None


def test_nothing_is_combined_where_something_else_may_refuse_a_row() -> None:
    assert combined({"n": Add()}, [1, 2]) == (3,)
    assert combined({"n": Add()}, [1, 2], TableFacts(columns=FACTS.columns, bare=False, takes_unicode=True)) is None
    assert combined({"n": Add()}, [1, 2], TableFacts(columns=FACTS.columns, bare=True, takes_unicode=False)) is None
