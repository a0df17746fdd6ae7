"""Giving letters up: they stay to be looked at, and nobody waits for them any more."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from kafka_stream.admin.actions import new_action
from kafka_stream.admin.dead_letters.remembering import remember
from kafka_stream.protocols import ActionKind, DeadLetterStore, LetterId, LetterStatus


def discard_letters(
    store: DeadLetterStore,
    stream: str,
    letters: Collection[LetterId],
    *,
    note: str | None = None,
    actor: str | None = None,
) -> Sequence[LetterId]:
    """Discard those of these that still wait, or were sent and not read; returns which these were, sorted.

    ``note`` is kept beside each of them. May be repeated: what was discarded before stays as it is. A record that was
    sent is in its topic nevertheless.

    Raises:
        StoreUnavailable, NotAuthorized.
    """
    store.open()
    statuses = (LetterStatus.WAITING, LetterStatus.SENT)
    discarded = sorted(
        one for was in statuses for one in store.mark_letters(stream, letters, was, LetterStatus.DISCARDED, note)
    )
    remember(store, stream, new_action(ActionKind.DISCARD, actor), discarded)
    return discarded


__all__ = ["discard_letters"]
