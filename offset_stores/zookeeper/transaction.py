"""One batch's transaction: what a handler asks for is collected, and goes out with the offsets in one ``multi``."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from kazoo.exceptions import AuthFailedError, KazooException
from kazoo.protocol.serialization import Create, Delete, SetData
from kazoo.security import ACL

from kafka_stream.claims import why_not_claimed
from kafka_stream.errors import (
    CommitOutcomeUnknown,
    KafkaStreamError,
    OwnershipLost,
    ProcessingError,
    SpoiledTransaction,
    StatementRefused,
    StoreUnavailable,
    TransactionEscaped,
)
from kafka_stream.offset_stores.zookeeper.ensemble.access import is_acl
from kafka_stream.offset_stores.zookeeper.ensemble.address import why_no_path
from kafka_stream.offset_stores.zookeeper.errors import CHANGED_MEANWHILE, UNANSWERED, mapped, why_not_kept, why_refused
from kafka_stream.offset_stores.zookeeper.letter_znodes import without_traceback
from kafka_stream.offset_stores.zookeeper.letters import Letters
from kafka_stream.offset_stores.zookeeper.operations import (
    ANY_VERSION,
    Asked,
    Operation,
    Put,
    Remove,
    Step,
    checked,
    checked_version,
    paths_to_look_at,
    steps_of,
)
from kafka_stream.offset_stores.zookeeper.positions import REMOVED, Positions, positions_of
from kafka_stream.offset_stores.zookeeper.requests import check_size, failure_in, impossible, size_of
from kafka_stream.protocols import DeadLetter, Key, LetterId, LetterStatus
from kafka_stream.types import Claim, OffsetRange, StoredPosition, TopicPartition


class ZooKeeperTransaction:
    """What a handler writes through: ``write(prepared, transaction)``.

    Nothing is sent before the batch commits. Then everything is done in the order in which it was asked for, together
    with the offsets, or nothing is. Paths begin with a slash and lie below the store's chroot; new znodes get the
    store's ACL unless one is given. Results and offsets must fit into one request, of about 1 MB.

    ``create``, ``set`` and ``delete`` are ZooKeeper's own, and fail the batch where they do not apply; ``put`` and
    ``remove`` look first whether there is such a znode.
    """

    def __init__(self, positions: Positions, claim: Claim) -> None:
        self._positions = positions
        self._letters = Letters(positions, claim.stream)
        self._aside: Sequence[DeadLetter] = ()
        self._replayed: Collection[LetterId] = ()
        self._ends_of_attempts: list[int] = []
        self._connection = positions.connection
        self._claim = claim
        self._chroot = positions.layout.chroot
        self._asked: list[Asked] = []
        self._steps: list[Step] = []
        self._after: dict[TopicPartition, StoredPosition] = {}
        self._request: list[Operation] = []
        self._state = "open"
        self._session = self._connection.sessions_lost  # before anything is read
        with self._connection.mapping("claiming the batch's ranges"):
            self._stored = positions.claimed(claim, self._refusal)

    def create(self, path: str, value: bytes = b"", *, acl: Sequence[ACL] | None = None) -> None:
        """Create a znode below one that is there.

        Raises:
            ProcessingError: the path cannot be that of a result.
            TransactionEscaped: the batch is over.
        """
        if acl is not None and not is_acl(acl):
            raise ProcessingError(f"the acl of znode {path!r} is not a list of kazoo.security.ACL")
        self._ask(Create(self._full(path), checked(path, value), self._connection.acl if acl is None else acl, 0))

    def set(self, path: str, value: bytes, version: int = ANY_VERSION) -> None:
        """Set the value of a znode that is there, at this version if one is given. Raises as ``create`` does."""
        self._ask(SetData(self._full(path), checked(path, value), checked_version(path, version)))

    def delete(self, path: str, version: int = ANY_VERSION) -> None:
        """Delete a znode that is there, at this version if one is given. Raises as ``create`` does."""
        self._ask(Delete(self._full(path), checked_version(path, version)))

    def put(self, path: str, value: bytes) -> None:
        """Set a znode's value, or create it, with those above it, if it is not there. Raises as ``create`` does."""
        self._ask(Put(self._full(path), checked(path, value)))

    def remove(self, path: str) -> None:
        """Delete a znode if it is there. Raises as ``create`` does."""
        self._ask(Remove(self._full(path)))

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """What is asked for inside is dropped if it fails; see ``RescuingTransaction``.

        At its end the ensemble is asked for all of it so far, together with something that cannot be.

        Raises:
            ProcessingError: it refuses an operation of this attempt.
            SpoiledTransaction: it refuses one of an attempt before, since what it rests on has changed.
        """
        before = len(self._asked)
        try:
            yield
            self._expect("open", "write")
            self._rehearse(before)
        except BaseException:
            del self._asked[before:]
            raise
        self._ends_of_attempts.append(len(self._asked))

    def _rehearse(self, before: int) -> None:
        if len(self._asked) == before:
            return
        with self._connection.mapping("trying the batch's operations"):
            steps = self._resolved()
            operations = [*(step.operation for step in steps), impossible(self._positions.layout)]
            failure = failure_in(self._connection.multi(operations))
        assert failure is not None
        index, error = failure
        if index == len(steps):
            return
        refused = why_refused(steps[index], error, self._chroot, self._connection.where)
        raise (refused if steps[index].place >= before else self._spoiled(steps[index], refused)) from error

    def _spoiled(self, step: Step, error: KafkaStreamError) -> KafkaStreamError:
        """Which attempt an operation was of that was refused, if it was of one."""
        attempt = bisect_right(self._ends_of_attempts, step.place)
        if not isinstance(error, ProcessingError) or attempt == len(self._ends_of_attempts):
            return error
        return SpoiledTransaction(str(error), attempt=attempt)

    def waiting_keys(self) -> Mapping[Key, int]:
        """As they are now; see ``RescuingTransaction``."""
        with self._connection.mapping("looking for dead letters"):
            return self._letters.waiting_keys(self._claim)

    def waiting_letters(self, keys: Collection[Key]) -> Mapping[Key, Mapping[LetterId, LetterStatus]]:
        """As they are now; see ``RescuingTransaction``."""
        with self._connection.mapping("looking for dead letters"):
            return self._letters.waiting_letters(keys)

    def replayed(self, letters: Collection[LetterId]) -> None:
        """The change goes out in the same request; see ``RescuingTransaction``."""
        self._expect("open", "write")
        self._replayed = letters

    def set_aside(self, letters: Sequence[DeadLetter]) -> None:
        """They go out in the same request; see ``RescuingTransaction``."""
        self._expect("open", "write")
        self._aside = letters

    def advance(self) -> None:
        """Complete the request; see ``StoreTransaction``.

        Raises:
            ConfigurationError: it is larger than the ensemble takes.
        """
        self._expect("open", "advance")
        with self._connection.mapping("looking for the batch's znodes"):
            self._steps = list(self._resolved())
        now = datetime.now(UTC)
        self._after = {r.topic_partition: self._moved(r, now) for r in self._claim.ranges}
        # The offsets come first: a lost ownership must not be taken for a mistake of the handler.
        offsets = self._positions.writes(self._claim.stream, self._after, self._stored)
        self._request = [*offsets, *(step.operation for step in self._steps)]
        if self._replayed:
            with self._connection.mapping("looking for dead letters"):
                self._request += self._letters.replaying(self._replayed)
        check_size(self._request, self._connection.max_request_bytes, self._connection.where)
        if self._aside:
            self._request += self._keeping()
        self._state = "advanced"

    def _keeping(self) -> list[Operation]:
        """What keeps the letters, without tracebacks if there is no room for these.

        Raises:
            StatementRefused: there is no room for the letters; no search for a record would help.
        """
        most, without = self._connection.max_request_bytes, size_of(self._request)
        for letters in (self._aside, [without_traceback(letter) for letter in self._aside]):
            with self._connection.mapping("looking for dead letters"):
                operations = self._letters.keeping(letters)
            if (size := size_of([*self._request, *operations])) <= most:
                return operations
        raise StatementRefused(
            f"{len(self._aside):,} dead letters of stream {self._claim.stream!r} take {size - without:,} bytes beside "
            f"the {without:,} of results and offsets, and {self._connection.where} takes {most:,} at once; nothing of "
            "the batch was committed: lower max_records_per_batch, or raise jute.maxbuffer on all servers, and "
            "max_request_bytes with it"
        )

    def commit(self) -> None:
        """Send it; see ``StoreTransaction``.

        Raises:
            OwnershipLost: the session in which the batch began is over, or the offsets were changed.
        """
        self._expect("advanced", "commit")
        self._connection.connect()  # waits if the connection is suspended; nothing has been sent yet
        if self._connection.sessions_lost != self._session:
            raise self._why_lost()
        self._state = "being committed"
        try:
            results = self._connection.multi(self._request)
        except (*UNANSWERED, AuthFailedError) as error:
            raise CommitOutcomeUnknown(
                f"the outcome of a commit in {self._connection.where} is unknown ({type(error).__name__}); the stored "
                "offsets will tell"
            ) from error
        except KazooException as error:
            raise mapped(error, "committing", self._connection.where) from error
        if (failure := failure_in(results)) is not None:
            raise self._why_refused(*failure) from failure[1]
        self._state = "committed"
        self._positions.written(self._claim.stream, self._after, results[: len(self._after)])

    def close(self) -> None:
        """The batch is over: nothing can be asked for any more."""
        self._state = "over"

    def _ask(self, asked: Asked) -> None:
        self._expect("open", "write")
        self._asked.append(asked)

    def _expect(self, state: str, doing: str) -> None:
        if self._state != state:
            was, self._state = self._state, "escaped"
            raise TransactionEscaped(
                f"the batch's transaction in {self._connection.where} was to {doing} while it is {was}: write while "
                "the handler runs, and leave advance and commit to the stream"
            )

    def _full(self, path: str) -> str:
        problem = why_no_path(path)
        full = f"{self._chroot}{path}"
        if problem is None and f"{full}/".startswith(f"{self._positions.layout.root}/"):
            problem = "lies where the offsets are"
        if problem is not None:
            raise ProcessingError(f"the path {path!r} of a result {problem}; nothing of the batch was committed")
        return full

    def _refusal(self, stored: Mapping[TopicPartition, StoredPosition]) -> KafkaStreamError | None:
        return why_not_claimed(self._claim, stored, self._connection.where, REMOVED)

    def _resolved(self) -> list[Step]:
        existing: set[str] = set()
        if paths := paths_to_look_at(self._asked, self._chroot):
            self._connection.sync()  # one that another session has created must not be overlooked
            existing = {path for path, found in zip(paths, self._connection.exist(paths), strict=True) if found}
        return list(steps_of(self._asked, existing, self._chroot, self._connection.acl))

    def _moved(self, r: OffsetRange, now: datetime) -> StoredPosition:
        before = self._stored[r.topic_partition].position
        return replace(
            before,
            next_offset=r.until_offset,
            planned_until=None,
            plan_kind=None,
            leader_epoch=self._claim.leader_epochs.get(r.topic_partition),
            topic_id=self._claim.topic_ids.get(r.topic, before.topic_id),
            changed_at=now,
        )

    def _why_refused(self, index: int, error: Exception) -> KafkaStreamError:
        where = self._connection.where
        if index >= len(self._after) + len(self._steps):
            return why_not_kept(error, self._claim.stream, where)
        if index >= len(self._after):
            step = self._steps[index - len(self._after)]
            return self._spoiled(step, why_refused(step, error, self._chroot, where))
        if not isinstance(error, CHANGED_MEANWHILE):
            return mapped(error, f"changing znode {self._request[index].path}", where)
        return self._why_fenced() or StoreUnavailable(
            f"the offsets of stream {self._claim.stream!r} in {where} were touched while the batch committed, and are "
            "as they were; nothing was committed"
        )

    def _why_lost(self) -> KafkaStreamError:
        """A session that is over takes its batch with it, also where nobody else has taken the partitions over."""
        first = self._claim.ranges[0]
        return self._why_fenced() or OwnershipLost(
            f"the session with {self._connection.where} in which the batch began is over; nothing was committed",
            range=first,
            stored_offset=first.from_offset,
            other=self._claim.owner,
        )

    def _why_fenced(self) -> KafkaStreamError | None:
        partitions = [r.topic_partition for r in self._claim.ranges]
        with self._connection.mapping("looking why a commit failed"):
            self._connection.sync()
            return self._refusal(positions_of(self._positions.read(self._claim.stream, partitions)))


__all__ = ["ZooKeeperTransaction"]
