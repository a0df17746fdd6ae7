"""What a Dask worker is given and gives back: calls that show nothing, an environment to compare, failures as values.

A failure is a value because Dask would log the task's arguments beside an exception, cut its text short, and count it.
"""

from __future__ import annotations

import copyreg
import functools
import pickle
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from kafka_stream.errors import ConfigurationError, FailedElsewhere, KafkaStreamError
from kafka_stream.protocols.executors import Outcome, PositionGone, Slice

_T = TypeVar("_T")

Run = Callable[[bytes, Sequence[Slice]], Outcome]
_PACKAGE = __name__.partition(".")[0]


class _Call:
    """A call on its way: who reads it from its pickle makes it, and gets what it gives."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._made = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._made


def sent(function: Callable[..., _T], *arguments: Any) -> Callable[[], _T]:
    """The call, for Dask: to its scheduler, its logs and its dashboard it is one of ``pickle.loads`` without arguments.

    A worker that cannot load what is called, or an argument, fails that call; of anything else than the standard
    library's it would log the pickle, and be lost.
    """
    return functools.partial(pickle.loads, pickle.dumps(_Call(function, *arguments)))


@dataclass(frozen=True, slots=True)
class Environment:
    """What has to be the same where tasks are made and where they run."""

    python: str
    kafka_stream: str

    @classmethod
    def here(cls) -> Environment:
        """That of this process."""
        return cls(f"{sys.version_info.major}.{sys.version_info.minor}", sys.modules[_PACKAGE].__version__)

    def why_unlike(self, there: Environment | Exception, where: str) -> str | None:
        """What is to be done about the process that ``where`` names; ``None`` if it will do, or did not answer."""
        if isinstance(there, ImportError | AttributeError):
            wanted = f"version {self.kafka_stream}"
            return f"{where} cannot load kafka-stream ({there}): install {wanted} there, with your own code"
        if isinstance(there, Exception):
            return None
        if there.python != self.python:
            return f"{where} runs Python {there.python}, and the stream {self.python}: give both the same version"
        if there.kafka_stream != self.kafka_stream:
            return (
                f"{where} has kafka-stream {there.kafka_stream}, and the stream {self.kafka_stream}: install the same "
                "there"
            )
        return None


@dataclass(frozen=True, slots=True)
class Failure:
    """What a task raised, pickled."""

    error: bytes = field(repr=False)

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """What the driver does not know is told as text."""
        keep_own_pickling()
        return cls(pickle.dumps(error if isinstance(error, KafkaStreamError | PositionGone) else _told(error)))

    def raised(self) -> KafkaStreamError | PositionGone:
        """The error; where it is of a module that this process does not have, that."""
        try:
            error: KafkaStreamError | PositionGone = pickle.loads(self.error)  # noqa: S301 - of our own worker
        except Exception as unreadable:  # noqa: BLE001 - user code may raise errors of its own that are of ours
            return FailedElsewhere(f"what failed on a worker cannot be read here: {unreadable!r}")
        return error


def keep_own_pickling() -> None:
    """Take our errors back from ``tblib``, which ``distributed`` tells to pickle all errors that there are.

    It would send their causes as they are, which often cannot be sent.
    """
    for kind in list(copyreg.dispatch_table):
        if issubclass(kind, KafkaStreamError | PositionGone):
            del copyreg.dispatch_table[kind]


def done(run: Run, work: bytes, slices: Sequence[Slice], driver: Environment) -> Outcome | Failure:
    """One task, on a worker's thread."""
    try:
        here = f"the Dask worker {_this_worker()}"
        if (why := driver.why_unlike(Environment.here(), here)) is not None:
            raise ConfigurationError(why)
        try:
            return run(work, slices)
        except ConfigurationError as error:
            if type(error) is not ConfigurationError:  # of the broker, not of what is installed here
                raise
            raise ConfigurationError(f"{here}: {error}") from error
    except BaseException as error:  # noqa: BLE001 - the driver raises it again; SystemExit would end the worker
        return Failure.of(error)


def _this_worker() -> str:
    from distributed import get_worker

    return get_worker().address


def _told(error: BaseException) -> FailedElsewhere:
    return FailedElsewhere("".join(traceback.format_exception(error)).rstrip())


__all__ = ["Environment", "Failure", "Run", "done", "keep_own_pickling", "sent"]
