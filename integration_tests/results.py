"""The result table, and the checker that compares it with what an independent plain consumer reads from the topic.

Everything is counted by the database; nothing the library reports is believed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import psycopg

from integration_tests.servers import PostgresDatabase

CREATE = """
CREATE TABLE results (
    partition integer NOT NULL, record_offset bigint NOT NULL, key text, value text,
    code_version text NOT NULL, pid integer NOT NULL
)
"""
MIGRATION_2 = "ALTER TABLE results ADD COLUMN value_length integer"

# An absent key or value is an empty text here, so that the join has something to compare.
CHECK = """
WITH stored AS (
    SELECT partition, record_offset, coalesce(key, '') AS key, coalesce(value, '') AS value, count(*) AS copies
    FROM results GROUP BY 1, 2, 3, 4
), compared AS (
    SELECT e.partition IS NULL AS not_expected, s.partition IS NULL AS not_stored, copies, value
    FROM expected e FULL JOIN stored s USING (partition, record_offset, key, value)
)
SELECT
    (SELECT count(*) FROM results),
    (SELECT count(*) FROM (SELECT DISTINCT partition, record_offset FROM results) AS positions),
    (SELECT count(*) FROM expected),
    count(*) FILTER (WHERE not_stored),
    coalesce(sum(copies - 1), 0)::bigint,
    count(*) FILTER (WHERE not_expected),
    count(*) FILTER (WHERE NOT not_stored AND value LIKE 'aborted%')
FROM compared
"""

# Batches of a partition come one after the other, and so do the numbers of their transactions.
OUT_OF_ORDER = """
SELECT count(*) FROM (
    SELECT xmin::text::bigint AS number,
        lag(xmin::text::bigint) OVER (PARTITION BY partition ORDER BY record_offset) AS before
    FROM results
) AS numbered WHERE before > number
"""

CommittedRecord = tuple[int, int, bytes | None, bytes | None]


@dataclass(frozen=True)
class Findings:
    """Rows in the table, and how they differ from the records that are committed in the topic."""

    rows: int
    distinct: int
    expected: int
    lost: int
    repeated: int
    not_expected: int
    aborted: int

    @property
    def are_exactly_once(self) -> bool:
        """Every committed record is there once, and nothing else."""
        wrong = self.lost, self.repeated, self.not_expected, self.aborted
        return self.rows == self.distinct == self.expected > 0 and not any(wrong)


class ResultTable:
    """The table ``results`` of one database."""

    def __init__(self, database: PostgresDatabase) -> None:
        self.database = database
        database.execute(CREATE)

    def migrate_to_version_2(self) -> None:
        """What is deployed before version 2 of the service."""
        self.database.execute(MIGRATION_2)

    def count(self, where: str = "true") -> int:
        """How many rows there are."""
        ((count,),) = self.database.execute(f"SELECT count(*) FROM results WHERE {where}")
        return int(count)

    def out_of_order(self) -> int:
        """How many rows were written by an earlier transaction than the row before them in their partition."""
        ((count,),) = self.database.execute(OUT_OF_ORDER)
        return int(count)

    def check(self, committed: Iterable[CommittedRecord]) -> Findings:
        """Compare the table with the records that a plain read-committed consumer has read."""
        with psycopg.connect(self.database.conninfo) as connection, connection.cursor() as cursor:
            cursor.execute(
                "CREATE TEMPORARY TABLE expected (partition integer, record_offset bigint, key text, value text)"
            )
            with cursor.copy("COPY expected FROM STDIN") as copy:
                for partition, offset, key, value in committed:
                    copy.write_row((partition, offset, (key or b"").decode(), (value or b"").decode()))
            row = cursor.execute(CHECK).fetchone()
            assert row is not None
            return Findings(*row)
