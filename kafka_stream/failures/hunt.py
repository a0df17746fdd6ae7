"""A search for the records of one batch that fail: places are records here, and each failure has its reason."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from kafka_stream.batch import Batch
from kafka_stream.errors import ProcessingError, RecordError, SpoiledTransaction
from kafka_stream.failures.breaker import Breaker
from kafka_stream.failures.letters import Rejection, after_another
from kafka_stream.failures.parts import RecordId, part_of, place_of, record_id
from kafka_stream.failures.rejecting import Rejecting
from kafka_stream.failures.search import Search
from kafka_stream.types import TopicPartition

_LOOK_EVERY = 20
"""After so many failures more, a search looks whether it may go on."""


class Unexplained(ProcessingError):
    """It fails, and no single record is why."""


class Rejected(ProcessingError):
    """Records were rejected without an exception, but not before results of theirs were made."""

    def __init__(self, rejections: Mapping[RecordId, Rejection]) -> None:
        super().__init__("records were rejected after results of them had been made")
        self.rejections = rejections


class Hunt:
    """Ask ``next`` for the part of the batch to be tried, and tell what came of it; ``rejections`` are what is found.

    ``begin`` and whatever tells of a failure may raise ``TooManyDeadLetters``: the batch alone is too much.
    """

    def __init__(self, batch: Batch, rules: Rejecting) -> None:
        self._batch = batch
        self._rules = rules
        self._messages = tuple(batch)
        self._search = Search(len(self._messages), lambda place: rules.followers(self._messages, place))
        self._looked_at = 0
        self._own_failures = 0
        self._is_explained = False
        self.rejections: dict[RecordId, Rejection] = {}

    def begin(self, error: ProcessingError) -> None:
        """The whole batch has failed."""
        self._is_explained = isinstance(error, Rejected)
        self._note(lambda: self._search.begin(self._named(error)), error)

    def next(self) -> Batch | None:
        """The part to be tried now; ``None`` when all is known."""
        part = self._search.next()
        return None if part is None else part_of(self._batch, part, self._search.places(part)).for_attempt()

    def went_well(self, rejected: Mapping[RecordId, Rejection]) -> None:
        """That part has, but for what was rejected of it."""
        self._note(lambda: self._search.went_well(self._places(rejected)), Rejected(rejected))

    def has_failed(self, error: ProcessingError) -> None:
        """That part has failed."""
        self._note(lambda: self._search.has_failed(self._named(error)), error)

    def is_spoiled(self, error: SpoiledTransaction) -> None:
        """A part has failed, and all that went well before is undone with it: it comes again.

        Raises:
            Unexplained: it is of no part.
        """
        try:
            self._note(lambda: self._search.is_spoiled(error.attempt, self._named(error)), error)
        except LookupError:
            raise self.unexplained(error) from error

    def check(self, error: ProcessingError, has_succeeded: bool) -> None:
        """All is known: is it what explains the failure that it began with?

        Raises:
            Unexplained: no single record fails, or each does, and none ``has_succeeded`` since the stream was started.
        """
        if not self._is_explained:
            raise self.unexplained(error) from error
        count = len(self._messages)
        if self._own_failures == count > 1 and not has_succeeded:
            raise Unexplained(
                f"{error}. Each of the batch's {count} records was tried by itself and failed, and none has gone well "
                "since the stream was started: that is the code rather than the records, and nothing was set aside"
            ) from error

    def unexplained(self, error: ProcessingError) -> Unexplained:
        """What is said when no record is to blame."""
        return Unexplained(
            f"{error}. No single record explains it: {self._search.attempts} parts of the batch were tried, and those "
            "that did not fail went well by themselves, so that nothing was set aside; if a server was away for a "
            "moment, name its error in transient_errors"
        )

    def _named(self, error: BaseException) -> Collection[int]:
        if isinstance(error, Rejected):
            return self._places(error.rejections)
        if not isinstance(error, RecordError):
            return ()
        return self._places([(TopicPartition(error.topic, error.partition), error.offset)])

    def _places(self, records: Iterable[RecordId]) -> Collection[int]:
        """Where these are in the batch, as far as they are."""
        return [place for place, is_there in (place_of(self._batch, record) for record in records) if is_there]

    def _note(self, step: Callable[[], None], error: ProcessingError) -> None:
        """Take a step, and keep why the records that it sets apart are so."""
        known = set(self._search.left_out)
        step()
        given = error.rejections if isinstance(error, Rejected) else {}
        for place, because in self._search.left_out.items():
            if place in known:
                continue
            message = self._messages[place]
            record = record_id(message)
            if record in given:
                self.rejections[record] = given[record]
            elif place == because:
                self.rejections[record] = self._rules.because(message, error)
                self._is_explained = True
                self._own_failures += 1
            else:
                self._is_explained = True  # it may be what fails, and will not be tried
                self.rejections[record] = Rejection(message, after_another(record_id(self._messages[because])))
        if len(self._search.failed) - self._looked_at >= _LOOK_EVERY:
            self._looked_at = len(self._search.failed)
            Breaker(self._rules.limits).after(len(self._messages), sorted(self._search.failed))


__all__ = ["Hunt", "Rejected", "Unexplained"]
