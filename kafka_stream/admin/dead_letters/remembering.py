"""What the store's history says of replays and discards: whose letters, how many, and who did it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from kafka_stream.admin.actions import patiently
from kafka_stream.admin.dead_letters.selection import by_partition
from kafka_stream.errors import NotAuthorized
from kafka_stream.protocols import Action, AdministeredStore, HistoryEntry, LetterId, OffsetStore

logger = logging.getLogger("kafka_stream")

_FOR_EVER = timedelta(days=36_500)  # a command drops nothing that is older
_LOOKED_BACK = 1_000


def remember(store: OffsetStore, stream: str, action: Action, letters: Sequence[LetterId]) -> None:
    """An entry for each partition, with the range that its letters lie in; ``records`` are all of the action's.

    Nothing if the action is remembered already, if it was about no letter, or where the store keeps no history. Who may
    not write there is warned, and goes on.
    """
    if not isinstance(store, AdministeredStore) or not store.keeps_history or not letters:
        return
    now = datetime.now(UTC)
    entries = [
        HistoryEntry(now, action, each.topic_partition, each.first_offset, each.last_offset + 1, records=len(letters))
        for each in by_partition(letters)
    ]
    try:
        if not _is_known(store, stream, action):
            patiently(store, lambda: store.record(stream, entries, _FOR_EVER))
    except NotAuthorized as error:
        logger.warning("the history has no entry of this %s: %s", action.kind, error)


def _is_known(store: AdministeredStore, stream: str, action: Action) -> bool:
    return any(entry.action.id == action.id for entry in store.history(stream, _LOOKED_BACK, [action.kind]))


__all__ = ["remember"]
