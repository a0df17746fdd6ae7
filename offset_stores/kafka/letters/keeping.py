"""What ``KafkaOffsetStore`` does with dead letters outside of a batch, as ``DeadLetterStore`` asks for it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from kafka_stream.offset_stores.kafka.errors import blames_records
from kafka_stream.offset_stores.kafka.letters.stream_letters import StreamLetters
from kafka_stream.protocols import EVERY_LETTER, DeadLetter, LetterFilter, LetterId, LetterStatus, Replay


class KeepsLetters:
    """A part of the store, which knows the letters of each stream."""

    def blames_records(self, error: BaseException) -> bool:
        """Not what a Kafka client of the handler's ran into, but for a refused record; see ``DeadLetterStore``."""
        return blames_records(error)

    def letters(
        self, stream: str, wanted: LetterFilter = EVERY_LETTER, *, payloads: bool = True
    ) -> Iterator[DeadLetter]:
        """The topic is read twice: what has become of them, then the letters; see ``DeadLetterStore``."""
        yield from self._letters_of(stream).find(wanted, payloads=payloads)

    def mark_letters(
        self, stream: str, ids: Collection[LetterId], was: LetterStatus, now: LetterStatus, note: str | None = None
    ) -> Sequence[LetterId]:
        """Produce the changes in a transaction; see ``DeadLetterStore``."""
        return self._letters_of(stream).mark(ids, was, now, note)

    def begin_replay(self, stream: str, replay: Replay) -> None:
        """Produce the plan; see ``DeadLetterStore``."""
        self._letters_of(stream).begin(replay)

    def replay_under_way(self, stream: str) -> Replay | None:
        """What was begun and not ended; see ``DeadLetterStore``."""
        return self._letters_of(stream).under_way()

    def end_replay(
        self, stream: str, replay: Replay, sent: int, sent_are: LetterStatus = LetterStatus.REPLAYED
    ) -> None:
        """Produce what came of it; see ``DeadLetterStore``."""
        self._letters_of(stream).end(replay, sent, sent_are)

    def _letters_of(self, stream: str) -> StreamLetters:
        raise NotImplementedError


__all__ = ["KeepsLetters"]
