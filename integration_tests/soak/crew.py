"""The members of a soak's stream: who is at work, who was told to die, who is frozen; and who takes their places."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from integration_tests.service_settings import ServiceSettings
from integration_tests.soak.inside import VARIABLE, tell
from integration_tests.soak.nursery import ForkedService
from integration_tests.soak.pauses import Interval, Pauses
from kafka_stream.types import Phase

SESSION_S = 3.0
DOOMED_S = 10.0
"""So long a member may take to come to the point at which it is to die; then it dies wherever it is."""
SUCCESSOR_S = 60.0
"""So long a successor may take to commit something beside a frozen owner."""
ENDS_S = 60.0
"""So long a member may take to stop in order, or to notice that it was replaced."""

_UNAVAILABLE = frozenset({"BrokerUnavailable", "StoreUnavailable"})


class Member:
    """One process of the stream, and what it has said so far."""

    def __init__(self, settings: ServiceSettings, directory: Path, number: int) -> None:
        self.name = f"{number}"
        self._fate = directory / f"member-{number}.fate"
        log = directory / f"member-{number}.out"
        self.service = ForkedService(settings, log, {VARIABLE: str(self._fate)})
        self._read = 0
        self.batches = 0
        self.takeovers = 0
        self.doomed_at: float | None = None
        self._dismissed_before_ready = False

    def look(self) -> Iterator[list[int]]:
        """What it has committed since the last look: the partitions of each batch."""
        with self.service.log.open("rb") as log:
            log.seek(self._read)
            lines = log.read()
        whole = lines.rpartition(b"\n")[0]
        self._read += len(whole) + 1 if whole else 0
        for line in whole.splitlines():
            if line.startswith(b"moved "):
                self.batches += 1
                yield json.loads(line[len(b"moved ") :])
            elif line.startswith(b"positions "):
                self.takeovers += 1

    def doom(self, fate: str, phase: Phase, nth: int) -> None:
        """It is to die, or to freeze, at a point of one of its next batches."""
        tell(self._fate, fate, phase, nth)
        if fate == "kill":
            self.doomed_at = time.monotonic()

    def kill(self) -> None:
        """At once."""
        self.doomed_at = time.monotonic()
        self.service.signal(signal.SIGKILL)

    def dismiss(self) -> None:
        """It is to stop in order."""
        self._dismissed_before_ready = not self.service.said("ready")
        self.service.signal(signal.SIGTERM)

    def has_stopped(self, status: int) -> bool:
        """Whether this is how one ends that was dismissed; of one that had not begun, the signal itself is."""
        return status == 0 or (status == -signal.SIGTERM and self._dismissed_before_ready)

    def failure(self) -> Any:
        """With what it has stopped; None if it did not say."""
        said = self.service.said("failed")
        return said[0] if said else None

    def last_words(self) -> Any:
        """With what it has stopped, or else the last line of its errors."""
        return self.failure() or (self.service.errors.read_text(errors="replace").splitlines() or [""])[-1]

    def has_lost_its_place(self) -> bool:
        """Whether it has stopped because another one owns what it owned."""
        failure = self.failure()
        return failure is not None and failure["type"] == "OwnershipLost"

    def has_found_nobody(self) -> bool:
        """Whether it has stopped before it had begun, since no broker or no store answered: supervisors restart it."""
        failure = self.failure()
        return self.takeovers == 0 and failure is not None and failure["type"] in _UNAVAILABLE


@dataclass
class Slot:
    """A place in the crew: its member, and the faults that are on until this one has worked."""

    settings: ServiceSettings
    member: Member
    intervals: list[Interval] = field(default_factory=list)

    @property
    def shard(self) -> tuple[int, int] | None:
        """Index and count, where it owns one."""
        _, is_static, of = self.settings.assignment.partition(":")
        index, _, count = of.partition("/")
        return (int(index), int(count)) if is_static else None

    def is_at_work(self) -> bool:
        """Whether its member has committed something and nothing is to happen to it."""
        return self.member.batches > 0 and self.member.doomed_at is None and self.member.service.is_running()


@dataclass
class Frozen:
    """A member that was replaced while it was frozen; it wakes up when its successor has worked."""

    member: Member
    successor: Slot
    beside: Member
    interval: Interval
    since: float
    woken_at: float | None = None


class Crew:
    """All members. ``look`` is called all the time: it sees who has worked, died, or has to be replaced."""

    def __init__(self, settings: Callable[[int, int], ServiceSettings], directory: Path, pauses: Pauses) -> None:
        self._settings = settings
        self._directory = directory
        self._pauses = pauses
        self._started = 0
        self.slots: list[Slot] = []
        self.frozen: list[Frozen] = []
        self.leaving: dict[Member, float] = {}
        self.findings: list[str] = []
        self.kills = 0
        self.gave_up = 0
        """Members that found no broker, or no store, when they were started: they say so, end, and are restarted."""
        self.batches = 0

    @property
    def is_group(self) -> bool:
        """Whether members come and go by themselves; otherwise each owns a shard."""
        return self._settings(0, 1).assignment == "group"

    def man(self, count: int) -> None:
        """So many members, where nobody is left."""
        assert not self.slots
        self.slots = [Slot(it, self._begun(it)) for it in (self._settings(n, count) for n in range(count))]

    def add(self) -> None:
        """One more of a group."""
        settings = self._settings(len(self.slots), len(self.slots) + 1)
        self.slots.append(Slot(settings, self._begun(settings)))

    def _begun(self, settings: ServiceSettings) -> Member:
        self._started += 1
        return Member(settings, self._directory, self._started)

    def replace(self, slot: Slot) -> None:
        """A new member at once."""
        slot.member = self._begun(slot.settings)

    def kill(self, slot: Slot, fault: str) -> None:
        """End a slot's member; the next look replaces it."""
        self.begin(slot, fault)
        slot.member.kill()

    def begin(self, slot: Slot, fault: str) -> None:
        """A fault of its member is on, until a member of this slot has committed something."""
        slot.intervals.append(self._pauses.begin(fault, time.monotonic(), slot.shard))

    def freeze(self, slot: Slot, fault: str) -> None:
        """Its member is frozen: another one takes its place."""
        now = time.monotonic()
        interval = self._pauses.begin(fault, now, slot.shard)
        asleep = slot.member
        self.replace(slot)
        self.frozen.append(Frozen(asleep, slot, slot.member, interval, now))

    def dismiss(self, slot: Slot) -> None:
        """Its member is to stop in order, and nobody takes its place."""
        self.slots.remove(slot)
        self._end(slot.intervals)
        self.leaving[slot.member] = time.monotonic()
        slot.member.dismiss()

    def look(self) -> None:
        """See what has happened, and replace who is gone."""
        for slot in self.slots:
            self._look_at(slot)
        for frozen in list(self.frozen):
            self._look_at_frozen(frozen)
        for member, since in list(self.leaving.items()):
            self._commits_of(member)
            self._look_at_leaving(member, since)

    def _commits_of(self, member: Member) -> bool:
        found = False
        for moved in member.look():
            self._pauses.committed(moved, time.monotonic())
            self.batches += 1
            found = True
        return found

    def _look_at(self, slot: Slot) -> None:
        member = slot.member
        if self._commits_of(member):
            self._end(slot.intervals)
        if member.service.is_running():
            if member.doomed_at is not None and time.monotonic() - member.doomed_at > DOOMED_S:
                member.kill()
            return
        self._commits_of(member)
        status = member.service.wait()
        if status == -signal.SIGKILL and member.doomed_at is not None:
            self.kills += 1
        elif member.has_found_nobody():
            self.gave_up += 1
        elif not (member.has_lost_its_place() and self._was_replaced(slot)):
            self.find(f"member {member.name} ended with status {status} ({member.last_words()})")
        self.replace(slot)

    def _was_replaced(self, slot: Slot) -> bool:
        """Two members of one shard, of whom the other one was frozen, may meet once more while it wakes up."""
        return any(frozen.successor is slot for frozen in self.frozen)

    def _look_at_frozen(self, frozen: Frozen) -> None:
        now, member = time.monotonic(), frozen.member
        self._commits_of(member)
        if frozen.woken_at is None:
            worked = frozen.beside.batches > 0 or frozen.successor.member.batches > 0
            if worked and (not self.is_group or now - frozen.since > SESSION_S + 1.0):
                self._wake(frozen)
            elif now - frozen.since > SUCCESSOR_S:
                self.find(f"nobody has worked for {SUCCESSOR_S:g} s beside member {member.name}, which is frozen")
                self._wake(frozen)
        elif self.is_group and now - frozen.woken_at > SESSION_S and member.service.is_running():
            self.frozen.remove(frozen)
            self.leaving[member] = now
            member.dismiss()
        elif not member.service.is_running():
            self.frozen.remove(frozen)
            if self.is_group or not member.has_lost_its_place():
                status = member.service.wait()
                self.find(f"member {member.name}, which was frozen, ended with {status} ({member.last_words()})")
        elif now - frozen.woken_at > ENDS_S:
            self.frozen.remove(frozen)
            self.find(f"member {member.name} was replaced while it was frozen, and goes on")
            member.service.end()

    def _wake(self, frozen: Frozen) -> None:
        frozen.woken_at = frozen.interval.ended_at = time.monotonic()
        frozen.member.service.signal(signal.SIGCONT)

    def _look_at_leaving(self, member: Member, since: float) -> None:
        if member.service.is_running():
            if time.monotonic() - since < ENDS_S:
                return
            self.find(f"member {member.name} has not stopped within {ENDS_S:g} s")
            member.service.end()
        elif (status := member.service.wait()) == -signal.SIGKILL and member.doomed_at is not None:
            self.kills += 1
        elif member.has_found_nobody():
            self.gave_up += 1
        elif not member.has_stopped(status):
            self.find(f"member {member.name} was to stop and ended with status {status} ({member.last_words()})")
        del self.leaving[member]

    def find(self, what: str) -> None:
        """Something that should not be."""
        self.findings.append(what)

    def end(self) -> None:
        """Nobody is left, whatever they are doing."""
        everybody = [slot.member for slot in self.slots] + [frozen.member for frozen in self.frozen] + [*self.leaving]
        for member in everybody:
            member.service.end()

    def _end(self, intervals: list[Interval]) -> None:
        for interval in intervals:
            interval.ended_at = time.monotonic()
        intervals.clear()


__all__ = ["SESSION_S", "Crew", "Frozen", "Member", "Slot"]
