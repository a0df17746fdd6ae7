"""``state describe`` and ``state show``, on SQLite."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

import pytest
import sqlalchemy as sa

from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.protocols import StateDescription
from tests.command_line import Invoke, one_sentence
from tests.unit.state.conftest import HERE, Running
from tests.unit.test_cli_offsets import rows as printed


def test_describe_says_which_sinks_keep_state_and_where(invoke: Invoke, run: Running) -> None:
    run()
    told = printed(invoke("state", "describe", *HERE, "--output", "json"))
    assert [(it["state"], it["kind"], it["table"], it["key"], it["rows"], it["details"]) for it in told] == [
        ("counts", "state", "counts", ["topic", "partition", "page"], 10, ["scope=partition"]),
        ("totals", "state", "totals", ["page"], 5, ["scope=key"]),
    ]
    assert all(datetime.fromisoformat(it["registered_at"]) <= datetime.now(UTC) for it in told)
    assert {(it["code"], tuple(it["notes"])) for it in told} == {(None, ())}
    assert "state of s in sqlite+pysqlite:///orders.db" in invoke("state", "describe", *HERE).out


def test_describe_with_the_application_compares_it_with_the_code(invoke: Invoke, run: Running, with_app: str) -> None:
    run()
    told = printed(invoke("state", "describe", "--app", with_app, "--output", "json"))
    assert [(it["state"], it["code"]) for it in told] == [("counts", "same"), ("totals", "unknown to the code")]


def test_describe_shows_what_has_not_run_yet(invoke: Invoke, opened: SqlOffsetStore, with_app: str) -> None:
    told = printed(invoke("state", "describe", "--app", with_app, "--output", "json"))
    assert [(it["state"], it["code"], it["rows"], it["registered_at"]) for it in told] == [
        ("counts", "not run yet", 0, None)
    ]


def test_a_stream_that_keeps_none_is_no_mistake_and_one_that_is_not_there_is(invoke: Invoke, run: Running) -> None:
    run(lambda batch, transaction: None)
    told = invoke("state", "describe", *HERE)
    assert (told.status, told.out) == (0, "Stream 's' has no sinks that keep state, or they have not run yet.\n")
    assert printed(invoke("state", "describe", *HERE, "--output", "json")) == []
    missing = invoke("state", "describe", *HERE[:2], "--stream", "none")
    assert missing.status == 1
    assert "there is no stream 'none'" in one_sentence(missing)


def test_a_table_that_is_gone_is_noted(invoke: Invoke, keep: Callable[..., None]) -> None:
    keep(StateDescription("gone", "state", "gone", ("id",)))
    (told,) = printed(invoke("state", "describe", *HERE, "--output", "json"))
    assert (told["rows"], told["notes"]) == (None, ["table gone is not there"])


def test_show_gives_the_rows_of_keys(invoke: Invoke, run: Running) -> None:
    run()
    told = printed(invoke("state", "show", *HERE, "--state", "totals", "a", "c", "none", "--output", "json"))
    assert told == [{"page": "a", "total": 4}, {"page": "c", "total": 4}]
    table = invoke("state", "show", *HERE, "--state", "totals", "a")
    assert table.out.startswith("totals of s, in table totals\n")
    assert invoke("state", "show", *HERE, "--state", "totals", "none").out == "There are no rows of this key.\n"


@pytest.mark.parametrize(("key", "partitions"), [("a", [0, 1]), ("orders,1,a", [1])])
def test_state_of_partitions_is_found_in_all_of_them_or_in_one(
    key: str, partitions: list[int], invoke: Invoke, run: Running
) -> None:
    run()
    told = printed(invoke("state", "show", *HERE, "--state", "counts", key, "--output", "json"))
    assert [row["partition"] for row in told] == partitions


def test_which_state_is_meant_has_to_be_said_where_there_are_several(invoke: Invoke, run: Running) -> None:
    run()
    assert "say which, with --state: counts, totals" in one_sentence(invoke("state", "show", *HERE, "a"))
    unknown = invoke("state", "show", *HERE, "--state", "visits", "a")
    assert one_sentence(unknown) == "stream 's' keeps no state 'visits'; it has counts, totals"
    assert unknown.status == 2
    assert "say which key" in one_sentence(invoke("state", "show", *HERE, "--state", "totals"))


MANY = sa.Table(
    "many",
    sa.MetaData(),
    sa.Column("number", sa.BigInteger, primary_key=True),
    sa.Column("price", sa.Numeric(10, 2), primary_key=True),
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("at", sa.DateTime, primary_key=True),
    sa.Column("who", sa.Uuid, primary_key=True),
    sa.Column("raw", sa.LargeBinary, primary_key=True),
    sa.Column("yes", sa.Boolean, primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("note", sa.String),
)
WHO = uuid.UUID("12345678-1234-5678-1234-567812345678")
ROW = {
    "number": 2**60,
    "price": Decimal("1.10"),
    "day": datetime(2026, 1, 31).date(),
    "at": datetime(2026, 1, 31, 8),
    "who": WHO,
    "raw": b"\x00\xff",
    "yes": True,
    "name": 'a "b", c',
    "note": "\x1b[2J",
}


@pytest.fixture
def many(keep: Callable[..., None]) -> None:
    described = StateDescription("many", "state", "many", tuple(column.name for column in MANY.primary_key.columns))
    keep(described, sa.schema.CreateTable(MANY), sa.insert(MANY).values(ROW))


KEY = f'{2**60},1.1,2026-01-31,2026-01-31T09:00+01:00,{WHO},0x00ff,true,"a ""b"", c"'


def test_each_part_of_a_key_is_read_as_its_column_is(many: None, invoke: Invoke) -> None:
    (told,) = printed(invoke("state", "show", *HERE, KEY, "--output", "json"))
    assert (told["number"], told["price"], told["raw"], told["note"]) == (2**60, "1.10", "0x00ff", "\x1b[2J")
    table = invoke("state", "show", *HERE, KEY).out
    assert "\\x1b[2J" in table
    assert "\x1b" not in table


@pytest.mark.parametrize(
    ("part", "wrong", "said"),
    [
        (str(2**60), "ten", "'ten' is nothing for column 'number' of the key, which is of int"),
        ("1.1", "much", "'much' is nothing for column 'price' of the key, which is of Decimal"),
        ("2026-01-31,", "soon,", "'soon' is nothing for column 'day' of the key, which is of date"),
        ("true", "maybe", "'maybe' is nothing for column 'yes' of the key, which is of bool"),
        ("0x00ff", "0xyz", "'0xyz' is nothing for column 'raw' of the key, which is of bytes"),
        ("true,", "", "8 value(s), and this one has 7; parts are separated by commas"),
        ('"a ""b"", c"', '"a', "cannot be read as values with commas between them"),
    ],
)
def test_a_part_that_is_nothing_its_column_holds_is_refused(
    part: str, wrong: str, said: str, many: None, invoke: Invoke
) -> None:
    refused = invoke("state", "show", *HERE, KEY.replace(part, wrong, 1))
    assert refused.status == 2
    assert said in one_sentence(refused)


def test_more_rows_than_wanted_are_said(invoke: Invoke, run: Running) -> None:
    run()
    told = invoke("state", "show", *HERE, "--state", "counts", "a", "--limit", "1", "--output", "json")
    assert len(printed(told)) == 1
    assert told.err == "warning: there are more than these 1 of 'a'; raise --limit\n"


def test_keys_that_have_gone_on_are_found_by_their_text(
    invoke: Invoke, keep: Callable[..., None], opened: SqlOffsetStore
) -> None:
    seen = sa.text(
        "INSERT INTO kafka_stream_seen VALUES ('s', 'once', x'00', 'order-1', 'orders', 0, 7, 0, '2026-01-31 08:00:00')"
    )
    keep(StateDescription("once", "seen", "kafka_stream_seen", ("key_hash",), {"within_us": 5}), seen)
    (told,) = printed(invoke("state", "show", *HERE, "order-1", "--output", "json"))
    assert (told["key_text"], told["topic"], told["partition"], told["offset"]) == ("order-1", "orders", 0, 7)
    (described,) = printed(invoke("state", "describe", *HERE, "--output", "json"))
    assert described["rows"] == 1
