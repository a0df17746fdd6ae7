# What is used of pyspark, which is not installed where types are checked.
from collections.abc import Callable, Mapping, Sequence
from threading import Thread
from typing import Any

class SparkContext:
    @property
    def applicationId(self) -> str: ...
    @property
    def defaultParallelism(self) -> int: ...
    master: str
    def setJobGroup(self, groupId: str, description: str, interruptOnCancel: bool = ...) -> None: ...
    def cancelJobGroup(self, groupId: str) -> None: ...
    def statusTracker(self) -> StatusTracker: ...

class StatusTracker:
    def getActiveJobsIds(self) -> list[int]: ...

class InheritableThread(Thread):
    def __init__(
        self,
        target: Callable[..., Any],
        *,
        args: Sequence[Any] = ...,
        kwargs: Mapping[str, Any] = ...,
        name: str | None = ...,
        daemon: bool | None = ...,
    ) -> None: ...
