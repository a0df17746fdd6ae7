"""Which record a database's refusal is about, where the stream stops: the parts that tell are undone, every one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from kafka_stream.errors import KafkaStreamError, ProcessingError, SpoiledTransaction
from kafka_stream.failures.breaker import DeadLetters
from kafka_stream.failures.hunt import Hunt
from kafka_stream.failures.letters import Rejection
from kafka_stream.failures.rejecting import Rejecting
from kafka_stream.failures.rescue import Again
from kafka_stream.failures.results import Results, Write
from kafka_stream.protocols import RescuingTransaction


class _AllUndone(Exception):
    """The search is over, and nothing of it is to stay."""


def culprit(
    failure: ProcessingError,
    results: Results,
    in_transaction: Callable[[Callable[[Any], None]], object],
    write: Write,
    again: Again,
) -> Rejection | None:
    """The first record that fails by itself, as the batch did; ``None`` if none does, or it cannot be found out.

    ``in_transaction`` runs what tries the parts, and is left by an exception.
    """
    hunt = Hunt(results.batch, Rejecting(DeadLetters(), 1, lambda error: None))
    hunt.begin(failure)

    def search(transaction: RescuingTransaction) -> NoReturn:
        while not hunt.rejections and (part := hunt.next()) is not None:
            try:
                with transaction.attempt():
                    write(again(part), transaction)
            except SpoiledTransaction:
                break
            except ProcessingError as error:
                hunt.has_failed(error)
            else:
                hunt.went_well({})
        raise _AllUndone

    with suppress(_AllUndone, KafkaStreamError):  # of a server that is away now: the failure that is known counts
        in_transaction(search)
    return next(iter(hunt.rejections.values()), None)


__all__ = ["culprit"]
