"""``DaskExecutor``: ``prepare`` runs on the workers of a Dask cluster."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING

from kafka_stream.errors import ConfigurationError, FailedElsewhere, KafkaStreamError, MissingExtra, WorkerLost
from kafka_stream.executors.dask_cluster import DaskCluster, given_up, why_unlike
from kafka_stream.executors.dask_tasks import Environment, Failure, Run, done, keep_own_pickling, sent
from kafka_stream.executors.limits import check_limits
from kafka_stream.executors.packing import packed, packed_beside_script
from kafka_stream.executors.worker import run
from kafka_stream.protocols.causes import said
from kafka_stream.protocols.executors import DEFAULT_RESULT_BYTES, DEFAULT_TASK_TIMEOUT_S, Outcome, Slice, Work

if TYPE_CHECKING:
    import distributed
    from distributed import Client

    _Task = distributed.Future[Outcome | Failure]


class DaskExecutor:
    """``prepare`` runs on a Dask cluster: ``DaskExecutor("tcp://host:8786")``, or a ``distributed.Client``.

    With neither, each run starts a ``LocalCluster`` of its own on this machine, with ``workers`` processes (one for
    each core, if not told) that nothing but 127.0.0.1 can reach, and ends it. A program that does so has to begin below
    ``if __name__ == "__main__":``, since its processes import its main module.

    Workers need the Python and the kafka-stream that the stream has, and your own code: it is imported there, never
    sent. The scheduler needs nothing. A client that is given is used and never closed. Outcomes travel by
    way of the scheduler, unless the client was made with ``direct_to_workers=True``.

    Dask runs a task again when its worker goes away, and cannot end one that runs: a task that takes longer than
    ``task_timeout_s`` is submitted again, and its worker is restarted, with all that runs there (one that has no nanny
    is closed).

    Raises:
        MissingExtra: ``distributed`` is not installed.
        ConfigurationError: an argument cannot be used.
    """

    takes_whole_batches = False

    def __init__(
        self,
        address_or_client: str | Client | None = None,
        *,
        workers: int | None = None,
        task_timeout_s: float = DEFAULT_TASK_TIMEOUT_S,
        max_result_bytes: int = DEFAULT_RESULT_BYTES,
    ) -> None:
        _check_installed()
        _check(address_or_client, workers)
        check_limits("DaskExecutor", task_timeout_s, max_result_bytes)
        self._to = address_or_client
        self._address = _address_of(address_or_client)
        self._workers = workers
        self.task_timeout_s = task_timeout_s
        self.max_result_bytes = max_result_bytes

    def describe(self) -> str:
        """Where the cluster is; an address of a scheduler has no place for a secret."""
        if self._address is not None:
            return f"Dask at {self._address}"
        return "Dask on this machine" if self._workers is None else f"Dask on this machine, workers={self._workers}"

    def start(self, work: Work) -> DaskWorkers:
        """Connect, and compare versions; without a cluster, start one, which takes seconds."""
        pack = packed_beside_script if self._to is None else packed
        content = pack(work)
        cluster = self._cluster()
        try:
            cluster.check()
            return DaskWorkers(cluster, content, run, pack)
        except BaseException:
            cluster.close()
            raise

    def _cluster(self) -> DaskCluster:
        if self._to is None or self._address is None:
            return DaskCluster.embedded(self._workers)
        if isinstance(self._to, str):
            return DaskCluster.at(self._address)
        return DaskCluster.of(self._to, self._address)


class DaskWorkers:
    """The workers of one run, as ``kafka_stream.protocols.executors.Workers`` says."""

    def __init__(self, cluster: DaskCluster, work: bytes, run: Run, pack: Callable[[Work], bytes]) -> None:
        self._cluster = cluster
        self._work = work
        self._run = run
        self._pack = pack
        self._here = Environment.here()
        self._tasks: dict[Future[Outcome], tuple[Client, _Task]] = {}

    @property
    def slots(self) -> int:
        """The threads of all workers, as of some seconds ago."""
        return max(1, self._cluster.threads)

    def submit(self, slices: Sequence[Slice]) -> Future[Outcome]:
        """One Dask task; in the order of submission, if there are more of them than threads."""
        outcome: Future[Outcome] = Future()
        outcome.set_running_or_notify_cancel()  # it ends by abandon(), not by cancel()
        try:
            self._send(outcome, slices)
        except KafkaStreamError as error:
            outcome.set_exception(error)
        return outcome

    def abandon(self, task: Future[Outcome], *, hangs: bool = False) -> None:
        """Have Dask forget it. One that has begun goes on unheard; the worker of one that hangs is restarted."""
        if (found := self._tasks.get(task)) is not None:
            client, running = found
            client.loop.add_callback(given_up, client, running, hangs)

    def change(self, work: Work) -> None:
        """Tasks that are submitted from now on do this."""
        self._work = self._pack(work)

    def close(self) -> None:
        """Forget what is under way, and close what was made for this run, within half a minute."""
        for task in list(self._tasks):
            self.abandon(task)
        self._cluster.close()
        for task in list(self._tasks):
            self._settle(task, WorkerLost("the run that this task was of has ended"))

    def _send(self, outcome: Future[Outcome], slices: Sequence[Slice]) -> None:
        client = self._cluster.client
        try:
            task = client.submit(
                sent(done, self._run, self._work, tuple(slices), self._here),
                key=f"kafka-stream-{uuid.uuid4()}",
                pure=False,
                retries=0,
                fifo_timeout=0,
            )
        except Exception as error:  # the client was closed under our hands
            raise _failure(error) from error
        self._tasks[outcome] = client, task
        client.loop.add_callback(self._follow, outcome, client, task)

    async def _follow(self, outcome: Future[Outcome], client: Client, task: _Task) -> None:
        try:
            given = await client.gather(task, asynchronous=True)
        except asyncio.CancelledError:
            self._settle(outcome, WorkerLost("the Dask client was closed while a task was under way"))
            raise
        except Exception as error:  # noqa: BLE001 - the stream decides
            self._settle(outcome, await _explained(client, error))
        else:
            self._settle(outcome, given.raised() if isinstance(given, Failure) else given)

    def _settle(self, outcome: Future[Outcome], given: Outcome | Exception) -> None:
        if self._tasks.pop(outcome, None) is None:
            return
        if isinstance(given, Exception):
            outcome.set_exception(given)
        else:
            outcome.set_result(given)


async def _explained(client: Client, error: Exception) -> KafkaStreamError:
    """What Dask itself says of a task; where something is not installed, it is asked where."""
    failure = _failure(error)
    if isinstance(failure, ConfigurationError):
        with contextlib.suppress(Exception):  # then what Dask says has to do
            if (why := await why_unlike(client)) is not None:
                failure = ConfigurationError(why)
    failure.__cause__ = error
    return failure


def _failure(error: Exception) -> KafkaStreamError:
    from distributed import KilledWorker
    from distributed.client import ClosedClientError

    if isinstance(error, KilledWorker):
        last = error.last_worker.address
        return WorkerLost(
            f"each Dask worker that was given a task died while it had it, the last one {last}: see its log"
        )
    if isinstance(error, CancelledError):
        return WorkerLost(f"Dask has forgotten a task that was under way ({getattr(error, 'reason', 'cancelled')})")
    if isinstance(error, OSError | ClosedClientError):
        return WorkerLost(f"the Dask scheduler has gone while a task was under way ({error})")
    if isinstance(error, ImportError | AttributeError):
        return ConfigurationError(f"a Dask worker cannot load kafka-stream ({error}): install it on all, as it is here")
    return FailedElsewhere(f"Dask could not run a task: {said(error)}")


def _check(to: object, workers: object) -> None:
    if workers is not None and (not isinstance(workers, int) or workers < 1):
        raise ConfigurationError(f"workers={workers!r} of a DaskExecutor must be a number from 1 on")
    if to is None:
        return
    if workers is not None:
        raise ConfigurationError("workers= of a DaskExecutor is for a cluster of this machine; a given one has its own")
    if isinstance(to, str):
        if not to.strip():
            raise ConfigurationError("the address of a Dask scheduler is empty: write it as tcp://host:8786")
        return
    from distributed import Client

    if not isinstance(to, Client):
        raise ConfigurationError(
            f"a DaskExecutor takes a scheduler's address or a distributed.Client, not a {type(to).__name__}"
        )
    if to.asynchronous:
        raise ConfigurationError("a DaskExecutor needs a distributed.Client that was not made with asynchronous=True")


def _address_of(to: str | Client | None) -> str | None:
    if to is None or isinstance(to, str):
        return to
    if to.scheduler is None:
        raise ConfigurationError("a DaskExecutor was given a Dask client that is closed: give it one that is connected")
    return to.scheduler.address


def _check_installed() -> None:
    try:
        import dask.multiprocessing  # noqa: F401 - it tells tblib the same as distributed does, when it is imported
        import distributed  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in {"dask", "distributed"}:
            raise
        raise MissingExtra("a DaskExecutor needs distributed: pip install 'kafka-stream[dask]'") from error
    finally:
        keep_own_pickling()


__all__ = ["DaskExecutor"]
