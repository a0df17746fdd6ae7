"""The law of ``Merge``, as a model: a batch equals what a plain program has that merges its rows one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeAlias

import sqlalchemy as sa
from hypothesis import strategies as st
from sqlalchemy.dialects import mysql

from kafka_stream.sinks.sql import Add, Computed, Delete, Greatest, Latest, Least, Merge, SqlSink
from tests.sink_law import Transaction, cut, undone

Row: TypeAlias = Mapping[str, Any]

METADATA = sa.MetaData()
AT = datetime(2025, 3, 1, 12)
MICROSECONDS = lambda: sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")  # noqa: E731
VALUES: Mapping[str, tuple[Callable[[], Any], st.SearchStrategy[Any]]] = {
    "orders": (sa.BigInteger, st.integers(-(2**40), 2**40)),
    "amount": (lambda: sa.Numeric(14, 2), st.integers(-999, 999).map(lambda n: Decimal(n) / 4)),
    "weight": (sa.Double, st.integers(-9, 9).map(lambda n: n / 8)),
    "largest": (sa.Integer, st.integers(-3, 3)),
    "smallest": (sa.Date, st.integers(0, 3).map(lambda days: date(2025, 3, 1) + timedelta(days))),
    "seen": (MICROSECONDS, st.integers(0, 3).map(lambda n: AT + timedelta(microseconds=n))),
    "name": (lambda: sa.String(9), st.sampled_from(["a", "b", "ä", ""])),
    "version": (sa.Integer, st.integers(0, 2)),
    "raw": (lambda: sa.LargeBinary(9), st.sampled_from([b"a", b"\0", b""])),
    "word": (lambda: sa.String(9), st.sampled_from(["x", "xy", "y"])),
    "total": (sa.BigInteger, st.integers(-5, 5)),
    "fee": (sa.Integer, st.integers(0, 5)),
    "owed": (sa.BigInteger, st.integers(-5, 5)),
    "note": (lambda: sa.String(9), st.sampled_from(["n", "%s", "'"])),
}
MERGE = Merge(
    orders=Add,
    amount=Add(),
    weight=Add,
    largest=Greatest,
    smallest=Least,
    seen=Greatest(),
    name=Latest(by="seen"),
    raw=Latest(by="version"),
    word=Greatest,
    total=lambda old, new: old + new * 2,
    owed=Computed(lambda old, new: old.c.owed + new.c.fee + sa.func.coalesce(old.c.largest, 100)),
)
NEEDS = {"name": "seen", "raw": "version", "owed": "fee"}


def _table(name: str, columns: Sequence[str], *more: Any, **options: Any) -> sa.Table:
    key = sa.Column("k", sa.Integer, primary_key=True, autoincrement=False)
    return sa.Table(name, METADATA, key, *(sa.Column(it, VALUES[it][0](), **options) for it in columns), *more)


@dataclass
class Case:
    """A table, and what is merged in it."""

    table: sa.Table
    columns: Sequence[str]
    merge: Merge
    nulls: bool = True
    known: list[SqlSink] = field(default_factory=list)

    def sink(self, *, is_new: bool) -> SqlSink:
        """One that has seen the table, or has not."""
        if is_new or not self.known:
            self.known = [SqlSink(self.table, lambda rows: rows, self.merge)]
        return self.known[0]


def _of(names: Sequence[str]) -> Merge:
    return Merge({name: how for name, how in MERGE.columns.items() if name in names})


COMBINED = ["orders", "amount", "weight", "largest", "smallest", "seen", "name", "version", "raw", "note"]
CASES = {
    "all": Case(_table("merged_all", list(VALUES)), list(VALUES), MERGE),
    "combined": Case(_table("merged_combined", COMBINED), COMBINED, _of(COMBINED)),
    "checked": Case(_table("merged_checked", COMBINED, sa.CheckConstraint("k < 9")), COMBINED, _of(COMBINED)),
    "required": Case(
        _table("merged_required", COMBINED, nullable=False, server_default=None), COMBINED, _of(COMBINED), nulls=False
    ),
}


def one_by_one(rows: dict[int, dict[str, Any]], case: Case, changes: Sequence[Any]) -> dict[int, dict[str, Any]] | None:
    """What a plain program has; ``None`` if a new row lacks what it needs."""
    rows = {key: dict(row) for key, row in rows.items()}
    for change in changes:
        if isinstance(change, Delete):
            rows.pop(change.key[0], None)
            continue
        new = change if isinstance(change, dict) else dict(zip(("k", *case.columns), change, strict=True))
        if (old := rows.get(new["k"])) is None:
            if not case.nulls and set(new) != {"k", *case.columns}:
                return None
            rows[new["k"]] = {name: new.get(name) for name in case.columns}
        else:
            named = {*case.merge.columns, *(["version"] if "raw" in case.merge.columns else [])}
            rows[new["k"]] = {**old, **{name: merged(name, old, new) for name in named & set(new)}}
    return rows


def merged(name: str, old: Row, new: Row) -> Any:
    """The column of both rows, in words of Python."""
    ours, theirs = old[name], new[name]
    values = [it for it in (ours, theirs) if it is not None]
    if name in ("orders", "amount", "weight"):
        return sum(values[1:], values[0]) if values else None
    if name in ("largest", "seen", "version", "word"):
        return max(values, default=None)
    if name == "smallest":
        return min(values, default=None)
    if name in ("name", "raw"):
        by = NEEDS[name]
        is_later = old[by] is None or (new[by] is not None and new[by] >= old[by])
        return theirs if is_later else ours
    if name == "total":
        return None if len(values) < 2 else ours + theirs * 2
    if ours is None or new["fee"] is None:
        return None
    return ours + new["fee"] + (100 if old["largest"] is None else old["largest"])


@st.composite
def _changes(draw: st.DrawFn, case: Case) -> list[Any]:
    given: list[Any] = []
    for _ in range(draw(st.integers(1, 12))):
        key = draw(st.integers(1, 3))
        what = draw(st.sampled_from(["full"] * 5 + ["tuple"] * 5 + ["some"] * 3 + ["delete"]))
        if what == "delete":
            given.append(Delete(key))
            continue
        row: dict[str, Any] = {"k": key}
        for name in case.columns:
            if what != "some" or draw(st.booleans()):
                row[name] = draw(VALUES[name][1] | st.none() if case.nulls else VALUES[name][1])
        for name, needed in NEEDS.items():
            if name in row and needed not in row:
                del row[name]
        given.append(tuple(row.values()) if what == "tuple" else row)
    return given


Example: TypeAlias = tuple[Case, list[Any], list[Any], list[int], bool]


def examples() -> st.SearchStrategy[Example]:
    """A case, what was there, what is given, where batches end, and whether the sink is a new one."""
    places, is_new = st.lists(st.integers(1, 11), max_size=2), st.integers(0, 9).map(lambda number: number == 9)
    return st.sampled_from(list(CASES.values())).flatmap(
        lambda case: st.tuples(st.just(case), _changes(case), _changes(case), places, is_new)
    )


def check(connection: sa.Connection, example: Example) -> None:
    """The law, for one example."""
    case, stored, given, places, is_new = example
    stored = [row for row in stored if not isinstance(row, dict)]
    there = one_by_one({}, case, stored)
    assert there is not None
    expected = one_by_one(there, case, given)
    with undone(connection):
        if there:
            connection.execute(sa.insert(case.table), [{"k": key, **row} for key, row in there.items()])
        sink = case.sink(is_new=is_new)
        try:
            for batch in cut(given, places):
                sink.write(sink.prepare(batch), Transaction(connection))
        except sa.exc.DBAPIError:
            assert expected is None
            return
        found = {row.k: {name: getattr(row, name) for name in case.columns} for row in _rows(connection, case)}
    assert found == expected, f"{case.table.name}: {stored} and {given}, in batches that end at {places}"


def _rows(connection: sa.Connection, case: Case) -> Sequence[sa.Row[Any]]:
    return connection.execute(sa.select(case.table)).all()
