"""The queries as plain programs that have all events in memory. Times are milliseconds since 1970; rows are sorted."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from tests.nexmark.generator import END_MS, Event

MINUTE_MS: Final = 60_000
HOT_SIZE_MS: Final = 10 * MINUTE_MS
HOT_STEP_MS: Final = 2 * MINUTE_MS
HIGHEST_SIZE_MS: Final = 5 * MINUTE_MS
NEW_USERS_SIZE_MS: Final = 5 * MINUTE_MS
SESSION_GAP_MS: Final = 2 * MINUTE_MS
ARRIVAL_SIZE_MS: Final = 10_000
WANTED: Final = 13
"""Query 2 is about auctions whose number is a multiple of this."""

Rows = list[tuple[Any, ...]]


def bids_of(events: Iterable[Event]) -> list[Event]:
    """Those of a day: not the ones that come last."""
    return [event for event in events if event["kind"] == "bid" and event["at"] < END_MS]


def query_1(events: Sequence[Event]) -> Rows:
    """Currency conversion: each bid, its price in euros (whole ones, at 89 of 100)."""
    bids = [event for event in events if event["kind"] == "bid"]
    return sorted((bid["auction"], bid["bidder"], bid["price"] * 89 // 100, bid["at"]) for bid in bids)


def query_2(events: Sequence[Event]) -> Rows:
    """Selection: the prices of bids for some auctions."""
    bids = [event for event in events if event["kind"] == "bid"]
    return sorted((bid["auction"], bid["price"]) for bid in bids if bid["auction"] % WANTED == 0)


def query_5(events: Sequence[Event]) -> Rows:
    """Hot items: every two minutes, which auctions had the most bids in the last ten."""
    counts: dict[int, Counter[int]] = defaultdict(Counter)
    for bid in bids_of(events):
        first = (bid["at"] - HOT_SIZE_MS) // HOT_STEP_MS + 1
        for step in range(first, bid["at"] // HOT_STEP_MS + 1):
            counts[step * HOT_STEP_MS][bid["auction"]] += 1
    return sorted(
        (start, auction, count)
        for start, of_window in counts.items()
        for auction, count in of_window.items()
        if count == max(of_window.values())
    )


def query_7(events: Sequence[Event]) -> Rows:
    """Highest bid: of every five minutes, the bids of the highest price."""
    windows: dict[int, list[Event]] = defaultdict(list)
    for bid in bids_of(events):
        windows[bid["at"] - bid["at"] % HIGHEST_SIZE_MS].append(bid)
    found = set()
    for start, bids in windows.items():
        highest = max(bid["price"] for bid in bids)
        found |= {(start, bid["auction"], bid["bidder"], highest) for bid in bids if bid["price"] == highest}
    return sorted(found)


def query_8(events: Sequence[Event]) -> Rows:
    """New users: who registered and opened an auction in the same five minutes."""

    def window(event: Event) -> int:
        return event["at"] // NEW_USERS_SIZE_MS * NEW_USERS_SIZE_MS  # type: ignore[no-any-return]

    opened = {(event["seller"], window(event)) for event in events if event["kind"] == "auction"}
    persons = [event for event in events if event["kind"] == "person" and event["at"] < END_MS]
    return sorted((it["id"], it["name"], window(it)) for it in persons if (it["id"], window(it)) in opened)


def query_11(events: Sequence[Event]) -> Rows:
    """User sessions: how many bids each user made until there was none for two minutes."""
    times: dict[int, list[int]] = defaultdict(list)
    for bid in bids_of(events):
        times[bid["bidder"]].append(bid["at"])
    found = []
    for bidder, of_bidder in times.items():
        session: list[int] = []
        for at in [*sorted(of_bidder), None]:
            if session and (at is None or at - session[-1] >= SESSION_GAP_MS):
                found.append((bidder, session[0], session[-1] + SESSION_GAP_MS, len(session)))
                session = []
            if at is not None:
                session.append(at)
    return sorted(found)


def query_12(arrivals: Sequence[tuple[int, Event]]) -> Rows:
    """Processing time: how many bids each user made in ten seconds, by the times at which the records arrived."""
    counts: Counter[tuple[int, int]] = Counter()
    for arrived_at, event in arrivals:
        if event["kind"] == "bid" and event["at"] < END_MS:
            counts[event["bidder"], arrived_at // ARRIVAL_SIZE_MS * ARRIVAL_SIZE_MS] += 1
    return sorted((*which, count) for which, count in counts.items())


OF_EVENTS: Final[Mapping[str, Callable[[Sequence[Event]], Rows]]] = {
    "query_1": query_1,
    "query_2": query_2,
    "query_5": query_5,
    "query_7": query_7,
    "query_8": query_8,
    "query_11": query_11,
}
"""Those that ask for nothing but the events."""
