"""One small object per kind of database."""

from __future__ import annotations

from kafka_stream.offset_stores.sql.dialects.mysql import MySQL
from kafka_stream.offset_stores.sql.dialects.port import Database
from kafka_stream.offset_stores.sql.dialects.postgresql import PostgreSQL
from kafka_stream.offset_stores.sql.dialects.sqlite import SQLite

DATABASES: dict[str, type[Database]] = {
    "mariadb": MySQL,
    "mysql": MySQL,
    "postgresql": PostgreSQL,
    "sqlite": SQLite,
}
"""By SQLAlchemy's name of the dialect."""

__all__ = ["DATABASES", "Database"]
