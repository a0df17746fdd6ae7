"""How a commit whose outcome is unknown is settled, before anything else is done with its partitions.

The store is asked by its ``reclaim``; what its answer means is said by ``Ownership.settle``.
"""

from __future__ import annotations

from collections.abc import Callable

from kafka_stream.engine.partitions.ownership import Ownership
from kafka_stream.engine.patience import Patience, jitter
from kafka_stream.engine.reporter import Reporter
from kafka_stream.engine.retry import backoff_s
from kafka_stream.errors import CommitOutcomeUnknown, TransientError
from kafka_stream.progress import Listeners, StreamState
from kafka_stream.types import Claim


class Settlement:
    """Asks the store until it answers, or until ``given_up``: a stop waits for the answer too, until its time is up."""

    def __init__(
        self,
        ownership: Ownership,
        patience: Patience,
        reporter: Reporter,
        listeners: Listeners,
        given_up: Callable[[], bool],
    ) -> None:
        self._ownership = ownership
        self._patience = patience
        self._reporter = reporter
        self._listeners = listeners
        self._given_up = given_up

    def settle(self, claim: Claim, unknown: CommitOutcomeUnknown) -> None:
        """The claim's ranges were committed after all, if this returns.

        Raises:
            TransientError: they were not; they are to be read again.
            OwnershipLost: somebody else has taken over since.
            CommitOutcomeUnknown: the store has not answered in time.
        """
        committed = self._outcome(claim, unknown)
        self._listeners.on_settled(committed)
        self._reporter.set(state=StreamState.RUNNING, error=None)
        if not committed:
            raise TransientError(f"the commit of {claim.ranges[0]} did not take effect: {unknown}") from unknown

    def _outcome(self, claim: Claim, unknown: CommitOutcomeUnknown) -> bool:
        failures = 0
        while True:
            try:
                return self._ownership.settle(claim)
            except TransientError as error:
                failures += 1
                self._reporter.set(state=StreamState.RETRYING, error=error)
                self._patience.wait(error, backoff_s(failures, jitter()), self._given_up)
                if self._given_up():
                    raise unknown from error


__all__ = ["Settlement"]
