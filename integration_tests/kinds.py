"""Tables with columns of all kinds, and rows for them."""

from __future__ import annotations

import datetime as dt
import enum
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


def _declared(name: str, metadata: sa.MetaData, *others: sa.Column[Any]) -> sa.Table:
    return sa.Table(
        name,
        metadata,
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("amount", sa.Numeric(12, 3)),
        sa.Column("ratio", sa.Double),
        sa.Column("day", sa.Date),
        sa.Column("raw", sa.LargeBinary),
        sa.Column("text", sa.String(40)),
        sa.Column("document", sa.JSON),
        sa.Column("colour", sa.Enum(Colour)),
        sa.Column("owner", sa.Uuid),
        sa.Column("flag", sa.Boolean),
        *others,
    )


ON_POSTGRES, ON_MARIADB = sa.MetaData(), sa.MetaData()
POSTGRES_TABLE = _declared(
    "kinds",
    ON_POSTGRES,
    sa.Column("at", sa.DateTime(timezone=True)),
    sa.Column("lasts", sa.Interval),
    sa.Column("tags", postgresql.ARRAY(sa.Text)),
    sa.Column("numbers", postgresql.ARRAY(sa.Numeric)),
    sa.Column("binary_document", postgresql.JSONB),
)
MARIADB_TABLE = _declared("kinds", ON_MARIADB, sa.Column("at", mysql.DATETIME(fsp=6)))


def row_of(number: int, names: set[str]) -> dict[str, Any]:
    """Values of all kinds; each column has NULLs, too."""
    values: dict[str, Any] = {
        "amount": Decimal(number) / 8,
        "ratio": number / 3,
        "day": dt.date(2026, 1, 1 + number % 28),
        "raw": bytes([number % 256, 0]),
        "text": f"ä\\'{number}\n\t%s",
        "document": {"n": number, "of": [None, True, "x"]},
        "colour": Colour(number % 2 + 1),
        "owner": UUID(int=number),
        "flag": number % 2 == 0,
        "at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=number, microseconds=number),
        "lasts": dt.timedelta(days=number, microseconds=1),
        "tags": [f"t{number}", None, ""],
        "numbers": [Decimal(number), Decimal("0.5")],
        "binary_document": [number],
    }
    found = {name: None if (number + place) % 7 == 0 else values[name] for place, name in enumerate(values)}
    if "tags" not in names and found["at"] is not None:
        found["at"] = found["at"].replace(tzinfo=None)
    return {"id": number, **{name: value for name, value in found.items() if name in names}}
