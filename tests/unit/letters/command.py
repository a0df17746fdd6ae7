"""What a command on dead letters leaves behind."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from kafka_stream.protocols import ActionKind, HistoryEntry
from kafka_stream.testing import MemoryOffsetStore
from tests.command_line import Ended
from tests.replays import STREAM

HERE = ("--app", "letters_app:stream")
IN_PLACE = ("replay", "--in-place", "letters_app:stream")
Run = Callable[..., Ended]


def rows(ended: Ended) -> list[dict[str, Any]]:
    assert ended.status == 0, ended.err
    return list(json.loads(ended.out))


def statuses(store: MemoryOffsetStore) -> list[str]:
    return [str(each.status) for each in store.letters(STREAM)]


def history(store: MemoryOffsetStore) -> Sequence[HistoryEntry]:
    return store.history(STREAM, 100, [ActionKind.REPLAY, ActionKind.DISCARD])
