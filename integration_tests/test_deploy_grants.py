"""The grants in deploy/sql are enough for a stream, and for who looks, and let nobody do more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from integration_tests.servers import random_name
from kafka_stream.errors import KafkaStreamError
from kafka_stream.offset_stores.sql import SqlOffsetStore
from kafka_stream.testing.store_backend import OLDER, P0, P1, STREAM, TOPIC, commit, next_offsets

SQL = Path(__file__).parents[1] / "deploy" / "sql"


@pytest.fixture(params=["postgresql", "mariadb"])
def urls(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Of the stream's user and of who looks, made by the file's own statements in a database of the test's."""
    database = request.getfixturevalue("postgres" if request.param == "postgresql" else "mariadb")
    request.getfixturevalue("store" if request.param == "postgresql" else "mariadb_store").open()
    server = database if request.param == "postgresql" else request.getfixturevalue("mariadb_server")
    names = {role: random_name("role") for role in ("stream", "reader")}
    text = (SQL / f"{request.param}.sql").read_text().replace("CHANGE-ME", "hush")
    for role, name in names.items():
        text = text.replace(f"shop_{role}", name)
    text = text.replace("shop.", f"{make_url(database.url).database}.")
    lines = [line for line in text.splitlines() if not line.startswith("--")]
    for statement in filter(str.strip, "\n".join(lines).split(";")):
        server.execute(statement)
    yield {
        role: make_url(database.url).set(username=name, password="hush").render_as_string(hide_password=False)
        for role, name in names.items()
    }
    for name in names.values():
        if request.param == "postgresql":
            server.execute(f"DROP OWNED BY {name}")
        server.execute(f"DROP ROLE {name}" if request.param == "postgresql" else f"DROP USER {name}@'%'")


def test_who_may_run_a_stream_runs_one_and_who_looks_only_looks(urls: dict[str, str]) -> None:
    stream = SqlOffsetStore(urls["stream"], tables="verify")
    stream.open()
    stream.initialise(STREAM, TOPIC, {0: 0, 1: 0}, None)
    stream.take_over(STREAM, OLDER, [P0, P1], {})
    commit(stream, OLDER, {P0: (0, 5)})
    reader = SqlOffsetStore(urls["reader"], tables="verify")
    assert next_offsets(reader) == {P0: 5, P1: 0}
    assert not list(reader.letters(STREAM))
    reader.check_schema()
    with pytest.raises(KafkaStreamError):
        reader.take_over(STREAM, OLDER, [P0], {})
    with pytest.raises(KafkaStreamError):
        reader.initialise(STREAM, "another", {0: 0}, None)
    assert next_offsets(stream) == {P0: 5, P1: 0}
    stream.close()
    reader.close()
