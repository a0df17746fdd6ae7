"""Sending letters to a topic once, however often the command that does it is killed and started again.

The plan is durable before anything is sent; each transaction that sends a part of it carries the cursor; the letters
are marked from the cursor afterwards. Whoever finishes or abandons a replay takes over first: what is under way then
ends, and the cursor that is read after that is the truth. To abandon is a transaction, too, so that nobody sends more
of the replay once its letters wait again.
"""

from __future__ import annotations

import enum
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TypeVar

from kafka_stream.admin.actions import PATIENCE_S, operator
from kafka_stream.admin.dead_letters.remembering import remember
from kafka_stream.admin.dead_letters.selection import read_letters
from kafka_stream.admin.dead_letters.sending import Cursor, Sender, cursor_partition, destinations, record_of
from kafka_stream.engine.patience import jitter
from kafka_stream.engine.retry import backoff_s
from kafka_stream.errors import CommandRefused, CommitOutcomeUnknown, ConfigurationError, TransientError
from kafka_stream.protocols import (
    Action,
    ActionKind,
    DeadLetter,
    DeadLetterStore,
    LetterFilter,
    LetterId,
    LetterStatus,
    Replay,
)

RECORDS_PER_TRANSACTION = 500
BYTES_PER_TRANSACTION = 1_000_000
FORGOTTEN_AFTER = timedelta(days=1)
"""Of an older replay without a cursor nobody can tell whether nothing was sent, or Kafka has forgotten the cursor."""

T = TypeVar("T")


class ReplayStep(enum.StrEnum):
    """The named points in a replay's life; fault tests kill a process at each."""

    AFTER_BEGIN = "after_begin"
    AFTER_TAKE_OVER = "after_take_over"
    BEFORE_COMMIT = "before_commit"
    AFTER_COMMIT = "after_commit"
    AFTER_HISTORY = "after_history"
    AFTER_END = "after_end"


def _nobody(_: ReplayStep) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a replay: its first ``sent`` letters are in the topic, the others wait again."""

    replay: Replay
    sent: int

    @property
    def letters(self) -> Sequence[LetterId]:
        """Those that were sent."""
        return self.replay.letters[: self.sent]


def new_replay(letters: Sequence[LetterId], destination: str | None = None) -> Replay:
    """The plan to send these, in the order of topics, partitions and offsets; to their own topics, if none is named."""
    return Replay(uuid.uuid4().hex, destination, tuple(sorted(letters)))


class Replaying:
    """One command's work on the replays of a stream. ``tell`` hears of each step, for tests.

    ``assume_sent`` is what an operator says of how many letters were sent, for a replay whose cursor is gone. With
    ``returns`` letters that go to their own topics hold their keys until the stream has processed them: it keeps the
    order of keys, or may do so.
    """

    def __init__(
        self,
        store: DeadLetterStore,
        stream: str,
        sender: Sender,
        *,
        actor: str | None = None,
        assume_sent: int | None = None,
        returns: bool = False,
        tell: Callable[[ReplayStep], None] = _nobody,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = store
        self._stream = stream
        self._sender = sender
        self._actor = operator() if actor is None else actor
        self._assume_sent = assume_sent
        self._returns = returns
        self._tell = tell
        self._wait = wait
        self._progress = 0

    def run(self, replay: Replay) -> Sent:
        """Make the plan durable, and send it all.

        Raises:
            CommandRefused: another replay has begun and not ended, or a letter does not wait any more: nothing was
                sent. Or another command has taken over: it goes on with what was under way.
            TopicNotFound, TransientError, ProcessingError, NotAuthorized: a part may be sent: ``resume`` goes on from
                there.
        """
        if not replay.letters:
            return Sent(replay, 0)
        self._sender.partitions(destinations(replay))
        self._store.open()
        self._store.begin_replay(self._stream, replay)
        self._tell(ReplayStep.AFTER_BEGIN)
        return self._patiently(lambda: self._finished(replay))

    def resume(self) -> Sent | None:
        """Finish what is under way; ``None`` if nothing is. Raises as ``run`` does."""
        self._store.open()
        if (replay := self._store.replay_under_way(self._stream)) is None:
            return None
        return self._patiently(lambda: self._finished(replay))

    def abandon(self) -> Sent | None:
        """Send no more of what is under way; the rest of it waits again. ``None`` if nothing is; raises as ``run``."""
        self._store.open()
        if (replay := self._store.replay_under_way(self._stream)) is None:
            return None
        return self._patiently(lambda: self._abandoned(replay))

    def _finished(self, replay: Replay) -> Sent:
        cursor = self._taken_over(replay)
        if not cursor.abandoned:
            cursor = self._sent_all(replay, cursor)
        return self._ended(replay, cursor.sent)

    def _abandoned(self, replay: Replay) -> Sent:
        cursor = self._taken_over(replay)
        if not cursor.abandoned and cursor.sent < len(replay.letters):
            cursor = replace(cursor, abandoned=True)
            self._sender.send((), cursor, cursor_partition(replay), lambda: self._tell(ReplayStep.BEFORE_COMMIT))
            self._tell(ReplayStep.AFTER_COMMIT)
        return self._ended(replay, cursor.sent)

    def _taken_over(self, replay: Replay) -> Cursor:
        """The cursor, which nobody else can move now. Looks after that whether others have ended the replay before."""
        cursor = self._sender.take_over(cursor_partition(replay))
        self._tell(ReplayStep.AFTER_TAKE_OVER)
        if self._store.replay_under_way(self._stream) != replay:
            raise CommandRefused(
                f"replay {replay.id} of stream {self._stream!r} was ended by another command meanwhile, and this one "
                "sent nothing after that; look at the letters again"
            )
        if cursor is None or cursor.replay_id != replay.id:
            cursor = Cursor(replay.id, self._sent_unseen(replay))
        self._progress = max(self._progress, cursor.sent)
        return cursor

    def _sent_unseen(self, replay: Replay) -> int:
        """How many were sent of a replay whose cursor is not there: none, unless it was forgotten."""
        if self._assume_sent is not None:
            if self._assume_sent > len(replay.letters):
                raise ConfigurationError(
                    f"replay {replay.id} has {len(replay.letters)} letter(s), so no more were sent"
                )
            return self._assume_sent
        began_at = _changed_at(self._store, self._stream, replay.letters[0])
        if began_at is not None and datetime.now(UTC) - began_at > FORGOTTEN_AFTER:
            raise CommandRefused(
                f"replay {replay.id} of stream {self._stream!r} began at {began_at:%Y-%m-%d %H:%M:%SZ}, and Kafka may "
                "have forgotten how many of its letters were sent (offsets.retention.minutes): look in the topic for "
                "records with its id in their last header, and say how many there are with --sent"
            )
        return 0

    def _sent_all(self, replay: Replay, cursor: Cursor) -> Cursor:
        at, partitions = cursor_partition(replay), self._sender.partitions(destinations(replay))
        left = replay.letters[cursor.sent :]
        with closing(_transactions(read_letters(self._store, self._stream, left))) as parts:
            for part in parts:
                records = [record_of(letter, replay, partitions) for letter in part]
                cursor = replace(cursor, sent=cursor.sent + len(part))
                self._sender.send(records, cursor, at, lambda: self._tell(ReplayStep.BEFORE_COMMIT))
                self._progress = cursor.sent
                self._tell(ReplayStep.AFTER_COMMIT)
        return cursor

    def _ended(self, replay: Replay, sent: int) -> Sent:
        action = Action(replay.id, ActionKind.REPLAY, self._actor)
        remember(self._store, self._stream, action, replay.letters[:sent])
        self._tell(ReplayStep.AFTER_HISTORY)
        returns = self._returns and all(one.topic == (replay.destination or one.topic) for one in replay.letters)
        sent_are = LetterStatus.SENT if returns else LetterStatus.REPLAYED
        self._store.end_replay(self._stream, replay, sent, sent_are)
        self._tell(ReplayStep.AFTER_END)
        return Sent(replay, sent)

    def _patiently(self, act: Callable[[], T]) -> T:
        """Take over again after whatever may be repeated, for as long as records get through now and then."""
        failures, progress, deadline = 0, -1, 0.0
        while True:
            try:
                return act()
            except (TransientError, CommitOutcomeUnknown):
                if self._progress > progress:
                    failures, progress, deadline = 0, self._progress, time.monotonic() + PATIENCE_S
                failures += 1
                delay_s = backoff_s(failures, jitter())
                if time.monotonic() + delay_s > deadline:
                    raise
                self._wait(delay_s)


def _transactions(letters: Iterator[DeadLetter]) -> Generator[Sequence[DeadLetter]]:
    """The letters in parts that go in one transaction each."""
    part: list[DeadLetter] = []
    size = 0
    for letter in letters:
        own = _size(letter)
        if part and (len(part) == RECORDS_PER_TRANSACTION or size + own > BYTES_PER_TRANSACTION):
            yield part
            part, size = [], 0
        part.append(letter)
        size += own
    if part:
        yield part


def _size(letter: DeadLetter) -> int:
    payload = letter.payload
    headers = sum(len(name) + len(value or b"") for name, value in payload.headers)
    return len(payload.key or b"") + len(payload.value or b"") + headers


def _changed_at(store: DeadLetterStore, stream: str, letter: LetterId) -> datetime | None:
    wanted = LetterFilter(topic=letter.topic, partition=letter.partition, offsets=frozenset({letter.offset}))
    found = store.letters(stream, wanted, payloads=False)
    return next((each.changed_at for each in islice(found, 10) if each.id == letter), None)


__all__ = ["FORGOTTEN_AFTER", "ReplayStep", "Replaying", "Sent", "new_replay"]
