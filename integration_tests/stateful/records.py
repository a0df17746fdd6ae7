"""The topic's records, from a seed: out of order, late, some ids more than once, and keys that partitions share."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

from integration_tests.servers import KafkaServer

START_MS = 1_750_000_000_000
STEP_MS = 200
"""So much later, in the mean, each record of a partition is than the one before it."""
KEYS, SHARED = 12, 5
AGAIN_MS = 150_000
"""So much later an id that comes again is no duplicate any more."""


class Feed:
    """Produces records, from a seed; event time goes on from one call to the next."""

    def __init__(self, kafka: KafkaServer, topic: str, seed: int) -> None:
        self._kafka = kafka
        self.topic = topic
        self._chance = random.Random(seed)
        self._clock_ms = START_MS
        self._number = 0
        self.produced = 0
        self._to_come_again: dict[int, list[tuple[str, int]]] = {}

    def produce(self, partitions: Sequence[int], records: int) -> None:
        """So many records in each partition."""
        values: dict[int, list[dict[str, Any]]] = {partition: [] for partition in partitions}
        for _ in range(records):
            self._clock_ms += self._chance.randrange(2 * STEP_MS)
            for partition in partitions:
                self._add(values, partition)
        for partition, found in values.items():
            self._send(partition, found)

    def pause(self, seconds: int) -> None:
        """Nothing happens for so long, in event time."""
        self._clock_ms += 1000 * seconds

    def push(self, partitions: Sequence[int], ahead_s: int) -> None:
        """One record in each partition, whose time is so far ahead that every window before it is over."""
        self.pause(ahead_s)
        for partition in partitions:
            self._send(partition, [self._value(partition, self._clock_ms)])

    def _add(self, values: dict[int, list[dict[str, Any]]], partition: int) -> None:
        chance = self._chance
        value = self._value(partition, self._clock_ms - self._behind_ms())
        values[partition].append(value)
        if chance.random() < 0.1:
            values[partition].append({**value, "t": value["t"] + chance.randrange(3_000), "amount": 1})
        again = self._to_come_again.setdefault(partition, [])
        if chance.random() < 0.02:
            again.append((value["id"], value["t"]))
        elif chance.random() < 0.05:  # of two members the one that is first
            other = chance.choice(sorted(values))
            values[other].append({**value, "key": self._key(other)})
        if again and self._clock_ms - again[0][1] > AGAIN_MS:
            values[partition].append({**self._value(partition, self._clock_ms), "id": again.pop(0)[0]})

    def _behind_ms(self) -> int:
        """How far a record is behind the clock: most a little, some too much."""
        kind = self._chance.random()
        if kind < 0.85:
            return self._chance.randrange(3_000)
        return self._chance.randrange(3_000, 8_000 if kind < 0.95 else 45_000)

    def _value(self, partition: int, at_ms: int) -> dict[str, Any]:
        self._number += 1
        shared = f"s{self._chance.randrange(SHARED)}"
        return {
            "id": f"id-{self._number}",
            "key": self._key(partition),
            "shared": shared,
            "amount": self._chance.randrange(1, 1000),
            "t": at_ms,
        }

    def _key(self, partition: int) -> str:
        """A key is of one partition."""
        return f"k{partition}-{self._chance.randrange(KEYS)}"

    def _send(self, partition: int, values: Sequence[dict[str, Any]]) -> None:
        self.produced += len(values)
        self._kafka.produce(self.topic, [(value["key"], json.dumps(value)) for value in values], partition)


__all__ = ["Feed"]
