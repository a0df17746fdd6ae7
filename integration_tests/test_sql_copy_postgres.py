"""``SqlSink`` writes many rows by COPY: the rows and the errors are those of INSERT, and so are locks and rules."""

from __future__ import annotations

import enum
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Literal

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects.postgresql import ARRAY, CIDR, CITEXT, JSONB

from integration_tests.servers import PostgresDatabase
from kafka_stream.sinks.sql import SqlSink
from kafka_stream.sinks.sql.postgres.writer import PostgresWriter

MANY = 600


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    YES = "yes"


class Upper(sa.types.TypeDecorator[str]):
    """Its values go through a function of the database."""

    impl = sa.Text
    cache_ok = True

    def bind_expression(self, bindparam: Any) -> Any:
        return sa.func.upper(bindparam)


class Cents(sa.types.TypeDecorator[Decimal]):
    """Its values are converted on our side."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return None if value is None else int(value * 100)


TYPES: dict[str, Any] = {
    "smallint": sa.SmallInteger(),
    "integer": sa.Integer(),
    "bigint": sa.BigInteger(),
    "real": sa.REAL(),
    "double": sa.Double(),
    "float": sa.Float(),
    "numeric": sa.Numeric(),
    "money": sa.Numeric(12, 2),
    "boolean": sa.Boolean(),
    "text": sa.Text(),
    "short": sa.String(5),
    "fixed": sa.CHAR(4),
    "bytes": sa.LargeBinary(),
    "date": sa.Date(),
    "time": sa.Time(),
    "timestamp": sa.DateTime(),
    "timestamptz": sa.DateTime(timezone=True),
    "interval": sa.Interval(),
    "uuid": sa.Uuid(),
    "json": sa.JSON(),
    "json_or_null": sa.JSON(none_as_null=True),
    "jsonb": JSONB(),
    "colour": sa.Enum(Colour, name="colour"),
    "integers": ARRAY(sa.Integer),
    "texts": ARRAY(sa.Text),
    "numerics": ARRAY(sa.Numeric),
    "uuids": ARRAY(sa.Uuid),
    "times": ARRAY(sa.DateTime(timezone=True)),
    "jsons": ARRAY(JSONB),
    "network": CIDR(),
    "citext": CITEXT(),
    "upper": Upper(),
    "cents": Cents(),
}
METADATA = sa.MetaData()
TABLES = {
    name: sa.Table(
        f"of_{name}",
        METADATA,
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("v", type_),
        sa.Column("w", sa.Integer, server_default="7"),
        sa.Column("never", type_, nullable=True),
    )
    for name, type_ in TYPES.items()
}
STRICT = {
    name: sa.Table(
        f"strict_{name}",
        METADATA,
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("v", type_, nullable=False),
        sa.Column("u", sa.BigInteger, nullable=False),
    )
    for name, type_ in TYPES.items()
}


def _times(timezones: st.SearchStrategy[Any]) -> st.SearchStrategy[datetime]:
    return st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1), timezones=timezones)


ZONES = st.sampled_from([UTC, timezone(timedelta(hours=-11, minutes=-30)), timezone(timedelta(hours=14))])
TEXTS = st.text(max_size=8) | st.sampled_from(["", "5", "x\x00y", "\ud800", "t", "2024-01-01", "ü" * 5, "ab   ", "RED"])
NUMBERS = (
    st.integers(-(2**15), 2**15)
    | st.sampled_from([0, 1, -1, 2**31 - 1, 2**31, -(2**31), 2**63 - 1, 2**63, 10**30, 10**400])
    | st.booleans()
    | st.floats()
    | st.floats(-1000, 1000).map(lambda value: round(value, 3))
    | st.decimals(places=4, min_value=-(10**9), max_value=10**9)
    | st.sampled_from([Decimal("NaN"), Decimal("Infinity"), Decimal("1E+40"), Decimal("-0"), Decimal("0.005")])
)
MOMENTS = _times(st.none()) | _times(ZONES) | st.dates() | st.times() | st.times(timezones=ZONES) | st.timedeltas()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)
LISTS = st.lists(NUMBERS | st.none(), max_size=3) | st.lists(TEXTS | st.none(), max_size=3)
OTHERS = (
    st.uuids()
    | st.binary(max_size=4)
    | st.binary(max_size=4).map(bytearray)
    | st.binary(max_size=4).map(lambda data: memoryview(data))
    | st.sampled_from([Colour.RED, Level.LOW, Word.YES, (1, 2), {"a": 1}, {1, 2}, object(), "10.0.0.0/8"])
)
LIST_OF = st.lists(st.uuids(), max_size=2) | st.lists(_times(ZONES), max_size=2) | st.lists(LISTS, max_size=2)
ANYTHING = st.one_of(st.none(), TEXTS, NUMBERS, MOMENTS, JSON, LISTS, LIST_OF, OTHERS)
OF_TYPE: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("text", "short", "fixed", "citext", "upper"), TEXTS),
    **dict.fromkeys(("json", "json_or_null", "jsonb"), JSON),
    **dict.fromkeys(("date", "time", "timestamp", "timestamptz", "interval"), MOMENTS),
    **dict.fromkeys(("integers", "texts", "numerics", "jsons"), LISTS | st.lists(LISTS, max_size=2)),
    **dict.fromkeys(("uuids", "times"), LIST_OF),
    **dict.fromkeys(("bytes", "uuid", "network", "colour"), OTHERS),
}


@dataclass
class Transaction:
    connection: sa.Connection


@pytest.fixture(scope="module")
def database(postgres_server: Any) -> Iterator[sa.Engine]:
    found: PostgresDatabase = postgres_server.create_database()
    engine = sa.create_engine(found.url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE EXTENSION IF NOT EXISTS citext"))
        METADATA.create_all(connection)
    yield engine
    engine.dispose()
    postgres_server.drop_database(found)


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each group of rows that could be copied was."""
    seen: list[bool] = []
    copies = PostgresWriter._copies

    def noticed(self: PostgresWriter, *arguments: Any) -> bool:
        seen.append(copies(self, *arguments))
        return seen[-1]

    monkeypatch.setattr(PostgresWriter, "_copies", noticed)
    return seen


def _rows(rows: Any) -> Any:
    return rows


def _outcome(
    database: sa.Engine, table: sa.Table, on_conflict: Any, rows: list[Any], least_rows: int
) -> tuple[str, Any]:
    """What is in the table after these rows were written into it, or why they were not; nothing is kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "kafka_stream.sinks.sql.postgres.writer._LEAST_ROWS",
            dict.fromkeys(("error", "ignore", "update"), least_rows),
        )
        with database.connect() as connection:
            connection.execute(sa.text("SET TIME ZONE INTERVAL '+05:30' HOUR TO MINUTE"))
            sink = SqlSink(table, _rows, on_conflict)
            try:
                with connection.begin_nested() as undone:
                    sink.write(sink.prepare(rows), Transaction(connection))
                    undone.rollback()
                # Again: rows that were copied are encoded before the transaction from now on.
                sink.write(sink.prepare(rows), Transaction(connection))
            except Exception as error:
                return "error", (type(error), getattr(getattr(error, "orig", None), "sqlstate", None))
            assert connection.in_transaction()
            kept = connection.execute(sa.text(f"SELECT r::text FROM {table.name} AS r ORDER BY id"))
            return "rows", kept.scalars().all()


# A client's thread of another test in this process (kazoo's jitter) may draw from the same generator meanwhile.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_rows_and_errors_are_those_of_insert(database: sa.Engine, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(TYPES)))
    table = data.draw(st.sampled_from([TABLES[kind], STRICT[kind]]))
    on_conflict: Literal["error", "ignore", "update"] = data.draw(st.sampled_from(["error", "ignore", "update"]))
    fitting = OF_TYPE.get(kind, NUMBERS)
    values = data.draw(st.lists(st.none() | fitting | fitting | ANYTHING, min_size=1, max_size=4))
    ids = data.draw(st.lists(st.integers(1, 5), min_size=len(values), max_size=len(values)))
    rows = [{"id": number, "v": value} for number, value in zip(ids, values, strict=True)]
    if table is STRICT[kind]:
        rows = [row | {"u": 2**40} for row in rows]
    by_insert = _outcome(database, table, on_conflict, rows, least_rows=100)
    by_copy = _outcome(database, table, on_conflict, rows, least_rows=1)
    if by_insert[0] == "error" and len(rows) > 1:
        by_insert = ("error", by_copy[1])  # which of several errors psycopg's pipeline meets first is chance
    assert by_copy == by_insert


@pytest.mark.parametrize(
    "value", [1e-85, -1e-85, 2.0**-150, 1.01 * 2.0**-150, 2.0**-149, 0.0, -0.0, 1e39, float("inf"), float("nan")]
)
def test_a_number_is_as_small_or_large_as_a_real_can_be(value: float, database: sa.Engine) -> None:
    rows = [{"id": 1, "v": value}]
    by_insert = _outcome(database, TABLES["real"], "error", rows, least_rows=100)
    assert _outcome(database, TABLES["real"], "error", rows, least_rows=1) == by_insert


@pytest.mark.parametrize("kind", sorted(set(TYPES) - {"fixed", "jsons", "times", "network", "citext", "upper"}))
def test_values_of_a_columns_own_kind_are_copied(kind: str, database: sa.Engine, copied: list[bool]) -> None:
    moment = datetime(2024, 2, 29, 12, 30, 15, 123456)
    values: dict[str, Any] = {
        **dict.fromkeys(("smallint", "integer", "bigint", "real", "double", "float", "numeric", "money"), 12),
        **dict.fromkeys(("text", "short"), "ü"),
        **{name: {"a": [1, None]} for name in ("json", "json_or_null", "jsonb")},
        "boolean": True,
        "bytes": b"\x00\xff",
        "cents": Decimal("1.25"),
        "colour": Colour.BLUE,
        "date": moment.date(),
        "integers": [1, None, 70_000],
        "interval": timedelta(days=-3, microseconds=5),
        "numerics": [Decimal("1.50"), None],
        "texts": ["x", None],
        "time": moment.time(),
        "timestamp": moment,
        "timestamptz": moment.replace(tzinfo=UTC),
        "uuid": uuid.UUID(int=5),
        "uuids": [uuid.UUID(int=5)],
    }
    rows = [{"id": 1, "v": values[kind]}, {"id": 2, "v": None}]
    for on_conflict in ("error", "ignore", "update"):
        by_insert = _outcome(database, TABLES[kind], on_conflict, rows, least_rows=100)
        assert copied == []
        assert _outcome(database, TABLES[kind], on_conflict, rows, least_rows=1) == by_insert
        assert by_insert[0] == "rows"
        assert copied == [True, True]
        copied.clear()
