"""What an error of user code is about: a server that does not answer, or the records that it was given."""

from __future__ import annotations

import asyncio

from kafka_stream.batch import Batch
from kafka_stream.errors import HandlerUnavailable, KafkaStreamError, ProcessingError, StatementRefused
from kafka_stream.protocols import DeadLetterStore, OffsetStore, TellingStore
from kafka_stream.protocols.causes import causes, said

FAULTS = (Exception, asyncio.CancelledError, GeneratorExit, BaseExceptionGroup)
"""What user code fails with. A cancelled await and a closed generator are its own faults, too, alone or in a group:
nobody else cancels or closes anything here. What ends the process (``KeyboardInterrupt``, ``SystemExit``) comes
through, in a group as well."""

_ENDS = (KeyboardInterrupt, SystemExit)


def why_unavailable(
    error: BaseException, transient_errors: tuple[type[BaseException], ...], where: str, ranges: str
) -> HandlerUnavailable | None:
    """The transient error that stands for one that the user has named as such; by type, along ``__cause__``."""
    for cause in causes(error):
        if isinstance(cause, transient_errors):
            name = type(cause).__qualname__
            return HandlerUnavailable(
                f"{where} on {ranges}: {name}, which transient_errors names: {' '.join(str(cause).split())}"
            )
    return None


class UserErrors:
    """What the errors of a stream's user code mean: the store knows its own, the user the transient ones of others."""

    def __init__(self, store: OffsetStore, transient_errors: tuple[type[BaseException], ...] = ()) -> None:
        self._store = store
        self._telling = store if isinstance(store, TellingStore) else None
        self._letters = store if isinstance(store, DeadLetterStore) else None
        self._transient_errors = transient_errors

    def meaning(self, error: BaseException, where: str, batch: Batch) -> KafkaStreamError:
        """What an error of user code means; our own stay as they are, with what they were raised from.

        Raises:
            BaseExceptionGroup: there is something in it that ends the process.
        """
        if isinstance(error, BaseExceptionGroup) and error.subgroup(_ENDS) is not None:
            raise error
        told = self._telling.tell(error) if self._telling is not None else None
        if isinstance(error, KafkaStreamError):
            return error
        if (known := self._store.classify(error)) is not None:
            return known
        ranges = ", ".join(map(str, batch.ranges[:3])) + (", …" if len(batch.ranges) > 3 else "")
        if (unavailable := why_unavailable(error, self._transient_errors, where, ranges)) is not None:
            return unavailable
        reason = told or said(error)
        text = f"{where} failed on {ranges}: {reason}; nothing of the batch was committed"
        if self._letters is not None and not self._letters.blames_records(error):
            return StatementRefused(text)
        return ProcessingError(text)

    def refused_row(self, failure: ProcessingError) -> str | None:
        """What a database said of a row, if nobody knows of which record, and parts of the batch can be tried."""
        cause = failure.__cause__
        if type(failure) is not ProcessingError or cause is None or self._letters is None or self._telling is None:
            return None
        return self._telling.tell(cause)


class UserCode:
    """Where user code is called: what it raises leaves as what it means, with what was raised as its cause."""

    __slots__ = ("_batch", "_errors", "_where")

    def __init__(self, errors: UserErrors, where: str, batch: Batch) -> None:
        self._errors = errors
        self._where = where
        self._batch = batch

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if not isinstance(error, FAULTS):
            return
        failure = self._errors.meaning(error, self._where, self._batch)
        if failure is not error:
            raise failure from error


__all__ = ["FAULTS", "UserCode", "UserErrors", "why_unavailable"]
