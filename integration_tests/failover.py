"""What a database's failover must leave: a bare client's acknowledged rows, and streams that copy a topic beside it."""

from __future__ import annotations

import psycopg

from integration_tests.load import Running
from integration_tests.postgres_pair import FailoverDatabase


class AcknowledgedRows(Running):
    """A bare client that inserts one number after the other; ``acknowledged`` are those whose commit was answered."""

    def __init__(self, database: FailoverDatabase) -> None:
        super().__init__()
        self._database = database
        self._connection: psycopg.Connection[tuple[object, ...]] | None = None
        self._next = 0
        self.acknowledged: list[int] = []
        database.execute("CREATE TABLE acknowledged (number integer)")

    def turn(self) -> None:
        try:
            if self._connection is None:
                self._connection = psycopg.connect(self._database.conninfo, autocommit=True)
            self._next += 1
            self._connection.execute("INSERT INTO acknowledged VALUES (%s)", (self._next,))
        except psycopg.Error:
            self._let_go()
        else:
            self.acknowledged.append(self._next)
        self._stopped.wait(0.02)

    def finish(self) -> None:
        self._let_go()

    def missing(self) -> list[int]:
        """What was acknowledged and is not there."""
        rows = self._database.execute("SELECT number FROM acknowledged")
        return sorted(set(self.acknowledged) - {number for (number,) in rows})

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


__all__ = ["AcknowledgedRows"]
