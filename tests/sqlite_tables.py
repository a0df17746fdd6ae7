"""Tables in a SQLite of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa


@contextmanager
def in_memory(metadata: sa.MetaData) -> Iterator[sa.Connection]:
    """A connection to a new database with these tables, in a transaction."""
    engine = sa.create_engine("sqlite://")
    metadata.create_all(engine)
    with engine.begin() as connection:
        yield connection
    engine.dispose()
