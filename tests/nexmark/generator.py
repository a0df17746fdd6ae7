"""Persons, auctions and bids by a seed: of fifty events one is a person, three are auctions, the rest are bids.

They come out of order, but none more than ``DISORDER_MS`` behind another. Some auctions, sellers and bidders are hot.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

Event: TypeAlias = dict[str, Any]
"""``kind``, ``at`` (event time, in milliseconds since 1970) and the fields of its kind."""

START_MS: Final = 1_767_225_600_000  # 2026-01-01, in UTC
STEP_MS: Final = 700
DISORDER_MS: Final = 15_000
END_MS: Final = START_MS + 86_400_000
"""The time of the last events, which close all windows of the others."""
FIRST_ID: Final = 1_000

_CYCLE = 50
_AUCTIONS = (1, 2, 3)
_HOT = 0.5
_NAMES = ("Ada", "Grace", "Hedy", "Katherine", "Mary", "Radia")
_CITIES = ("Phoenix, AZ", "Portland, OR", "Boise, ID", "Kent, WA", "Palo Alto, CA")


def events(count: int, seed: int) -> list[Event]:
    """So many events, in the order in which they arrive; the same for the same seed."""
    chance = random.Random(seed)
    most = DISORDER_MS // STEP_MS
    order = sorted(range(count), key=lambda number: (number + chance.uniform(0, most), number))
    made = list(_in_order_of_time(count, chance))
    return [made[number] for number in order]


def last_events() -> list[Event]:
    """One of each kind, long after all others, for each partition: with them time has passed everywhere."""
    return [_person(0, END_MS, random.Random(0)), _auction(0, 0, END_MS, random.Random(0)), _bid(0, 0, 1, END_MS)]


def _in_order_of_time(count: int, chance: random.Random) -> Iterator[Event]:
    persons, auctions = 1, 1  # there is one of each before
    for number in range(count):
        at, kind = START_MS + number * STEP_MS, number % _CYCLE
        if kind == 0:
            yield _person(FIRST_ID + persons, at, chance)
            persons += 1
        elif kind in _AUCTIONS:
            yield _auction(FIRST_ID + auctions, _recent(persons, chance), at, chance)
            auctions += 1
        else:
            price = round(10 ** (chance.random() * 4) * 100)
            yield _bid(_recent(auctions, chance), _recent(persons, chance), price, at)


def _recent(made: int, chance: random.Random) -> int:
    """The hot one among those there are by now, which changes now and then, or one of the latest twenty."""
    latest = made - 1
    if chance.random() < _HOT:
        return FIRST_ID + latest - latest % 8
    return FIRST_ID + max(0, latest - chance.randint(0, 20))


def _person(number: int, at: int, chance: random.Random) -> Event:
    return {"kind": "person", "id": number, "name": chance.choice(_NAMES), "city": chance.choice(_CITIES), "at": at}


def _auction(number: int, seller: int, at: int, chance: random.Random) -> Event:
    return {"kind": "auction", "id": number, "seller": seller, "category": 10 + chance.randrange(5), "at": at}


def _bid(auction: int, bidder: int, price: int, at: int) -> Event:
    return {"kind": "bid", "auction": auction, "bidder": bidder, "price": price, "at": at}


__all__ = ["DISORDER_MS", "END_MS", "FIRST_ID", "START_MS", "STEP_MS", "Event", "events", "last_events"]
