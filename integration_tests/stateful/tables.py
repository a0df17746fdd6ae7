"""The tables of the stateful service, and what is deployed before its second version."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, DateTime, Engine, Integer, MetaData, String, Table, text
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

_MYSQL = ("mysql", "mariadb")

MIGRATION_2 = tuple(
    f"ALTER TABLE {table} ADD COLUMN doubled BIGINT" for table in ("totals", "shared", "tumbling", "tumbling_open")
)


def _text() -> TypeEngine[str]:
    """A key: by MariaDB's default collation it would be compared without case."""
    return String(50).with_variant(mysql.VARCHAR(50, charset="utf8mb4", collation="utf8mb4_nopad_bin"), *_MYSQL)


def _moment() -> DateTime:
    return DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), *_MYSQL)


class Tables:
    """As one version of the service declares them; ``windows`` are those that a ``WindowSink`` writes."""

    def __init__(self, version: int) -> None:
        self.metadata = metadata = MetaData()
        self._doubled = version > 1
        self.processed = Table("processed", metadata, *self._place(), Column("code_version", Integer))
        self.passed = Table("passed", metadata, Column("id", _text()), Column("t", BigInteger), *self._place())
        self.milestones = Table("milestones", metadata, Column("shared", _text()), Column("records", BigInteger))
        self.totals = self._keyed(
            "totals", "key", "records", "amount", "largest", "smallest", "last_t", "last_id", doubled=True
        )
        self.shared = self._keyed("shared", "shared", "records", "amount", doubled=True)
        self.chains = Table(
            "chains",
            metadata,
            Column("topic", _text(), primary_key=True),
            Column("partition", Integer, primary_key=True, autoincrement=False),
            Column("key", _text(), primary_key=True),
            Column("records", BigInteger),
            Column("digest", BigInteger),
        )
        self.closes = Table(
            "closes",
            metadata,
            *[Column(name, _text()) for name in ("windows", "key")],
            *[Column(name, _moment()) for name in ("window_start", "window_end")],
            Column("records", BigInteger),
        )
        self.windows = {name: self._windows(name) for name in ("tumbling", "sliding", "sessions")}

    def create(self, engine: Engine) -> None:
        """What is not there yet; the service's sinks have to be built before, which declare some of it."""
        self.metadata.create_all(engine)

    def _place(self) -> list[Column[int]]:
        """Without any key: what happens twice is there twice."""
        return [Column("partition", Integer), Column("record_offset", BigInteger)]

    def _later(self) -> list[Column[int]]:
        return [Column("doubled", BigInteger)] if self._doubled else []

    def _keyed(self, name: str, key: str, *numbers: str, doubled: bool) -> Table:
        columns = [Column(it, _text() if it.endswith("_id") else BigInteger) for it in numbers]
        more = self._later() if doubled else []
        return Table(name, self.metadata, Column(key, _text(), primary_key=True), *columns, *more)

    def _windows(self, name: str) -> Table:
        return Table(
            name,
            self.metadata,
            Column("key", _text(), primary_key=True),
            Column("window_start", _moment(), primary_key=True),
            Column("window_end", _moment(), nullable=False),
            *[Column(it, BigInteger) for it in ("records", "amount", "largest", "smallest")],
            *(self._later() if name == "tumbling" else []),
        )


def migrate_to_version_2(engine: Engine) -> None:
    """What a user does before version 2 is deployed."""
    with engine.begin() as connection:
        for statement in MIGRATION_2:
            connection.execute(text(statement))


__all__ = ["Tables", "migrate_to_version_2"]
