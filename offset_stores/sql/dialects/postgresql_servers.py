"""PostgreSQL and its replicas: which is the latest primary, and what is not on a synchronous replica."""

from __future__ import annotations

from sqlalchemy import Connection, Engine

from kafka_stream.offset_stores.sql.dialects import postgresql_timelines as timelines
from kafka_stream.offset_stores.sql.dialects.postgresql_replication import hear_of_replication, replication_warning


class ReplicatedServers:
    """By timelines, of which each promotion begins a new one, and by what the server warns of."""

    def learn(self, engine: Engine, seen: dict[str, int]) -> None:
        """Each host of a URL with several."""
        timelines.learn(engine, seen)

    def refuse_older(self, connection: Connection, seen: dict[str, int], where: str) -> None:
        """One whose timeline is older than the latest of its system."""
        hear_of_replication(connection)
        timelines.refuse_older(connection, seen, where)

    def unreplicated(self, connection: Connection) -> str | None:
        """The warning that a wait for the synchronous replica was cancelled."""
        return replication_warning(connection)


__all__ = ["ReplicatedServers"]
