"""Which of several servers is the latest primary: a standby that is promoted begins a new timeline of its system.

A former primary that comes back takes itself for the primary still. Nobody can tell by looking at it alone, so what was
seen is remembered, for as long as the process lives.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Engine, exc

from kafka_stream.errors import StoreSuperseded
from kafka_stream.offset_stores.sql.dialects.postgresql_errors import psycopg_error, verdict_of
from kafka_stream.offset_stores.sql.errors import TRANSIENT

logger = logging.getLogger("kafka_stream")

# The name of a file of the write-ahead log begins with its timeline; a standby writes none.
_ASK = (
    "SELECT system_identifier::text, CASE WHEN pg_is_in_recovery() THEN NULL "
    "ELSE substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) END FROM pg_control_system()"
)
_TIMELINE = "kafka_stream_timeline"
_UNTOLD = ("", 0)
_CONNECT_S = 3


def refuse_older(connection: Connection, seen: dict[str, int], where: str) -> None:
    """Refuse a server whose timeline is older than one of its system that was seen; the server is asked once.

    Raises:
        StoreSuperseded: it is.
    """
    if (told := connection.info.get(_TIMELINE) or _asked(connection)) is None:
        return  # a standby, which may be promoted under the connection
    system, timeline = connection.info[_TIMELINE] = told
    latest = seen[system] = max(timeline, seen.get(system, 0))
    if timeline < latest:
        raise StoreSuperseded(
            f"{where} has led to a former primary (timeline {timeline}; a server that was promoted since has begun "
            f"{latest}): nothing is read from it or committed to it; stop it, or have it follow the new primary",
        )


def learn(engine: Engine, seen: dict[str, int]) -> None:
    """Look at each host of an engine's URL that names several."""
    import psycopg

    for parameters in _each_host(engine):
        try:
            with psycopg.connect(**parameters) as connection:
                told = _read(connection.execute(_ASK).fetchone())
        except psycopg.Error as error:
            logger.debug("one of the store's servers cannot be looked at: %s", type(error).__name__)
            continue
        if told is not None:
            system, timeline = told
            seen[system] = max(timeline, seen.get(system, 0))


def _each_host(engine: Engine) -> Iterator[dict[str, Any]]:
    """Libpq's parameters for each."""
    parameters = engine.dialect.create_connect_args(engine.url)[1]
    hosts, ports = str(parameters.get("host", "")).split(","), str(parameters.get("port", "")).split(",")
    if len(hosts) < 2 or len(ports) not in {1, len(hosts)}:  # what libpq refuses, it says itself
        return
    others = {name: value for name, value in parameters.items() if name not in {"target_session_attrs", "context"}}
    for host, port in zip(hosts, ports if len(ports) == len(hosts) else ports * len(hosts), strict=True):
        yield {**others, "host": host, "port": port, "connect_timeout": _CONNECT_S}


def _asked(connection: Connection) -> tuple[str, int] | None:
    """What a server says of itself; ``None`` of a standby, and ``_UNTOLD`` of one that does not know such questions."""
    try:
        told = _read(tuple(connection.exec_driver_sql(_ASK).one()))
    except exc.DBAPIError as error:
        driver = psycopg_error(error)
        if driver is None or verdict_of(driver) in TRANSIENT:
            raise
        logger.debug("the server does not tell its timeline: %s", type(driver).__name__)
        told = _UNTOLD
    connection.rollback()
    return told


def _read(row: tuple[Any, ...] | None) -> tuple[str, int] | None:
    return None if row is None or row[1] is None else (row[0], int(row[1], 16))


__all__ = ["learn", "refuse_older"]
