"""One soak: members, producers and faults for as long as its setting says; then what came of it."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from integration_tests.group_protocols import shorten_sessions
from integration_tests.servers import KafkaServer, random_name
from integration_tests.service_settings import ServiceSettings
from integration_tests.soak.actions import Actions
from integration_tests.soak.crew import ENDS_S, SESSION_S, Crew
from integration_tests.soak.feed import Feed
from integration_tests.soak.judgement import Read, Verdict, judge
from integration_tests.soak.pauses import NO_RECORDS, Interval, Pause, Pauses
from integration_tests.soak.places import Place
from integration_tests.soak.schedule import MEMBERS, PARTITIONS, Event, Setting, schedule
from kafka_stream.errors import KafkaStreamError
from kafka_stream.plugins import store_from_url
from kafka_stream.protocols import AdministeredStore
from kafka_stream.types import TopicPartition

LOOK_S = 0.02
STILL_S = 1.0
"""Producers that have committed nothing for so long are a reason for a pause, too."""
ALL_READ_S = 180.0
FEED_PAUSE_S = 0.15


@dataclass(frozen=True)
class Outcome:
    """What a soak has shown."""

    seed: int
    setting: Setting
    seconds: float
    faults: Counter[str]
    kills: int
    batches: int
    gave_up: int
    left_out: int
    """Faults of the schedule for which there was no time."""
    load: float
    """How many processes wanted a processor, on average over the soak, whoever's they were."""
    verdict: Verdict | None
    pause: Pause
    pauses: dict[str, float]
    findings: tuple[str, ...]
    no_verdict: str | None = None
    """Why there is none: what the soak stands on has failed, so what it has shown until then is not known."""

    @property
    def is_good(self) -> bool:
        """Exactly once, in order, up to the ends, and nobody stopped who should not."""
        return self.verdict is not None and self.verdict.is_exactly_once and not self.findings


class Load:
    """The machine's load, looked at whenever a fault is due."""

    def __init__(self) -> None:
        self._seen = [os.getloadavg()[0]]

    def look(self) -> None:
        """Once more."""
        self._seen.append(os.getloadavg()[0])

    @property
    def mean(self) -> float:
        """Of all looks."""
        return sum(self._seen) / len(self._seen)


class Soak:
    """A stream with all that is around it. ``say`` gets a line for each fault."""

    def __init__(
        self, setting: Setting, seed: int, place: Place, kafka: KafkaServer, directory: Path, say: Callable[[str], None]
    ) -> None:
        self.setting = setting
        self.seed = seed
        self.place = place
        self.kafka = kafka
        self.say = say
        self.topic = kafka.create_topic(partitions=PARTITIONS)
        self.stream = random_name("soak")
        self.pauses = Pauses()
        self.crew = Crew(self._settings, directory, self.pauses)
        store = store_from_url(place.direct_url)
        assert isinstance(store, AdministeredStore)
        self.store = store
        self._sessions: Mapping[str, int] = {"session.timeout.ms": int(SESSION_S * 1000), "heartbeat.interval.ms": 500}
        if setting.assignment == "consumer":  # the group has them, not its members
            shorten_sessions(kafka.bootstrap_servers, self.stream, int(SESSION_S * 1000))
            self._sessions = {}
        self._actions = Actions(self)
        self._feed = Feed(kafka.bootstrap_servers, self.topic, seed, FEED_PAUSE_S)
        self.producers_id = self._feed.transactions[0].id
        self._still: Interval | None = None
        self._load = Load()
        self._left_out = 0
        self._done: Counter[str] = Counter()

    def _settings(self, number: int, count: int) -> ServiceSettings:
        return ServiceSettings(
            bootstrap_servers=self.place.bootstrap_servers or self.kafka.bootstrap_servers,
            store=self.place.url,
            topic=self.topic,
            stream=self.stream,
            assignment=f"static:{number}/{count}" if self.setting.assignment == "static" else "group",
            group_protocol="auto" if self.setting.assignment == "static" else self.setting.assignment,
            handler=self.place.handler,
            target=self.place.target,
            max_records_per_batch=200,
            kafka={
                **self._sessions,
                # Some ten batches a second, rather than one for each record.
                "fetch.min.bytes": 100_000,
                "fetch.wait.max.ms": 100,
                "reconnect.backoff.max.ms": 500,
            },
            zookeeper_session_s=2.0 if self.setting.store == "zookeeper" else None,
        )

    def run(self) -> Outcome:
        """Go through the schedule, and through what comes after it."""
        started = time.monotonic()
        verdict, why_not = None, None
        try:
            self.crew.man(MEMBERS)
            self._feed.start()
            self.wait(lambda: all(slot.is_at_work() for slot in self.crew.slots), ALL_READ_S)
            self._go_through(schedule(self.seed, self.setting))
            verdict = self._finish()
        except Exception as error:
            why_not = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        finally:
            self._feed.stop()
            self.crew.end()
            self.store.close()
        return self._outcome(time.monotonic() - started, verdict, why_not)

    def _outcome(self, seconds: float, verdict: Verdict | None, why_not: str | None) -> Outcome:
        return Outcome(
            self.seed,
            self.setting,
            seconds,
            self._done,
            self.crew.kills,
            self.crew.batches,
            self.crew.gave_up,
            self._left_out,
            self._load.mean,
            verdict,
            self.pauses.longest,
            self.pauses.by_fault,
            tuple(self.crew.findings),
            why_not,
        )

    def _go_through(self, events: tuple[Event, ...]) -> None:
        began = time.monotonic()
        for event in events:
            self.wait(lambda: False, began + event.at_s - time.monotonic())
            self._load.look()
            if time.monotonic() - began > self.setting.seconds:
                self._left_out = len(events) - event.number
                self.say(f"      the time is up; {self._left_out} faults were left out")
                return
            self.say(f"{event}{self._lateness(time.monotonic() - began - event.at_s)}")
            found = len(self.crew.findings)
            self._actions.do(event)
            self._done[event.fault] += 1
            for finding in self.crew.findings[found:]:
                self.say(f"FOUND {finding}")

    @staticmethod
    def _lateness(seconds: float) -> str:
        return f" ({seconds:.0f} s late)" if seconds >= 1 else ""

    def wait(self, condition: Callable[[], object], timeout_s: float) -> bool:
        """Look after the members until something is true; False if it is not in time."""
        deadline = time.monotonic() + timeout_s
        while True:
            self.crew.look()
            self._look_at_feed()
            if condition():
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(LOOK_S)

    def _look_at_feed(self) -> None:
        stands_still = self._feed.stands_still_for_s() > STILL_S
        if stands_still and self._still is None:
            self._still = self.pauses.begin(NO_RECORDS, time.monotonic() - STILL_S)
        elif not stands_still and self._still is not None:
            self._still.ended_at, self._still = time.monotonic(), None

    @contextmanager
    def fault(self, name: str) -> Iterator[None]:
        """It is on until the block has ended, and a little more."""
        interval = self.pauses.begin(name, time.monotonic())
        yield
        interval.ended_at = time.monotonic() + STILL_S

    def _finish(self) -> Verdict:
        self.place.come_back()
        self.wait(lambda: not self.crew.frozen, 2 * ENDS_S)
        self._feed.stop()
        self.pauses.finish(time.monotonic())
        if not self.wait(self._is_stable, ALL_READ_S):
            self.crew.find("a transaction of the producers is open and does not end")
        if not self.wait(self._is_read, ALL_READ_S):
            self.crew.find(f"not everything was read within {ALL_READ_S:g} s: {self._unread()}")
        for slot in list(self.crew.slots):
            self.crew.dismiss(slot)
        self.wait(lambda: not self.crew.leaving, ENDS_S)
        if unread := self._unread():
            self.crew.find(f"stored positions are not the ends: {unread}")
        committed = [_read(*record) for record in self.kafka.read_committed(self.topic)]
        return judge(committed, self.place.results(), self._actions.moves)

    def _is_stable(self) -> bool:
        ends = partial(self.kafka.end_offsets, self.topic)
        return ends(committed=True) == ends(committed=False)

    def _is_read(self) -> bool:
        for _ in range(10):  # a look at the brokers is dear
            self.crew.look()
            time.sleep(LOOK_S)
        return not self._unread()

    def _unread(self) -> dict[str, str]:
        """By partition, what is stored that is not the end, or is planned and not committed."""
        ends = self.kafka.end_offsets(self.topic)
        try:
            stored = self.store.positions(self.stream)
        except KafkaStreamError as error:
            return {"positions": str(error)}
        found: dict[str, str] = {}
        for number, end in ends.items():
            position = stored.get(TopicPartition(self.topic, number))
            if position is None or position.next_offset != end or position.planned_until is not None:
                at = "nothing" if position is None else f"{position.next_offset}, planned {position.planned_until}"
                found[str(number)] = f"{at} of {end}"
        return found


def _read(partition: int, offset: int, key: bytes | None, value: bytes | None) -> Read:
    return Read(partition, offset, None if key is None else key.decode(), None if value is None else value.decode())


__all__ = ["Outcome", "Soak"]
