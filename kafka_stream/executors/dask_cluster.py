"""A Dask cluster as a stream sees it: a client that is there or not, is made anew when it has given up, and a size."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

from kafka_stream.errors import ConfigurationError, KafkaStreamError, WorkerLost
from kafka_stream.executors.dask_tasks import Environment, sent

if TYPE_CHECKING:
    from distributed import Client, Future, LocalCluster, Security

CONNECT_S = 10.0
LOOK_S = 2.0
CLOSE_S = 10.0
_LOGGER = logging.getLogger("kafka_stream.dask")


class DaskCluster:
    """A scheduler and its workers. What is made here is closed here, a client or a cluster that was given is not."""

    def __init__(self, client: Client, *, own: bool, local: LocalCluster | None = None) -> None:
        assert client.scheduler is not None
        self.address = client.scheduler.address
        self._client = client
        self._own = own
        self._local = local
        self._security = client.security
        self._lock = Lock()
        self._closed = False
        self._connecting: Thread | None = None
        self._threads = 1
        self._looked_at = 0.0

    @classmethod
    def at(cls, address: str, security: Security | None = None) -> DaskCluster:
        """That of the scheduler there. Raises ``WorkerLost`` within ``CONNECT_S``, or ``ConfigurationError``."""
        return cls(connected(address, security), own=True)

    @classmethod
    def of(cls, client: Client, address: str) -> DaskCluster:
        """That of somebody's client, for as long as this lives; of its address, if it has given up.

        Raises:
            WorkerLost: the scheduler does not answer.
        """
        if client.status == "running":
            return cls(client, own=False)
        if client.status in {"closed", "closing"}:
            return cls.at(address, client.security)
        raise WorkerLost(_silent(address))

    @classmethod
    def embedded(cls, workers: int | None) -> DaskCluster:
        """A new one on this machine, of processes with one thread each; as many as there are cores, if not told."""
        local = _local_cluster(workers)
        try:
            return cls(connected(local), own=True, local=local)
        except BaseException:
            local.close(timeout=CLOSE_S)
            raise

    @property
    def client(self) -> Client:
        """Connected as far as is known; else ``WorkerLost``, and it is being connected."""
        client = self._client
        if self._closed:
            raise WorkerLost("the run whose tasks went to Dask has ended")
        if client.status == "running":
            return client
        if client.status in {"closed", "closing"}:
            self._connect_again()
        raise WorkerLost(_silent(self.address))

    @property
    def threads(self) -> int:
        """How many tasks its workers can do at once, as it was some seconds ago."""
        if time.monotonic() - self._looked_at > LOOK_S:
            self._looked_at = time.monotonic()
            self._client.loop.add_callback(self._look, self._client)
        return self._threads

    def check(self) -> None:
        """Refuse workers with another Python, or another kafka-stream.

        Raises:
            ConfigurationError: names the first of them, and what to do there.
            WorkerLost: the scheduler does not answer.
        """
        if (why := self.waited_for(why_unlike(self.client))) is not None:
            raise ConfigurationError(why)
        self.waited_for(self._look(self.client))

    def waited_for(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """What it gives on the client's loop. Raises ``WorkerLost``, after a bounded time."""
        asked = asyncio.run_coroutine_threadsafe(coroutine, self._client.loop.asyncio_loop)
        try:
            return asked.result(2 * CONNECT_S)
        except (OSError, CancelledError) as error:
            raise WorkerLost(_silent(self.address)) from error

    def close(self) -> None:
        """Close what was made here. Takes at most three times ``CLOSE_S``, and never raises."""
        with self._lock:
            self._closed = True
        closing = Thread(target=self._close, name="kafka-stream-dask-close", daemon=True)
        closing.start()
        closing.join(3 * CLOSE_S)

    def _close(self) -> None:
        for made in (self._client if self._own else None, self._local):
            try:
                if made is not None:
                    made.close(timeout=CLOSE_S)
            except Exception as error:  # noqa: BLE001 - a run that ends is not kept from it
                _LOGGER.warning("the Dask cluster at %s could not be left in order: %r", self.address, error)

    async def _look(self, client: Client) -> None:
        with contextlib.suppress(Exception):  # what was known stays; tasks will tell that nothing answers
            threads = await asyncio.wait_for(client.nthreads(), CONNECT_S)
            self._threads = sum(threads.values())

    def _connect_again(self) -> None:
        with self._lock:
            if self._closed or (self._connecting is not None and self._connecting.is_alive()):
                return
            self._connecting = Thread(target=self._connect, name="kafka-stream-dask-connect", daemon=True)
            self._connecting.start()

    def _connect(self) -> None:
        try:
            client = connected(self.address, self._security)
        except KafkaStreamError as error:
            _LOGGER.debug("%s", error)  # every task says so
            return
        with self._lock:
            if not self._closed:
                self._client, self._own = client, True
                return
        client.close(timeout=CLOSE_S)


def connected(to: str | LocalCluster, security: Security | None = None) -> Client:
    """A client of our own, which is nobody's default.

    Raises:
        ConfigurationError: it is no address of a scheduler.
        WorkerLost: nothing answers there within ``CONNECT_S``.
    """
    from distributed import Client

    try:
        return Client(to, timeout=CONNECT_S, security=security, set_as_default=False, asynchronous=False)
    except OSError as error:
        raise WorkerLost(_silent(str(to))) from error
    except (ImportError, ValueError) as error:
        raise ConfigurationError(f"{to} cannot be used as a Dask scheduler: {error}") from error


async def why_unlike(client: Client) -> str | None:
    """What is to be done about the first worker that is unlike this process; ``None`` if all that answer will do.

    Raises:
        OSError: the scheduler has gone.
    """
    try:
        told = await asyncio.wait_for(client.run(sent(Environment.here), on_error="return"), CONNECT_S)
    except TimeoutError:
        _LOGGER.warning(
            "not all Dask workers say in %g s which versions they have; their tasks compare them", CONNECT_S
        )
        return None
    here = Environment.here()
    reasons = (here.why_unlike(it, f"the Dask worker {address}") for address, it in told.items())
    return next((why for why in reasons if why is not None), None)


async def given_up(client: Client, task: Future[Any], hangs: bool) -> None:
    """Have the cluster forget it; where it hangs, restart its worker, with all that runs there."""
    with contextlib.suppress(Exception):  # a client that is closed has forgotten it
        processing = await client.processing() if hangs else {}
        await client.cancel([task], asynchronous=True, force=True)
        if workers := [worker for worker, keys in processing.items() if task.key in keys]:
            _LOGGER.warning("a task hangs on the Dask worker %s, which is restarted", workers[0])
            await client.restart_workers(workers, timeout=CLOSE_S, raise_for_error=False)


def _local_cluster(workers: int | None) -> LocalCluster:
    from distributed import LocalCluster
    from distributed.utils import get_mp_context

    if get_mp_context().get_start_method() == "fork":
        raise ConfigurationError(
            "Dask's setting distributed.worker.multiprocessing-method is fork, which breaks librdkafka: set it to spawn"
        )
    try:
        return LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            scheduler_port=0,
            dashboard_address=None,
            silence_logs=logging.ERROR,
            asynchronous=False,
        )
    except OSError as error:
        raise WorkerLost(f"a Dask cluster could not be started on this machine ({error})") from error
    except RuntimeError as error:
        raise ConfigurationError(
            f"a Dask cluster could not be started on this machine ({error}); a "
            "script that runs a stream with a Dask "
            'cluster of its own is loaded by that one\'s processes, too: run it under `if __name__ == "__main__":`'
        ) from error


def _silent(address: str) -> str:
    return f"the Dask scheduler at {address} does not answer: start it there, or correct the address"


__all__ = ["DaskCluster", "connected", "given_up", "why_unlike"]
