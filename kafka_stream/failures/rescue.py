"""What is done about a batch in which records fail: they are found, and set aside in the batch's own transaction.

A failure of ``prepare`` is searched for in ``prepare`` alone. One of ``write`` is searched for in a second transaction,
since the first one is lost to it: so a batch in which nothing fails costs nothing more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar

from confluent_kafka import Message

from kafka_stream.batch import Batch
from kafka_stream.errors import (
    KafkaStreamError,
    ProcessingError,
    SpoiledTransaction,
    StatementRefused,
    TooManyDeadLetters,
    TransactionEscaped,
)
from kafka_stream.failures.breaker import Breaker
from kafka_stream.failures.hunt import Hunt, Rejected, Unexplained
from kafka_stream.failures.letters import Rejection, held_back, letters_of
from kafka_stream.failures.parts import RecordId, key_of, place_of, without
from kafka_stream.failures.rejecting import Rejecting, numbered
from kafka_stream.failures.results import Results, Writing
from kafka_stream.failures.turns import NOBODY_WAITS, Letters, Turn, returning_keys, turn_of
from kafka_stream.protocols import Key, RescuingTransaction
from kafka_stream.types import Claim

logger = logging.getLogger("kafka_stream")

_T = TypeVar("_T")
Prepare: TypeAlias = Callable[[Batch], Sequence[Any]]
InTransaction: TypeAlias = Callable[[Callable[[Any], None]], _T]
Again: TypeAlias = Callable[[Batch | None], Results]
"""Prepares a part of the batch in hand once more, or, with ``None``, all of it: where all batches are prepared."""


class HeldChanged(KafkaStreamError):
    """Other keys wait than was known when the batch was prepared: it is prepared anew."""


class Rescue:
    """The dead letters of one run of one stream. ``prepare`` is called on one thread, everything else on another."""

    def __init__(self, rules: Rejecting, *, stream: str, code_version: str | None) -> None:
        self._rules = rules
        self._limits = rules.limits
        self._stream = stream
        self._code_version = code_version
        self._breaker = self._next_breaker = Breaker(rules.limits)
        self._waiting: Mapping[Key, int] = {}
        self._returning: Letters = {}
        self._passed: frozenset[RecordId] = frozenset()  # of the batch that is being written
        self._has_prepared = False  # something that was given to user code
        self._has_committed = self._commits = False
        self.set_aside = 0
        """How many letters are of the batch that was written last."""
        self.duplicates = 0
        """How many of its records sinks have kept back."""

    # ------------------------------------------------------------------------------------------------------- prepare

    def prepare(self, batch: Batch, prepare: Prepare) -> Results:
        """What the sinks take of the records that can be prepared.

        Raises:
            ProcessingError: no record explains why it fails, or too many fail.
            TransientError: a server is away, and no record is to blame.
        """
        turn = self._turn(batch)
        waiting = {record: Rejection(message, held_back()) for record, message in turn.waiting.items()}
        good = without(batch, waiting)
        attempt = good.for_attempt()
        try:
            values = prepare(attempt)
        except ProcessingError as error:
            found = self._searched(good, error, prepare)
        else:
            self._has_prepared = self._has_prepared or bool(len(attempt))
            found = self._rules.by_handler(attempt)
            if not self._rules.must_repeat(good, found):
                return Results(attempt, values, {**waiting, **found}, turn)
            found = self._rules.with_followers(good, found)
        return self._prepared_without(prepare, Results(batch, (), {**waiting, **found}, turn))

    def _prepared_without(self, prepare: Prepare, found: Results) -> Results:
        """The batch without what was found: it has to go well now."""
        attempt = without(found.batch, found.rejections).for_attempt()
        try:
            values = prepare(attempt)
        except ProcessingError as error:
            raise Hunt(attempt, self._rules).unexplained(error) from error
        rejections = {**found.rejections, **self._rules.by_handler(attempt)}
        return replace(found, batch=attempt, values=values, rejections=rejections)

    def _searched(self, batch: Batch, error: ProcessingError, prepare: Prepare) -> dict[RecordId, Rejection]:
        _refuse_end(error)
        hunt = Hunt(batch, self._rules)
        hunt.begin(error)
        while (part := hunt.next()) is not None:
            try:
                prepare(part)
            except ProcessingError as failure:
                _refuse_end(failure)
                hunt.has_failed(failure)
            else:
                hunt.went_well(self._rules.by_handler(part))
        hunt.check(error, self._has_prepared)
        self._has_prepared = True
        return hunt.rejections

    # -------------------------------------------------------------------------------------------------------- commit

    def commit(
        self, results: Results, claim: Claim, writing: Writing, in_transaction: InTransaction[_T], again: Again
    ) -> _T:
        """Write and commit, with those records set aside that fail; ``in_transaction`` runs what writes, and commits.

        Raises:
            ProcessingError: no record explains why it fails, or too many fail (``TooManyDeadLetters``).
            KafkaStreamError: whatever else ``in_transaction`` raises.
        """
        while True:
            try:
                with self._passing(results.turn.passed):
                    return self._committed(results, claim, writing, in_transaction, again)
            except HeldChanged:
                results = again(None)

    def commit_whole(
        self,
        results: Results,
        write: Callable[[Any], None],
        in_transaction: InTransaction[_T],
        duplicates: Callable[[], int],
    ) -> _T:
        """Write and commit a batch of which no record fails; ``HeldChanged`` where keys wait, and it has to be read."""

        def write_all(transaction: RescuingTransaction) -> None:
            if self._limits.keep_key_order and transaction.waiting_keys():
                raise HeldChanged("records wait whose keys are among those of the batch, perhaps")
            write(transaction)
            self.duplicates, self.set_aside, self._commits = duplicates(), 0, bool(len(results.batch))
            self._next_breaker = self._breaker.after(len(results.batch), ())

        return in_transaction(write_all)

    def committed(self) -> None:
        """The batch that was written last is committed."""
        self._breaker = self._next_breaker
        self._has_committed = self._has_committed or self._commits

    def _committed(
        self, results: Results, claim: Claim, writing: Writing, in_transaction: InTransaction[_T], again: Again
    ) -> _T:
        def write_all(transaction: RescuingTransaction) -> None:
            self._check_held(results, transaction)
            writing.everywhere(results, transaction)
            self.duplicates = writing.duplicates()
            self._keep(results, self._rejected_late(results), claim, transaction, writing)

        try:
            return in_transaction(write_all)
        except ProcessingError as error:
            _refuse_end(error)
            failure = error
        hunt = Hunt(results.batch, self._rules)
        hunt.begin(failure)

        def write_parts(transaction: RescuingTransaction) -> None:
            self._check_held(results, transaction)
            self._write_parts(hunt, transaction, writing, again)
            hunt.check(failure, self._has_committed)
            if writing.where_whole is not None:
                writing.where_whole(again(without(results.batch, hunt.rejections)), transaction)
            self._keep(results, hunt.rejections, claim, transaction, writing)

        while True:
            try:
                return in_transaction(write_parts)
            except SpoiledTransaction as error:
                hunt.is_spoiled(error)

    def _write_parts(self, hunt: Hunt, transaction: RescuingTransaction, writing: Writing, again: Again) -> None:
        self.duplicates = 0
        while (part := hunt.next()) is not None:
            try:
                with transaction.attempt():
                    prepared = again(part)
                    writing.where_undone(prepared, transaction)
                    found = {**prepared.rejections, **self._rejected_late(prepared)}
            except SpoiledTransaction:
                raise
            except ProcessingError as error:
                _refuse_end(error)
                hunt.has_failed(error)
            else:
                self.duplicates += writing.duplicates()
                hunt.went_well(found)
            writing.attempted()

    def _rejected_late(self, results: Results) -> Mapping[RecordId, Rejection]:
        """What was rejected while it was written, too.

        Raises:
            Rejected: it is to be written again without these.
        """
        found = self._rules.by_handler(results.batch)
        if self._rules.must_repeat(results.batch, found):
            raise Rejected(found)
        return found

    def _keep(
        self,
        results: Results,
        found: Mapping[RecordId, Rejection],
        claim: Claim,
        transaction: RescuingTransaction,
        writing: Writing,
    ) -> None:
        """Set aside what was rejected, if the breaker lets it."""
        rejections = {**results.rejections, **found}
        self._commits = len(results.batch) > sum(place_of(results.batch, record)[1] for record in found)
        self.set_aside = len(rejections)
        self._next_breaker = self._breaker.after(*numbered(results.batch, rejections))
        origins = results.turn.origins
        if done := [letter for record, letter in origins.items() if record not in rejections]:
            transaction.replayed(done)
        if not rejections:
            return
        self._refuse_long_queues(one.message for record, one in rejections.items() if record not in origins)
        letters = letters_of(self._stream, rejections, origins, claim.topic_ids, self._code_version)
        transaction.set_aside(letters)
        writing.set_aside()
        where, kind = letters[0].id, letters[0].error.type
        told = "stream %r: %d record(s) set aside as dead letters; the first: %s (%s)"
        fields = {"event": "set aside", "letters": len(letters), "error": kind}
        logger.warning(told, self._stream, len(letters), where, kind, extra=fields)

    # -------------------------------------------------------------------------------------------------- order of keys

    def _turn(self, batch: Batch) -> Turn:
        """What can be decided by what is known of those who wait."""
        waiting = self._waiting
        return turn_of(batch, waiting, self._returning, self._passed) if waiting else NOBODY_WAITS

    @contextmanager
    def _passing(self, passed: frozenset[RecordId]) -> Iterator[None]:
        """Parts of the batch go on as was decided for the whole."""
        self._passed = passed
        try:
            yield
        finally:
            self._passed = frozenset()

    def _check_held(self, results: Results, transaction: RescuingTransaction) -> None:
        if not self._limits.keep_key_order:
            return
        self._waiting = transaction.waiting_keys()
        if not self._waiting and not results.turn.held:
            return
        messages = [*results.batch, *(one.message for one in results.rejections.values())]
        returning = returning_keys(messages, self._waiting)
        self._returning = transaction.waiting_letters(returning) if returning else {}
        held = {key for key in map(key_of, messages) if key in self._waiting}
        if held != results.turn.held or self._returning != results.turn.returning:
            raise HeldChanged("other keys wait now than when the batch was prepared")

    def _refuse_long_queues(self, messages: Iterable[Message]) -> None:
        counts = dict(self._waiting)
        for key in map(key_of, messages) if self._limits.keep_key_order else ():
            if key is None:
                continue
            counts[key] = counts.get(key, 0) + 1
            if counts[key] > self._limits.max_per_key:
                raise TooManyDeadLetters(
                    f"more than max_per_key={self._limits.max_per_key} records of one key of {key[0]} would wait for "
                    "each other; nothing of the batch was committed: replay or discard those that wait "
                    "(`kafka-stream dead-letters`), or raise the limit"
                )


def _refuse_end(error: ProcessingError) -> None:
    """What no search is to be made for."""
    if isinstance(error, TransactionEscaped | StatementRefused | TooManyDeadLetters | Unexplained):
        raise error


__all__ = ["Again", "HeldChanged", "Rescue"]
