"""Positions in the database that the results go to: SQLite, PostgreSQL, MariaDB or MySQL, through SQLAlchemy Core."""

from kafka_stream.offset_stores.sql.schema import schema_sql
from kafka_stream.offset_stores.sql.store import SqlOffsetStore
from kafka_stream.offset_stores.sql.tables import Tables, define_tables
from kafka_stream.offset_stores.sql.transaction import SqlTransaction

__all__ = ["SqlOffsetStore", "SqlTransaction", "Tables", "define_tables", "schema_sql"]
