"""The connection to the ensemble: a kazoo client, asked with bounded waits, many requests in flight at once."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TypeVar

from kazoo.client import KazooClient
from kazoo.exceptions import ConnectionLoss, KazooException, NoAuthError, NodeExistsError, NoNodeError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.interfaces import IAsyncResult
from kazoo.protocol.states import KazooState, KeeperState, ZnodeStat
from kazoo.security import ACL

from kafka_stream.errors import ConfigurationError, NotAuthorized, StoreUnavailable
from kafka_stream.offset_stores.zookeeper.ensemble.access import Access
from kafka_stream.offset_stores.zookeeper.ensemble.tls import why_not_let_in
from kafka_stream.offset_stores.zookeeper.errors import mapped
from kafka_stream.offset_stores.zookeeper.operations import Operation
from kafka_stream.offset_stores.zookeeper.requests import check_size

T = TypeVar("T")

_PROBE_AFTER_S = 2.0
_IN_FLIGHT = 256  # requests without an answer yet: enough to hide the round trip, few enough for the server's queue
_RECONNECTING = {"max_tries": -1, "delay": 0.1, "backoff": 2, "max_delay": 2.0}  # kazoo's own would wait up to an hour


class _Quieter(logging.Filter):
    """What kazoo says: its requests would show credentials, and of a broken connection the store's own errors tell."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno == logging.WARNING:
            record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
        return record.levelno >= logging.INFO


logger = logging.getLogger("kafka_stream.zookeeper")
logger.addFilter(_Quieter())


class Connection:
    """One session after another. Used by one thread at a time; kazoo's own threads keep the session alive."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._client: KazooClient | None = None
        self._is_connected: threading.Event | None = None
        self._sessions_lost = 0
        self._was_refused = False

    @property
    def where(self) -> str:
        """The ensemble and the chroot, for people; never holds a secret."""
        return str(self._access.address)

    @property
    def acl(self) -> Sequence[ACL]:
        """What new znodes are protected with."""
        return self._access.acl

    @property
    def max_request_bytes(self) -> int:
        """What a request may hold."""
        return self._access.max_request_bytes

    @property
    def sessions_lost(self) -> int:
        """How many sessions have come to their end: what was begun in one of them is not committed in the next."""
        return self._sessions_lost

    def connect(self) -> KazooClient:
        """The client, connected: waits for a suspended connection no longer than its session lives.

        Raises:
            StoreUnavailable: no server has let us in.
            NotAuthorized: the credentials were refused.
            ConfigurationError: TLS does not come about.
        """
        if self._client is None:
            if self._access.client_options.get("use_ssl"):  # before kazoo tries again and again, and tells nobody why
                self._refuse_wrong_tls()
            self._was_refused = False
            self._client = client = self._new_client()
            self._is_connected = client.start_async()
            if not self._is_connected.wait(min(_PROBE_AFTER_S, self._access.session_timeout_s)):
                self._refuse_wrong_tls()
        assert self._is_connected is not None
        if not self._is_connected.wait(self._access.session_timeout_s):
            was_refused = self._was_refused
            self.close()  # the session is over, and kazoo's threads may be, too: begin anew
            if was_refused:
                raise NotAuthorized(f"{self.where} refused our credentials; check auth, or those in the URL")
            raise StoreUnavailable(
                f"no server of {self.where} let us in within {self._access.session_timeout_s:g} s: are they up?"
            )
        return self._client

    def _refuse_wrong_tls(self) -> None:
        """Raise if it would be the same the next time."""
        if (reason := why_not_let_in(self._access.address.hosts, self._access.client_options)) is not None:
            self.close()
            raise ConfigurationError(f"{self.where} cannot be reached: {reason}")

    def _new_client(self) -> KazooClient:
        client = KazooClient(
            hosts=self._access.address.hosts,
            timeout=self._access.session_timeout_s,
            auth_data=[] if self._access.auth is None else [self._access.auth],
            connection_retry=_RECONNECTING,
            logger=logger,
            **self._access.client_options,
        )
        client.add_listener(partial(self._on_state, client))
        return client

    def _on_state(self, client: KazooClient, state: str) -> None:
        """Called on kazoo's thread, before it tells those who wait for answers."""
        if state == KazooState.LOST:
            self._sessions_lost += 1
            self._was_refused = client.client_state == KeeperState.AUTH_FAILED

    def close(self) -> None:
        """End the session, so that nothing that is on its way is sent any more. Never raises; may be called twice."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(Exception):
                client.stop()
            with suppress(Exception):
                client.close()

    @contextmanager
    def mapping(self, doing: str) -> Iterator[None]:
        """Turn kazoo's errors into the library's."""
        try:
            yield
        except (KazooException, KazooTimeoutError) as error:
            raise mapped(error, doing, self.where) from error

    # What follows raises kazoo's own errors, and those of ``connect`` -------------------------------------------------

    def sync(self) -> None:
        """Wait until the server that we read from has seen all that was committed before: followers lag."""
        self._answer(self.connect().sync_async(self._access.address.chroot or "/"))

    def read(self, paths: Iterable[str]) -> list[tuple[bytes, ZnodeStat] | None]:
        """What each znode holds; ``None`` where there is none. As it was, unless ``sync`` was called before."""
        client = self.connect()
        return self._answers(client.get_async(path) for path in paths)

    def read_what_we_may(self, paths: Iterable[str]) -> list[tuple[bytes, ZnodeStat] | None]:
        """The same; ``None``, too, where it is not for us."""
        client = self.connect()
        return self._answers((client.get_async(path) for path in paths), or_none=(NoNodeError, NoAuthError))

    def acl_like(self, path: str) -> Sequence[ACL]:
        """What a znode is protected with, for those below it; our own if we may not know that."""
        try:
            acl, _ = self._answer(self.connect().get_acls_async(path))
        except (NoNodeError, NoAuthError):
            return self.acl
        return tuple(acl)

    def exist(self, paths: Iterable[str]) -> list[ZnodeStat | None]:
        """Whether there is such a znode. As it was, unless ``sync`` was called before."""
        client = self.connect()
        return self._answers(client.exists_async(path) for path in paths)

    def children(self, paths: Iterable[str]) -> list[list[str]]:
        """The names of each znode's children; none if there is no such znode."""
        client = self.connect()
        return [names or [] for names in self._answers(client.get_children_async(path) for path in paths)]

    def create_missing(self, path: str, like: str | None = None) -> None:
        """Create a znode without a value, and those above it, unless they are there; protected as another one is."""
        client = self.connect()
        acl = self.acl if like is None else self.acl_like(like)
        missing: list[str] = []
        while path and self._answer(client.exists_async(path)) is None:  # upwards: what is above may be others'
            missing.append(path)
            path = path.rpartition("/")[0]
        for each in reversed(missing):
            with suppress(NodeExistsError):
                self._answer(client.create_async(each, b"", acl))

    def multi(self, operations: Sequence[Operation]) -> list[object]:
        """All of it or nothing; the results are looked at with ``failure_in``, since errors are returned.

        Raises:
            ConfigurationError: it is too large; nothing was sent.
        """
        check_size(operations, self.max_request_bytes, self.where)
        request = self.connect().transaction()
        request.operations.extend(operations)
        return self._answer(request.commit_async())

    def _answers(
        self, requests: Iterable[IAsyncResult[T]], or_none: tuple[type[KazooException], ...] = (NoNodeError,)
    ) -> list[T | None]:
        waiting: deque[IAsyncResult[T]] = deque()
        found: list[T | None] = []
        for request in requests:
            waiting.append(request)
            if len(waiting) == _IN_FLIGHT:
                found.append(self._answer_or_none(waiting.popleft(), or_none))
        return found + [self._answer_or_none(request, or_none) for request in waiting]

    def _answer_or_none(self, request: IAsyncResult[T], or_none: tuple[type[KazooException], ...]) -> T | None:
        try:
            return self._answer(request)
        except or_none:
            return None

    def _answer(self, request: IAsyncResult[T]) -> T:
        """Wait for it: kazoo notices a broken connection within the session's timeout, so this is long enough."""
        try:
            return request.get(timeout=2 * self._access.session_timeout_s)
        except KazooTimeoutError:
            self.close()
            raise
        except RuntimeError as error:  # an answer that kazoo does not know, after which its threads are gone
            self.close()
            raise ConnectionLoss from error


__all__ = ["Connection"]
