"""Tables for ``SqlSink`` of all shapes and types of keys, with values that only the database takes for one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa
from hypothesis import strategies as st

from kafka_stream.sinks.sql import Add, Greatest, Merge, SqlSink

Mode = Literal["error", "ignore", "update", "merge"]
Type = Callable[[], Any]
MERGE = Merge(a=Add, b=Greatest)
AT = datetime(2025, 3, 1, 12)
ID = UUID("0f0e0d0c-0b0a-0908-0706-050403020100")

KEYS: Mapping[str, tuple[Type, Sequence[Any]]] = {
    "integer": (sa.Integer, [1, 2, 3, 4, "2", True, 2.0]),
    "bigint": (sa.BigInteger, [1, 2, 2**40, 3]),
    "text": (lambda: sa.String(20), ["a", "b", "A", "a ", "7", 7, "07"]),
    "short": (lambda: sa.String(2), ["a", "a ", "b", "abc"]),
    "fixed": (lambda: sa.CHAR(4), ["a", "a ", "A", "b"]),
    "uuid": (sa.Uuid, [ID, str(ID), str(ID).upper(), UUID(int=1), UUID(int=2)]),
    "uuid_text": (lambda: sa.String(36), [str(ID), str(ID).upper(), str(UUID(int=1))]),
    "price": (lambda: sa.Numeric(10, 2), [Decimal(1), Decimal("1.00"), Decimal("1.001"), 1, Decimal("2.5")]),
    "moment": (sa.DateTime, [AT, AT + timedelta(microseconds=4), AT + timedelta(seconds=0.7), AT + timedelta(days=1)]),
    "bytes": (lambda: sa.LargeBinary(20), [b"a", b"b", b"a\0", bytearray(b"a")]),
}
"""Types of keys, and values of which some are equal for the database and not for Python."""

KINDS: Mapping[str, tuple[Any, Sequence[Any], Sequence[Any]]] = {
    "small": (sa.SmallInteger(), [1, -32_767, None], [-32_769, 32_768, 2**70, "1", "x"]),
    "short": (sa.String(3), ["abc", "\u00e4", None], ["abcd", "a\0", "\ud800", 7]),
    "share": (sa.Numeric(4, 2), [Decimal("1.005"), Decimal("99.99"), None], [Decimal("99.995"), Decimal("NaN"), 200]),
    "real": (sa.Double(), [0.5, 1e300, None], [float("nan"), float("inf"), Decimal("1E-400"), 3]),
    "at": (sa.DateTime(), [AT, AT.replace(microsecond=3), None], [AT.date(), 5]),
    "flag": (sa.Boolean(), [True, False, None], [2, "x"]),
    "raw": (sa.LargeBinary(), [b"a", b"", None], ["a", 1]),
}
"""Types of columns, values that they take, and others, of which some are refused."""

SHAPES = ("plain", "unique", "pair", "itself", "numbered", "required", "checked", "children", "composite", "kinds")


def as_given(rows: list[Any]) -> list[Any]:
    """The rows of a batch that consists of rows; workers can import it."""
    return rows


@dataclass
class Case:
    """A table, those beside it whose rows depend on it, and what is given for its key."""

    table: sa.Table
    key: tuple[str, ...]
    keys: Sequence[Any]
    others: Mapping[str, st.SearchStrategy[Any]]
    children: sa.Table | None = None
    sink_key: tuple[str, ...] | None = None
    sinks: dict[Mode, SqlSink] = field(default_factory=dict)

    def sink(self, mode: Mode) -> SqlSink:
        """One that may have seen the table before."""
        return self.sinks.setdefault(mode, self.new_sink(mode))

    def new_sink(self, mode: Mode) -> SqlSink:
        """One that has seen nothing."""
        on_conflict = MERGE if mode == "merge" else mode
        return SqlSink(self.table, as_given, on_conflict, key=self.sink_key)

    def read(self, connection: sa.Connection) -> Any:
        """What is in the tables; numbers that the database gave count by their order only."""
        found = connection.execute(sa.select(self.table)).all()
        rows = [tuple(value if value == value else "not a number" for value in row) for row in found]
        if self.sink_key is not None:
            rows = [row[1:] for row in sorted(rows)]
        outcome: list[Any] = [rows if self.sink_key is not None else sorted(rows, key=repr)]
        if self.children is not None:
            outcome.append(sorted(map(repr, connection.execute(sa.select(self.children.c.of)))))
        return outcome


@dataclass
class Cases:
    """All cases of a database: each type of key with each shape of table."""

    metadata: sa.MetaData = field(default_factory=sa.MetaData)
    found: dict[str, Case] = field(default_factory=dict)

    def add_all(self, keys: Mapping[str, tuple[Type, Sequence[Any]]]) -> None:
        """Declare a table for each."""
        for kind, (type_, values) in keys.items():
            for shape in SHAPES:
                name = f"{kind}_{shape}"
                self.found[name] = case(name, shape, type_, values, self.metadata)


SMALL = st.integers(0, 6) | st.none()
WORDS = st.sampled_from(["x", "y", "z"]) | st.none()


def case(name: str, shape: str, type_: Type, values: Sequence[Any], metadata: sa.MetaData) -> Case:
    """A table of that shape whose key is of that type."""
    key = sa.Column("k", type_(), primary_key=shape != "numbered", nullable=False, autoincrement=False)
    columns: list[Any] = [key, sa.Column("a", sa.Integer), sa.Column("b", sa.String(20), server_default="given")]
    others: dict[str, st.SearchStrategy[Any]] = {"a": SMALL, "b": WORDS}
    if shape in ("unique", "pair"):
        columns.append(sa.Column("u", sa.String(20)))
        columns.append(sa.UniqueConstraint("u") if shape == "unique" else sa.UniqueConstraint("a", "u"))
        others["u"] = WORDS
    elif shape == "itself":
        columns.append(sa.Column("parent", type_(), sa.ForeignKey(f"{name}.k")))
        others["parent"] = st.sampled_from(values) | st.none()
    elif shape == "numbered":
        columns = [sa.Column("n", sa.Integer, primary_key=True), *columns, sa.UniqueConstraint("k")]
    elif shape == "required":
        columns.append(sa.Column("r", sa.Integer, nullable=False))
        others["r"] = SMALL
    elif shape == "checked":
        columns.append(sa.CheckConstraint("a < 5"))
    elif shape == "kinds":
        columns += [sa.Column(name, of) for name, (of, _, _) in KINDS.items()]
        columns[1] = sa.Column("a", sa.Integer, nullable=False)
        others |= {name: st.sampled_from([*taken] * 12 + [*wild]) for name, (_, taken, wild) in KINDS.items()}
    elif shape == "composite":
        columns.insert(1, sa.Column("k2", sa.String(20), primary_key=True))
    table = sa.Table(name, metadata, *columns)
    children = None
    if shape == "children":
        of = sa.Column("of", type_(), sa.ForeignKey(f"{name}.k", ondelete="CASCADE"))
        children = sa.Table(f"{name}_of", metadata, sa.Column("n", sa.Integer, primary_key=True), of)
    names = ("k", "k2") if shape == "composite" else ("k",)
    return Case(table, names, values, others, children, ("k",) if shape == "numbered" else None)
