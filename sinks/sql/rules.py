"""What a writer of rows is to do with those whose key is in the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection

from kafka_stream.sinks.sql.merging.merge import Merging
from kafka_stream.sinks.sql.rows import Resolution
from kafka_stream.sinks.sql.target import Target


@dataclass(frozen=True, slots=True)
class Rules:
    """What a writer is to do: ``schemas`` is the connection's ``schema_translate_map``."""

    on_conflict: Resolution
    conflict_key: tuple[str, ...]
    schemas: Mapping[str | None, str | None] = field(default_factory=dict)
    merging: Merging | None = None

    def schema(self, target: Target) -> str | None:
        """Where the table is."""
        return self.schemas.get(target.table.schema, target.table.schema)

    @property
    def told(self) -> str:
        """As it is written."""
        return "on_conflict=Merge(…)" if self.on_conflict == "merge" else f'on_conflict="{self.on_conflict}"'


def schemas_of(connection: Connection) -> Mapping[str | None, str | None]:
    """Where the connection's tables are."""
    return connection.get_execution_options().get("schema_translate_map") or {}
