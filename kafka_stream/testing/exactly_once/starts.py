"""Pure: a seed into process starts, and what happens to each: every crash point, and others by chance."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from kafka_stream.types import OF_EVERY_BATCH, Phase

_UNDONE_AT = (Phase.AFTER_WRITE, Phase.AFTER_ADVANCE)


@dataclass(frozen=True, slots=True)
class Start:
    """One process start: how large its batches are, and what happens to it.

    It is killed at a named point of its ``nth`` batch with records, or ``kill_after_s`` after its first one, or ends
    by itself. With ``undone_at`` each batch runs twice: the first time it is rolled back there, as if the store had not
    answered. ``records`` is how many it may take at most.
    """

    batch_records: int
    kill_at: Phase | None = None
    nth: int = 1
    kill_after_s: float | None = None
    undone_at: Phase | None = None
    records: int | None = None

    def __str__(self) -> str:
        said = "a process that was left alone"
        if self.kill_at is not None:
            said = f"a process that was killed at {self.kill_at} of its batch {self.nth}"
        elif self.kill_after_s is not None:
            said = f"a process that was killed {self.kill_after_s * 1000:.1f} ms into its first batch"
        if self.undone_at is not None:
            said += f"{', and ' if 'killed' in said else ', but '}whose batches were rolled back once at "
            said += f"{self.undone_at} and run again"
        return f"{said}, with {self.batch_records} record(s) to a batch"


def starts(chance: random.Random, records: int, kills: int, *, anywhen: bool) -> Iterator[Start]:
    """Every batch twice; a kill at every point; and ``kills`` by chance (``anywhen``: some between the points, too).

    They are spread over so many records, as far as these go: a kill before the commit takes none.
    """
    share = max(1, records // (len(OF_EVERY_BATCH) + kills + 8))
    yield Start(chance.randint(1, share), kill_at=Phase.AFTER_ADVANCE, undone_at=Phase.AFTER_WRITE)
    for phase in OF_EVERY_BATCH:
        yield Start(chance.randint(1, share), kill_at=phase)
    for undone_at in _UNDONE_AT:
        yield Start(chance.randint(1, share), undone_at=undone_at, records=4 * share)
    for number in range(kills):
        yield _by_chance(chance, share, anywhen=anywhen and number % 2 == 1)


def _by_chance(chance: random.Random, share: int, *, anywhen: bool) -> Start:
    size = chance.randint(1, share)
    if anywhen:
        return Start(size, kill_after_s=chance.uniform(0.0, 0.05), records=2 * share)
    undone_at = chance.choice([None, None, *_UNDONE_AT])
    return Start(size, chance.choice(OF_EVERY_BATCH), chance.randint(1, 2), undone_at=undone_at)


__all__ = ["Start", "starts"]
