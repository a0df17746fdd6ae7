from collections.abc import Sequence
from typing import NamedTuple

CONN_LISTEN: str

class _Address(NamedTuple):
    ip: str
    port: int

class _Connection(NamedTuple):
    laddr: _Address
    status: str

class Process:
    pid: int
    def __init__(self, pid: int | None = ...) -> None: ...
    def children(self, recursive: bool = ...) -> list[Process]: ...
    def cmdline(self) -> list[str]: ...
    def net_connections(self, kind: str) -> list[_Connection]: ...

def wait_procs(procs: Sequence[Process], timeout: float) -> tuple[list[Process], list[Process]]: ...
