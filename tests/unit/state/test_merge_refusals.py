"""What ``Merge`` cannot mean is refused when the sink is built, in one sentence."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from kafka_stream.errors import ConfigurationError
from kafka_stream.sinks.sql import Add, Computed, Greatest, Latest, Least, Merge, SqlSink

METADATA = sa.MetaData()
TABLE = sa.Table(
    "totals",
    METADATA,
    sa.Column("k", sa.Integer, primary_key=True),
    sa.Column("n", sa.Integer),
    sa.Column("m", sa.Integer),
    sa.Column("text", sa.String(9)),
    sa.Column("at", sa.DateTime),
    sa.Column("flag", sa.Boolean),
    sa.Column("kind", sa.Enum("a", "b", name="kinds")),
    sa.Column("json", sa.JSON),
    sa.Column("twice", sa.Integer, sa.Computed("n * 2")),
)
KEYLESS = sa.Table("log", METADATA, sa.Column("n", sa.Integer))
NUMBERED = sa.Table("numbered", METADATA, sa.Column("k", sa.Integer, sa.Identity(always=True), primary_key=True))
NUMBERED.append_column(sa.Column("n", sa.Integer))


_of_one: Any = lambda old: old  # noqa: E731


async def _later(old: Any, new: Any) -> Any:
    return old + new


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({}, r"Merge\(\) names no column"),
        ({"n": "add"}, r"Merge\(n='add'\) says not how to merge; choose Add, Greatest, Least, Latest\(by=…\)"),
        ({"n": Latest}, r"Merge\(n=<class .*Latest'>\) says not how to merge"),
        ({"n": None}, r"Merge\(n=None\) says not how to merge"),
        ({"n": int}, r"says not how to merge"),
        ({"n": lambda old: old}, r"Merge\(n=…\) calls its function with \(old, new\), which it does not take"),
        ({"n": lambda old, new, more: old}, r"which it does not take"),
        ({"other": Add}, r"'other' is no column of the table; those that can be merged are n, m, text, at, flag, kind"),
        ({"k": Add}, r"Merge\(k=…\) .* for table totals: 'k' is of the key"),
        ({"twice": Add}, r"'twice' is computed by the database"),
        ({"text": Add}, r"Add is of numbers, and 'text' is declared as String"),
        ({"at": Add}, r"Add is of numbers, and 'at' is declared as DateTime"),
        ({"flag": Add()}, r"Add is of numbers, and 'flag' is declared as Boolean"),
        (
            {"kind": Greatest},
            r"Greatest is of values that all databases put in one order, and 'kind' is declared as Enum",
        ),
        ({"json": Least}, r"Least is of values that all databases put in one order"),
        ({"n": Latest(by="json")}, r"values that all databases put in one order, and 'json' is declared as JSON"),
        ({"n": Latest(by="when")}, r"Merge\(n=…\) .*: 'when' is no column of the table"),
        ({"n": Latest(by="k")}, r"'k' is of the key"),
        ({"n": Latest(by="twice")}, r"'twice' is computed by the database"),
        (
            {"n": Latest(by="m"), "m": Add},
            r"it goes by 'm', which has to be merged by Greatest then, and not by Add\(\)",
        ),
        ({"n": Latest(by="m"), "m": Latest(by="at")}, r"it goes by 'm', which has to be merged by Greatest"),
        ({"n": lambda old, new: 5}, r"its function gave a int, not an expression of SQLAlchemy"),
        ({"n": lambda old, new: 1 / 0}, r"its function fails: ZeroDivisionError: division by zero"),
        ({"n": _later}, r"its function gave a coroutine, not an expression of SQLAlchemy"),
        ({"n": Computed(_of_one)}, r"Merge\(n=Computed\(…\)\) calls its function with \(old, new\)"),
        ({"n": Computed(lambda old, new: old.c.gone)}, r"its function fails: .*gone"),
        ({"n": Computed(lambda old, new: new.c.twice)}, r"it reads 'twice' of the new row, which is computed"),
        (
            {"n": lambda old, new: old + KEYLESS.c.n},
            r"its function reads log.n, which is neither of the old row nor of",
        ),
    ],
)
def test_what_cannot_be_merged_is_refused(columns: Any, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        SqlSink(TABLE, list, Merge(columns))


def test_a_merge_takes_names_or_a_mapping() -> None:
    with pytest.raises(ConfigurationError, match="Merge takes columns by name, or a mapping of them, not a list"):
        Merge(["n"])  # type: ignore[arg-type]
    assert repr(Merge({"n": Add}, m=Greatest)) == "Merge(n=Add(), m=Greatest())"


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (KEYLESS, r"on_conflict=Merge\(…\) needs a key, but table log has no primary key"),
        (NUMBERED, r"on_conflict=Merge\(…\) needs a key that rows can hold, but 'k' of table numbered is computed"),
    ],
)
def test_there_is_no_merge_without_a_key(table: sa.Table, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        SqlSink(table, list, Merge(n=Add))


def test_a_class_for_a_merge_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"choose 'error', 'ignore', 'update' or Merge\(…\)"):
        SqlSink(TABLE, list, Merge)  # type: ignore[arg-type]
