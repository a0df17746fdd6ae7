"""How much of a source's records may be fetched and not yet taken, and how much is."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SourceLimits:
    """How much may be fetched and not yet taken, over all partitions, and how long a revoked partition is waited for.

    ``max_buffered_bytes`` counts record values. Fetching pauses at either limit; what is on its way then may exceed it,
    up to about twice as much.
    """

    max_buffered_records: int = 100_000
    max_buffered_bytes: int = 128 * 2**20
    revoke_timeout_s: float = 30.0

    def __post_init__(self) -> None:
        if self.max_buffered_records < 1 or self.max_buffered_bytes < 1:
            raise ValueError("a source buffers at least one record and one byte")
        if self.revoke_timeout_s < 0:
            raise ValueError(f"revoke_timeout_s is {self.revoke_timeout_s}; it cannot be negative")


class Usage:
    """How much is buffered, and was ever added. Any thread may read it; it is changed under the inbox's lock."""

    def __init__(self, limits: SourceLimits) -> None:
        self._limits = limits
        self._records = 0
        self._value_bytes = 0
        self._record_bytes = 1024.0
        self.added = (0, 0)
        """How many records and bytes were ever added."""

    def add(self, records: int, value_bytes: int) -> None:
        """A few records, at least one, were added."""
        self._records += records
        self._value_bytes += value_bytes
        self.added = (self.added[0] + records, self.added[1] + value_bytes)
        self._record_bytes = max(value_bytes / records, 1.0)

    def remove(self, records: int, value_bytes: int) -> None:
        """They were taken, or dropped."""
        self._records -= records
        self._value_bytes -= value_bytes

    def used(self) -> float:
        """How much of the limits is used; 1.0 is all of it."""
        return max(
            self._records / self._limits.max_buffered_records, self._value_bytes / self._limits.max_buffered_bytes
        )

    def room(self, times: int) -> int:
        """How many more records fit into so many times the limits, going by the size of the last; 0 or less if full."""
        return min(
            times * self._limits.max_buffered_records - self._records,
            math.ceil((times * self._limits.max_buffered_bytes - self._value_bytes) / self._record_bytes),
        )


__all__ = ["SourceLimits", "Usage"]
