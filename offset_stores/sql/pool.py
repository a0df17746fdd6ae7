"""What is done to the connections that an engine keeps."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.pool import PoolProxiedConnection

logger = logging.getLogger("kafka_stream")


@contextmanager
def dropped_if_unfit(connection: Connection) -> Iterator[None]:
    """A connection that fails in the block is not for the pool: it may be broken, or be half of what it should be."""
    try:
        yield
    except BaseException:
        connection.invalidate()
        connection.close()
        raise


@contextmanager
def borrowed(engine: Engine) -> Iterator[Connection]:
    """A connection as the engine gives it; rolled back at the end."""
    connection = engine.connect()
    try:
        yield connection
    finally:
        give_back(connection)


def give_back(connection: Connection) -> None:
    """Close a connection; never raises an ``Exception``. One that breaks on its way back into the pool is dropped.

    On that way SQLAlchemy sets the isolation level back, with statements of its own: what they run into comes as the
    driver's error, and the pool would be one place short for ever. So it would where an application's listener raises.
    """
    way = _way_into_pool(connection)
    try:
        connection.close()
    except BaseException as error:
        if (record := getattr(way, "_connection_record", None)) is not None:  # it did not get there
            _into_pool(record, error)
        if not isinstance(error, Exception):
            raise
        logger.debug("a connection broke on its way back into the pool: %s", type(error).__name__)


def _way_into_pool(connection: Connection) -> PoolProxiedConnection | None:
    """The pool's own end of a connection that it has not dropped."""
    return None if connection.closed or connection.invalidated else connection.connection


def _into_pool(record: Any, error: BaseException) -> None:
    """The place of a connection that is no more; as SQLAlchemy does it itself where a new one cannot be made."""
    with suppress(Exception):  # the listener's, once more
        record.invalidate(error)
        record.checkin(_fairy_was_created=False)


def discard_idle(engine: Engine) -> None:
    """Close the connections that lie idle in an engine's pool, each when it is taken out; never raises.

    The engine may be the application's: its pool stays, and so do connections that are in use.
    """
    try:
        for _ in range(getattr(engine.pool, "checkedin", int)()):
            with borrowed(engine) as connection:
                connection.invalidate()
    except Exception as error:  # noqa: BLE001 - also a driver's own; nobody is there now: what is left will be found out when it is used
        logger.debug("idle connections could not be discarded: %s", type(error).__name__)


__all__ = ["borrowed", "discard_idle", "dropped_if_unfit", "give_back"]
