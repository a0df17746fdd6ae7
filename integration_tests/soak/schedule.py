"""Pure: which faults a soak goes through, and when. The same seed and setting give the same schedule."""

from __future__ import annotations

import enum
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kafka_stream.types import OF_EVERY_BATCH, Phase

STORES = ("postgres", "mariadb", "sqlite", "zookeeper", "kafka")
ASSIGNMENTS = ("static", "classic", "consumer")
"""Shards; or a group, by one of Kafka's two protocols."""
PARTITIONS = 8
MEMBERS = 4
MOST_MEMBERS = 6
FEWEST_MEMBERS = 2
MOST_MORE_PARTITIONS = 4
_MOST_BACK = 60


class Fault(enum.StrEnum):
    """What is done to the stream, to what it rests on, or by those who run it."""

    KILLED = "killed"
    KILLED_AT_START = "killed at its start"
    KILLED_AT_PHASE = "killed at a phase"
    FROZEN = "frozen"
    CUT_BEFORE_COMMIT = "cut before commit"
    CUT_AFTER_COMMIT = "cut after commit"
    CUT = "connections cut"
    STORE_AWAY = "store away"
    SESSIONS_EXPIRED = "sessions expired"
    BROKER_KILLED = "broker killed"
    BROKER_PAUSED = "broker paused"
    JOINED = "member joined"
    LEFT = "member left"
    RESHARDED = "resharded"
    PARTITION_ADDED = "partition added"
    RESET = "reset"


KILLS = frozenset({Fault.KILLED, Fault.KILLED_AT_START, Fault.KILLED_AT_PHASE})
ROLES = ("leader of a partition", "coordinator", "transaction coordinator")
"""What the broker that is killed or paused does, where there are several."""
BROKER_FAULTS = frozenset({Fault.BROKER_KILLED, Fault.BROKER_PAUSED})

_WEIGHTS: Mapping[Fault, float] = {
    Fault.KILLED: 30,
    Fault.KILLED_AT_START: 10,
    Fault.KILLED_AT_PHASE: 45,
    Fault.FROZEN: 6,
    Fault.CUT_BEFORE_COMMIT: 5,
    Fault.CUT_AFTER_COMMIT: 5,
    Fault.CUT: 3,
    Fault.STORE_AWAY: 2,
    Fault.SESSIONS_EXPIRED: 2,
    Fault.BROKER_KILLED: 0.15,
    Fault.BROKER_PAUSED: 0.15,
    Fault.JOINED: 3,
    Fault.LEFT: 2,
    Fault.RESHARDED: 1,
    Fault.PARTITION_ADDED: 0.5,
    Fault.RESET: 2,
}
_LASTS_S: Mapping[Fault, tuple[float, float]] = {
    Fault.STORE_AWAY: (0.3, 2.0),
    Fault.SESSIONS_EXPIRED: (3.0, 5.0),
    Fault.BROKER_KILLED: (0.5, 4.0),
    Fault.BROKER_PAUSED: (1.0, 9.0),
    Fault.KILLED_AT_START: (0.0, 0.6),
}


@dataclass(frozen=True)
class Setting:
    """What a soak is of. ``brokers`` is how many of its own it has, whom it may harm; 0: it shares one."""

    store: str
    assignment: str
    seconds: float
    pace_s: float = 1.0
    brokers: int = 0

    def __post_init__(self) -> None:
        if self.store not in STORES or self.assignment not in ASSIGNMENTS:
            raise ValueError(f"{self.store!r} with {self.assignment!r} is no pairing of {STORES} and {ASSIGNMENTS}")
        if self.pace_s <= 0 or self.seconds < 0:
            raise ValueError("a soak takes time, and so does each fault")

    def faults(self) -> tuple[Fault, ...]:
        """Those that can come."""
        return tuple(fault for fault in Fault if fault not in self._impossible())

    def _impossible(self) -> frozenset[Fault]:
        found: set[Fault] = set()
        if self.brokers == 0:
            found |= BROKER_FAULTS
        # SQLite has no connection, and the proxy that cuts Kafka's stands for one broker.
        if self.store == "sqlite" or (self.store == "kafka" and self.brokers > 1):
            found |= {Fault.CUT_BEFORE_COMMIT, Fault.CUT_AFTER_COMMIT, Fault.CUT, Fault.STORE_AWAY}
        if self.store != "zookeeper":
            found.add(Fault.SESSIONS_EXPIRED)
        if self.assignment == "static":
            found |= {Fault.JOINED, Fault.LEFT}
        else:
            found.add(Fault.RESHARDED)
            if self.store == "kafka":  # a group with members is not moved
                found.add(Fault.RESET)
        return frozenset(found)


@dataclass(frozen=True)
class Event:
    """One fault: when it is due, whom it meets (``members``: numbers, modulo how many there are), and where.

    ``phase`` and ``nth`` say at which point of a batch; ``lasts_s`` for how long something is away; ``partition`` and
    ``back`` what a reset moves by how much, ``shards`` into how many a stream is cut, ``role`` which broker it is.
    """

    number: int
    at_s: float
    fault: Fault
    members: tuple[int, ...] = (0,)
    phase: Phase = Phase.AFTER_FETCH
    nth: int = 1
    lasts_s: float = 0.0
    partition: int = 0
    back: int = 0
    shards: int = MEMBERS
    role: str = ROLES[0]

    def __str__(self) -> str:
        return f"{self.number:4d} at {self.at_s:7.1f} s: {self.fault}{self._details()}"

    def _details(self) -> str:
        whom = "member " + ", ".join(map(str, self.members))
        return {
            Fault.KILLED: f", {whom}",
            Fault.KILLED_AT_START: f", {whom}, after {self.lasts_s:.2f} s",
            Fault.KILLED_AT_PHASE: f", {whom}, {self.phase}:{self.nth}",
            Fault.FROZEN: f", {whom}, {self.phase}:{self.nth}",
            Fault.LEFT: f", {whom}",
            Fault.RESET: f", partition {self.partition} by {-self.back}",
            Fault.RESHARDED: f", {self.shards} shards",
        }.get(self.fault, f", {self.lasts_s:.1f} s" if self.lasts_s else "")


def schedule(seed: int, setting: Setting) -> tuple[Event, ...]:
    """All faults of a soak, in order; those that the run has no time for are left out at its end."""
    return tuple(_events(random.Random(f"{seed} {setting.store} {setting.assignment}"), setting))


def _events(chance: random.Random, setting: Setting) -> Iterator[Event]:
    faults = setting.faults()
    weights = [_WEIGHTS[fault] for fault in faults]
    at_s, number, grown, turn = 0.0, 0, 0, 0
    while (at_s := at_s + chance.expovariate(1 / setting.pace_s)) < setting.seconds:
        (fault,) = chance.choices(faults, weights)
        if fault is Fault.PARTITION_ADDED and (grown := grown + 1) > MOST_MORE_PARTITIONS:
            fault = Fault.KILLED
        count = chance.choice((1, 1, 1, 1, 2, MEMBERS)) if fault is Fault.KILLED else 1
        yield Event(
            number,
            at_s,
            fault,
            members=tuple(range(turn, turn + count)),
            phase=chance.choice(_phases(fault, setting)),
            nth=chance.randint(1, 3),
            lasts_s=chance.uniform(*_LASTS_S.get(fault, (0.0, 0.0))),
            partition=chance.randrange(PARTITIONS),
            back=chance.randint(1, _MOST_BACK),
            shards=chance.randint(FEWEST_MEMBERS, MOST_MEMBERS),
            role=chance.choice(ROLES),
        )
        turn, number = turn + count, number + 1


def _phases(fault: Fault, setting: Setting) -> tuple[Phase, ...]:
    """On SQLite a transaction keeps everybody out: nobody could take over from one who is frozen inside it."""
    inside = {Phase.AFTER_CLAIM, Phase.AFTER_WRITE, Phase.AFTER_ADVANCE}
    if fault is Fault.FROZEN and setting.store == "sqlite":
        return tuple(phase for phase in OF_EVERY_BATCH if phase not in inside)
    return OF_EVERY_BATCH


__all__ = [
    "ASSIGNMENTS",
    "BROKER_FAULTS",
    "KILLS",
    "MEMBERS",
    "PARTITIONS",
    "STORES",
    "Event",
    "Fault",
    "Setting",
    "schedule",
]
