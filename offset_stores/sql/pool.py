"""What is done to the connections that an engine keeps."""

from __future__ import annotations

import logging

from sqlalchemy import Engine, exc

logger = logging.getLogger("kafka_stream")


def discard_idle(engine: Engine) -> None:
    """Close the connections that lie idle in an engine's pool, each when it is taken out; never raises.

    The engine may be the application's: its pool stays, and so do connections that are in use.
    """
    try:
        for _ in range(getattr(engine.pool, "checkedin", int)()):
            with engine.connect() as connection:
                connection.invalidate()
    except exc.SQLAlchemyError as error:  # nobody is there now: what is left will be found out when it is used
        logger.debug("idle connections could not be discarded: %s", type(error).__name__)


__all__ = ["discard_idle"]
