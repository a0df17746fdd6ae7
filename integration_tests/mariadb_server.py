"""MariaDB as the tests see it, through plain connections of their own: nothing here uses the library."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pymysql
from sqlalchemy import make_url

from integration_tests.servers import random_name

_NO_SUCH_THREAD = 1094


@dataclass(frozen=True)
class MariadbDatabase:
    """A database of one test's own; ``url`` is SQLAlchemy's, of a user who has all rights in it and no others."""

    url: str

    @property
    def name(self) -> str:
        """The database's name, and its user's."""
        return str(make_url(self.url).database)

    def connect(self) -> pymysql.Connection[Any]:
        """A connection as its driver makes one, in autocommit; whoever asks for it closes it."""
        parts = make_url(self.url)
        return pymysql.connect(
            host=parts.host or "",
            port=parts.port or 3306,
            user=parts.username or "",
            password=str(parts.password),
            database=str(parts.database),
            charset="utf8mb4",
            ssl_disabled=True,
            autocommit=True,
        )

    def execute(self, sql: str, parameters: tuple[Any, ...] | Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Run a statement in autocommit on a connection of its own; return its rows, if it has any."""
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return list(cursor.fetchall())

    def at(self, host: str, port: int) -> MariadbDatabase:
        """The same database behind another address."""
        url = make_url(self.url).set(host=host, port=port)
        return MariadbDatabase(url.render_as_string(hide_password=False))


class MariadbServer:
    """A server, where each test gets a database and a user of its own."""

    def __init__(self, url: str) -> None:
        self._admin = MariadbDatabase(url)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = make_url(self._admin.url)
        return parts.host or "", parts.port or 3306

    def execute(self, sql: str, parameters: tuple[Any, ...] | None = None) -> list[tuple[Any, ...]]:
        """Run a statement with an administrator's rights."""
        return self._admin.execute(sql, parameters)

    def create_database(self) -> MariadbDatabase:
        """A fresh, empty database, and a user who has all rights in it."""
        name = random_name()
        self.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        self.execute(f"CREATE USER {name}@'%%' IDENTIFIED BY %s", (name,))
        self.execute(f"GRANT ALL ON {name}.* TO {name}@'%'")
        url = make_url(self._admin.url).set(username=name, password=name, database=name)
        # Unencrypted, so that a proxy can read what passes; PyMySQL also needs 40 ms to prepare for TLS.
        url = url.update_query_dict({"ssl_disabled": "true"})
        return MariadbDatabase(url.render_as_string(hide_password=False))

    def end_sessions(self, database: MariadbDatabase) -> None:
        """End the sessions of the database's user, whatever they are doing."""
        listed = "SELECT id FROM information_schema.processlist WHERE user = %s"
        for (number,) in self.execute(listed, (database.name,)):
            try:
                self.execute("KILL %s", (number,))
            except pymysql.err.OperationalError as error:
                if error.args[0] != _NO_SUCH_THREAD:  # it has ended by itself
                    raise

    def drop_database(self, database: MariadbDatabase) -> None:
        """Drop it and its user, and end the sessions that are left."""
        self.execute(f"DROP USER IF EXISTS {database.name}@'%'")  # so that none begins after the others have ended
        self.end_sessions(database)
        self.execute(f"DROP DATABASE IF EXISTS {database.name}")
