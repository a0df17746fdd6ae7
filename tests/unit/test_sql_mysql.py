"""MariaDB and MySQL without a server: URLs, tables, and what their errors mean."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pymysql
import pytest
from sqlalchemy import Engine, create_engine, exc

from kafka_stream.errors import ConfigurationError, MissingExtra
from kafka_stream.offset_stores.sql import SqlOffsetStore, schema_sql
from kafka_stream.offset_stores.sql import engine as engines
from kafka_stream.offset_stores.sql.dialects.mysql import MySQL
from kafka_stream.offset_stores.sql.errors import Verdict
from kafka_stream.offset_stores.sql.tables import Tables


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("mysql://app:hush@db/shop", "mysql+pymysql"),
        ("mysql+pymysql://app:hush@db/shop", "mysql+pymysql"),
        ("mariadb://app:hush@db/shop", "mariadb+pymysql"),
        ("mariadb+pymysql://app:hush@db/shop", "mariadb+pymysql"),
    ],
)
def test_both_names_mean_pymysql(given: str, used: str) -> None:
    url, database = engines.parsed(given)
    assert url.drivername == used
    assert isinstance(database, MySQL)
    assert SqlOffsetStore(given).describe() == f"{used}://app:***@db/shop (table kafka_stream_offsets)"


@pytest.mark.parametrize("driver", ["mysqldb", "mysqlconnector", "aiomysql", "asyncmy"])
def test_other_drivers_are_refused(driver: str) -> None:
    with pytest.raises(ConfigurationError, match=r"uses mysql\+pymysql://, not") as raised:
        SqlOffsetStore(f"mysql+{driver}://app:hush@db/shop")
    assert ("prepare" in str(raised.value)) is driver.startswith("a")
    assert "hush" not in str(raised.value)


def test_a_missing_driver_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any, **__: Any) -> Engine:
        raise ModuleNotFoundError("No module named 'pymysql'", name="pymysql")

    monkeypatch.setattr("kafka_stream.offset_stores.sql.dialects.mysql.create_engine", missing)
    with pytest.raises(MissingExtra, match=r"'pymysql'.*pip install 'kafka-stream\[mysql\]'"):
        SqlOffsetStore("mysql://app:hush@db/shop").open()


def test_an_engine_without_a_driver_is_none_of_ours() -> None:
    engine = create_engine("mysql+pymysql://app@db/shop")
    assert SqlOffsetStore(engine).describe().startswith("mysql+pymysql://app@db/shop")
    engine.dispose()


@pytest.mark.parametrize("dialect", ["mysql", "mariadb"])
def test_tables_roll_back_and_tell_names_times_and_offsets_apart(dialect: str) -> None:
    sql = schema_sql(dialect)
    tables = [statement for statement in sql.split(";") if "CREATE TABLE" in statement]
    assert len(tables) == len(Tables._fields)
    for table in tables:
        for option in ("ENGINE=InnoDB", "CHARSET=utf8mb4", "COLLATE utf8mb4_bin", "ROW_FORMAT=DYNAMIC"):
            assert option in table
    for column in ("next_offset BIGINT NOT NULL", "planned_until BIGINT", "changed_at DATETIME(6) NOT NULL"):
        assert column in sql
    longest_key = (255 + 255 + 249) * 4 + 4  # four bytes a character: stream, state, topic, partition
    assert longest_key <= 3072, "InnoDB's limit"


@pytest.mark.parametrize(
    ("number", "verdict"),
    [
        (1213, Verdict.GAVE_UP),
        (1205, Verdict.LOCKED),
        (3572, Verdict.LOCKED),
        (1020, Verdict.GAVE_UP),
        (1317, Verdict.GAVE_UP),
        (1969, Verdict.GAVE_UP),
        (2003, Verdict.UNAVAILABLE),
        (2006, Verdict.UNAVAILABLE),
        (2013, Verdict.UNAVAILABLE),
        (1047, Verdict.UNAVAILABLE),
        (1290, Verdict.READ_ONLY),
        (1927, Verdict.UNAVAILABLE),
        (1040, Verdict.UNAVAILABLE),
        (1045, Verdict.LOGIN),
        (1044, Verdict.REFUSED),
        (1142, Verdict.REFUSED),
        (1049, Verdict.REFUSED),
        (1146, Verdict.MISMATCH),
        (1062, Verdict.DATA),
        (1406, Verdict.DATA),
        (1452, Verdict.DATA),
        (4025, Verdict.DATA),
        (3819, Verdict.DATA),
        (1690, Verdict.DATA),
        (1064, Verdict.STATEMENT),
    ],
)
def test_an_error_means_what_its_number_means_in_whatever_class_it_comes(number: int, verdict: Verdict) -> None:
    for kind in (pymysql.err.OperationalError, pymysql.err.IntegrityError, pymysql.err.InternalError):
        error = kind(number, "deadlock, timeout, gone away")
        assert MySQL().verdict(error) is verdict
        assert MySQL().verdict(exc.DBAPIError("SELECT 1", None, error)) is verdict


def test_an_error_without_a_number() -> None:
    assert MySQL().verdict(pymysql.err.InterfaceError(0, "")) is Verdict.UNAVAILABLE, "the driver's own end is closed"
    assert MySQL().verdict(pymysql.err.ProgrammingError("closed")) is Verdict.OTHER
    assert MySQL().verdict(pymysql.err.ProgrammingError()) is Verdict.OTHER
    assert MySQL().verdict(ValueError(1213)) is None


def test_state_is_assigned_last_where_everything_else_depends_on_it() -> None:
    """Assignments of ``ON DUPLICATE KEY UPDATE`` are made from left to right, and see each other."""
    store = SqlOffsetStore("mysql://app@db/shop")
    statement = str(store._access.statements.insert_starts)
    updates = statement.split("ON DUPLICATE KEY UPDATE")[1]
    positions = [updates.index(f" {column} = IF(") for column in ("next_offset", "owner_epoch", "topic_id", "state")]
    assert all(earlier < later for earlier, later in pairwise(positions))
    assert updates.rindex(" = IF(") == positions[-1] + len(" state")
    store.close()
