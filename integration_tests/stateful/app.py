"""The service's sinks: everything that keeps state, at once or each alone; and its second version."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka import Message

from integration_tests.stateful.tables import Tables
from kafka_stream import Batch
from kafka_stream.progress import StreamListener
from kafka_stream.sinks.sql import (
    Add,
    Count,
    Deduplicate,
    Greatest,
    Latest,
    Least,
    Max,
    Merge,
    Min,
    Session,
    Sliding,
    SqlSink,
    StateSink,
    Sum,
    Tumbling,
    WindowSink,
)
from kafka_stream.types import OffsetRange, Phase

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATENESS_S = 4
TUMBLING_S = 10
SLIDING_S, EVERY_S = 20, 5
GAP_S = 2
WITHIN_S = 60
MILESTONE = 50
MODULUS = 1_000_003
ALL = ("merge", "state", "windows", "duplicates")
TICK_SIGNAL = "KAFKA_STREAM_TEST_TICK_SIGNAL"

Pair = tuple[Message, Mapping[str, Any]]


@dataclass(frozen=True)
class Options:
    """What a start of the service is told beside its settings; it travels as its ``target``."""

    version: int = 1
    sinks: Sequence[str] = ALL
    idle_after_s: float = 600.0
    linger_s: float = 0.0

    @classmethod
    def of(cls, target: str) -> Options:
        """Those of a target."""
        return cls(**json.loads(target))

    def __str__(self) -> str:
        return json.dumps(asdict(self))


def decode(batch: Batch) -> Iterable[Pair]:
    """The records with their values."""
    return batch.decoded(json.loads)


def event_time(value: Mapping[str, Any]) -> datetime:
    """When it happened."""
    return EPOCH + timedelta(milliseconds=value["t"])


class Sinks:
    """The sinks of one version, into its tables."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.tables = Tables(options.version)
        self._doubles = options.version > 1

    def all(self) -> list[Any]:
        """Those that are wanted, and behind each kind of state what shows that each record came once."""
        kinds: dict[str, Callable[[], list[Any]]] = {
            "merge": self._merge,
            "state": self._state,
            "windows": self._windows,
            "duplicates": self._duplicates,
        }
        wanted = [sink for name in ALL if name in self.options.sinks for sink in kinds[name]()]
        return [self._linger, SqlSink(self.tables.processed, self._processed), *wanted]

    def _linger(self, pairs: Iterable[Pair], transaction: object) -> None:
        time.sleep(self.options.linger_s)

    def _processed(self, pairs: Iterable[Pair]) -> Iterator[dict[str, Any]]:
        for message, _ in pairs:
            yield {**_place(message), "code_version": self.options.version}

    def _merge(self) -> list[Any]:
        more: dict[str, Any] = {"doubled": Add} if self._doubles else {}
        merge = Merge(
            records=Add,
            amount=Add,
            largest=Greatest,
            smallest=Least,
            last_t=Greatest,
            last_id=Latest(by="last_t"),
            **more,
        )
        return [SqlSink(self.tables.totals, self._totals, on_conflict=merge)]

    def _totals(self, pairs: Iterable[Pair]) -> Iterator[dict[str, Any]]:
        for _, value in pairs:
            amount = value["amount"]
            row = {"key": value["key"], "records": 1, "amount": amount, "largest": amount, "smallest": amount}
            row |= {"last_t": value["t"], "last_id": value["id"]}
            yield row | {"doubled": 2 * amount} if self._doubles else row

    def _state(self) -> list[Any]:
        shared = StateSink(
            self.tables.shared,
            lambda value: value["shared"],
            self._update_shared,
            then=[SqlSink(self.tables.milestones, list)],
        )
        chains = StateSink(self.tables.chains, lambda value: value["key"], _update_chain, scope="partition")
        return [shared, chains]

    def _update_shared(
        self, key: str, records: Sequence[Mapping[str, Any]], row: Mapping[str, Any] | None, emit: Callable[[Any], None]
    ) -> dict[str, Any]:
        before = row or {"records": 0, "amount": 0}
        count = before["records"] + len(records)
        amount = sum(value["amount"] for value in records)
        for passed in range(before["records"] // MILESTONE + 1, count // MILESTONE + 1):
            emit({"shared": key, "records": passed * MILESTONE})
        after = {"records": count, "amount": before["amount"] + amount}
        return after | {"doubled": (before.get("doubled") or 0) + 2 * amount} if self._doubles else after

    def _windows(self) -> list[Any]:
        aggregates: dict[str, Any] = {
            "records": Count(), "amount": Sum("amount"), "largest": Max("amount"), "smallest": Min("amount")
        }  # fmt: skip
        more: dict[str, Any] = {"doubled": Sum(lambda value: 2 * value["amount"])} if self._doubles else {}
        kinds: list[tuple[str, Any, str, dict[str, Any]]] = [
            ("tumbling", Tumbling(timedelta(seconds=TUMBLING_S)), "shared", more),
            ("sliding", Sliding(timedelta(seconds=SLIDING_S), every=timedelta(seconds=EVERY_S)), "shared", {}),
            ("sessions", Session(timedelta(seconds=GAP_S)), "key", {}),
        ]
        return [
            WindowSink(
                self.tables.windows[name],
                window,
                lambda value, key=key: value[key],  # type: ignore[misc]
                event_time,
                {**aggregates, **added},
                allowed_lateness=timedelta(seconds=LATENESS_S),
                idle_after=timedelta(seconds=self.options.idle_after_s),
                on_close=self._noting_closes(name),
            )
            for name, window, key, added in kinds
        ]

    def _noting_closes(self, windows: str) -> Callable[[list[dict[str, Any]], Any], None]:
        kept = ("key", "window_start", "window_end", "records")

        def note(rows: list[dict[str, Any]], transaction: Any) -> None:
            noted = [{"windows": windows, **{name: row[name] for name in kept}} for row in rows]
            transaction.connection.execute(self.tables.closes.insert(), noted)

        return note

    def _duplicates(self) -> list[Any]:
        within = timedelta(seconds=WITHIN_S)
        return [Deduplicate(lambda value: value["id"], within, time=event_time), SqlSink(self.tables.passed, _passed)]


def _place(message: Message) -> dict[str, Any]:
    return {"partition": message.partition(), "record_offset": message.offset()}


def _passed(pairs: Iterable[Pair]) -> Iterator[dict[str, Any]]:
    for message, value in pairs:
        yield {"id": value["id"], "t": value["t"], **_place(message)}


def _update_chain(key: str, records: Sequence[Mapping[str, Any]], row: Mapping[str, Any] | None) -> dict[str, Any]:
    """Depends on the order of the records."""
    found = row or {"records": 0, "digest": 0}
    digest = found["digest"]
    for value in records:
        digest = (digest * 31 + value["amount"]) % MODULUS
    return {"records": found["records"] + len(records), "digest": digest}


class SignalInTick(StreamListener):
    """Sends its own process a signal at a named point of its nth tick: ``kill:after_write:2``, ``stop:after_claim:1``.

    A tick claims what it owns, and moves nothing.
    """

    def __init__(self, told: str) -> None:
        name, phase, nth = told.split(":")
        self._signal = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}[name]
        self._phase, self._left = Phase(phase), int(nth)

    @classmethod
    def from_env(cls) -> SignalInTick | None:
        """The one that the environment asks for."""
        told = os.environ.get(TICK_SIGNAL)
        return cls(told) if told else None

    def on_phase(self, phase: Phase, ranges: tuple[OffsetRange, ...]) -> None:
        """Count, and send the signal when it is time."""
        if phase is self._phase and ranges and all(r.from_offset == r.until_offset for r in ranges):
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), self._signal)


__all__ = ["ALL", "Options", "SignalInTick", "Sinks", "decode", "event_time"]
