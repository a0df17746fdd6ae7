from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from concurrent.futures import CancelledError
from typing import Any, Generic, Self, TypeVar

_T = TypeVar("_T")

class Security: ...

class _Loop:
    asyncio_loop: AbstractEventLoop
    def add_callback(self, callback: Callable[..., object], *args: Any) -> None: ...

class _Scheduler:
    address: str

class Future(Generic[_T]):
    key: str
    status: str
    def result(self, timeout: float | None = ...) -> _T: ...
    def release(self) -> None: ...

class LocalCluster:
    scheduler_address: str
    workers: Mapping[int, Any]
    def __init__(
        self,
        n_workers: int | None = ...,
        threads_per_worker: int | None = ...,
        processes: bool | None = ...,
        host: str | None = ...,
        scheduler_port: int = ...,
        silence_logs: int | bool = ...,
        dashboard_address: str | None = ...,
        asynchronous: bool = ...,
    ) -> None: ...
    def close(self, timeout: float | None = ...) -> object: ...

class Client:
    asynchronous: bool
    status: str
    loop: _Loop
    scheduler: _Scheduler | None
    security: Security | None
    def __init__(
        self,
        address: str | LocalCluster | None = ...,
        *,
        timeout: float = ...,
        set_as_default: bool = ...,
        security: Security | None = ...,
        asynchronous: bool = ...,
        name: str | None = ...,
        direct_to_workers: bool | None = ...,
    ) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *raised: object) -> None: ...
    def submit(
        self,
        func: Callable[..., _T],
        *args: Any,
        key: str | None = ...,
        pure: bool = ...,
        retries: int | None = ...,
        fifo_timeout: str | float = ...,
    ) -> Future[_T]: ...
    def gather(self, futures: Future[_T], *, asynchronous: bool) -> Awaitable[_T]: ...
    def cancel(self, futures: Collection[Future[Any]], *, asynchronous: bool, force: bool = ...) -> Awaitable[None]: ...
    # On the client's own loop these give a coroutine.
    def run(self, function: Callable[[], _T], on_error: str) -> Coroutine[Any, Any, Mapping[str, _T | Exception]]: ...
    def run_on_scheduler(self, function: Callable[[], _T]) -> Coroutine[Any, Any, _T]: ...
    def nthreads(self) -> Coroutine[Any, Any, Mapping[str, int]]: ...
    def scheduler_info(self) -> Mapping[str, Any]: ...
    def processing(self) -> Coroutine[Any, Any, Mapping[str, Collection[str]]]: ...
    def restart_workers(
        self, workers: Sequence[str], timeout: float = ..., raise_for_error: bool = ...
    ) -> Coroutine[Any, Any, Mapping[str, str]]: ...
    def close(self, timeout: float = ...) -> object: ...

class KilledWorker(Exception):
    last_worker: _Worker

class _Worker:
    name: str | int
    address: str

def get_worker() -> _Worker: ...

__all__ = [
    "CancelledError",
    "Client",
    "Future",
    "KilledWorker",
    "LocalCluster",
    "Security",
    "get_worker",
]
