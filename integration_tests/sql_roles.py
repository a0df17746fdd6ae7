"""Somebody in PostgreSQL or MariaDB who may do nothing but what was granted, as docs/operating.md says it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import pytest
from sqlalchemy import make_url

from integration_tests.servers import random_name
from kafka_stream.offset_stores.sql import SqlOffsetStore
from tests.alembic_application import OPERATING

Grants = Mapping[str, tuple[str, ...]]
TABLES = ("offsets", "topics", "history", "dead_letters", "schema")
STATE_TABLES = ("states", "watermarks", "late", "seen")


def documented(of: str, tables: Sequence[str] = TABLES) -> Grants:
    """A row of one of the page's two tables of grants."""
    lines = OPERATING.read_text().splitlines()
    (row,) = [line for line in lines if line.startswith(f"| {of}") and line.count("|") == len(tables) + 2]
    cells = [cell.strip() for cell in row.strip("|").split("|")][1:]
    return {table: tuple(re.findall(r"[A-Z]+", cell)) for table, cell in zip(tables, cells, strict=True)}


@dataclass
class Role:
    """Somebody who may do nothing but what was granted."""

    run: Callable[[str], object]
    name: str
    grantee: str
    url: str
    owner: SqlOffsetStore

    def grant(self, grants: Grants, but: tuple[str, str] | None = None) -> None:
        for table, kinds in grants.items():
            for kind in kinds:
                if (table, kind) != but:
                    self._grant(kind, table)
        for table in STATE_TABLES if self.has_to_see_all else ():
            if (table, "SELECT") != but:
                self._grant("SELECT", table)

    @property
    def has_to_see_all(self) -> bool:
        """Whether it cannot be told that a table is there without a right on it: on MariaDB."""
        return bool(self._prefix)

    def _grant(self, kind: str, table: str) -> None:
        self.run(f"GRANT {kind} ON {self._prefix}kafka_stream_{table} TO {self.grantee}")

    def initialise(self, topic: str, starts: Mapping[int, int]) -> None:
        self.owner.initialise(topic, topic, starts, None)

    def grant_on_results(self) -> None:
        self.run(f"GRANT INSERT, SELECT ON {self._prefix}results TO {self.grantee}")
        if not self._prefix:
            self.run(f"GRANT USAGE ON results_id_seq TO {self.grantee}")

    def grant_all(self, table: str) -> None:
        """A table that is the user's."""
        self.run(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {self._prefix}{table} TO {self.grantee}")

    @property
    def _prefix(self) -> str:
        return f"{make_url(self.url).database}." if self.url.startswith("mysql") else ""

    @contextmanager
    def store(self) -> Iterator[SqlOffsetStore]:
        found = SqlOffsetStore(self.url, tables="verify")
        try:
            yield found
        finally:
            found.close()


def role_of(request: pytest.FixtureRequest, database: str) -> AbstractContextManager[Role]:
    """Somebody in the test's database, gone at the end."""
    return (_role_of_mariadb if database == "mariadb" else _role_of_postgres)(request)


@contextmanager
def _role_of_postgres(request: pytest.FixtureRequest) -> Iterator[Role]:
    database = request.getfixturevalue("postgres")
    owner = request.getfixturevalue("store")
    name = random_name("role")
    database.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'hush'")
    url = make_url(database.url).set(username=name, password="hush").render_as_string(hide_password=False)
    yield Role(database.execute, name, name, url, owner)
    database.execute(f"DROP OWNED BY {name}")
    database.execute(f"DROP ROLE {name}")


@contextmanager
def _role_of_mariadb(request: pytest.FixtureRequest) -> Iterator[Role]:
    server, database = request.getfixturevalue("mariadb_server"), request.getfixturevalue("mariadb")
    owner = request.getfixturevalue("mariadb_store")
    name = random_name("role")
    server.execute(f"CREATE USER {name}@'%' IDENTIFIED BY 'hush'")
    url = make_url(database.url).set(username=name, password="hush").render_as_string(hide_password=False)
    yield Role(server.execute, name, f"{name}@'%'", url, owner)
    server.execute(f"DROP USER {name}@'%'")
