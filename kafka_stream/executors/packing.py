"""A run's work on its way to workers: user code by reference, as ``pickle`` does it; what cannot go there is named.

Each part is packed by itself, and unpacked once in a process, by content: what a function or an object keeps from one
task to the next (a model that it has loaded) stays, also where another part has changed in between.
"""

from __future__ import annotations

import io
import multiprocessing
import pickle
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, TypeAlias

from kafka_stream.callables import name_of
from kafka_stream.errors import ConfigurationError
from kafka_stream.protocols.causes import said
from kafka_stream.protocols.executors import Work

_PROTOCOL = 5
_KEPT_PARTS = 64
_MAIN = "__main__"

_Check: TypeAlias = Callable[[Any, str], None]
"""Raises for a function, a class or a method that cannot go to workers, as a part of what is named."""


@dataclass(frozen=True, slots=True)
class _Packed:
    """A ``Work``, part by part."""

    stream: str
    kafka: bytes
    prepare: bytes
    sinks: tuple[bytes, ...]
    by_range: tuple[bool, ...]
    piece_bytes: int


def packed(work: Work) -> bytes:
    """What ``unpacked`` takes, in a process that shares nothing with this one but what is installed.

    Raises:
        ConfigurationError: a part of it cannot go there: a lambda, a closure, a function of ``__main__``.
    """
    return _packed(work, _refuse_main)


def packed_beside_script(work: Work) -> bytes:
    """The same for processes that ``multiprocessing`` starts, which load the script that was started here as well.

    So a function of ``__main__`` can go there, if ``__main__`` is a file, and not a notebook or a prompt.

    Raises:
        ConfigurationError: as ``packed``; or that script is just being loaded by such a process, and runs the stream.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise ConfigurationError(
            f"stream {work.stream!r} is run by the script that a worker process loads as it starts: run it under "
            '`if __name__ == "__main__":`'
        )
    has_file = getattr(sys.modules[_MAIN], "__file__", None) is not None
    return _packed(work, _allow if has_file else _refuse_main)


def unpacked(content: bytes) -> Work:
    """The work, in a worker's process. Parts that were unpacked before, and are the same, are the same objects.

    Raises:
        ConfigurationError: something of it is not installed here, or another version of it is.
    """
    parts: _Packed = _loaded(content, "what was sent")
    stream = parts.stream
    return Work(
        stream=stream,
        kafka=_unpacked_part(parts.kafka, f"the Kafka settings of stream {stream!r}"),
        prepare=_unpacked_part(parts.prepare, f"prepare of stream {stream!r}"),
        sinks=[_unpacked_part(sink, f"a sink of stream {stream!r}") for sink in parts.sinks],
        by_range=parts.by_range,
        piece_bytes=parts.piece_bytes,
    )


def dumped(value: Any, what: str) -> bytes:
    """A worker's result, on its way to the driver.

    Raises:
        ConfigurationError: it cannot be sent; the message names the type that cannot.
    """
    try:
        return pickle.dumps(value, _PROTOCOL)
    except Exception as error:
        raise ConfigurationError(
            f"what {what} gives cannot be sent back from a worker: {_unsendable(value)} ({said(error)}); give plain "
            "values, such as lists of rows, or run this stream without an executor"
        ) from error


def _packed(work: Work, check: _Check) -> bytes:
    stream = work.stream
    parts = _Packed(
        stream=stream,
        kafka=_packed_settings(work.kafka, stream, check),
        prepare=_packed_part(work.prepare, f"prepare of stream {stream!r}", check),
        sinks=tuple(_packed_part(sink, f"sink {_name(sink)} of stream {stream!r}", check) for sink in work.sinks),
        by_range=tuple(work.by_range),
        piece_bytes=work.piece_bytes,
    )
    return pickle.dumps(parts, _PROTOCOL)


def _packed_settings(settings: Mapping[str, Any], stream: str, check: _Check) -> bytes:
    """Each is tried by itself, to name the one that cannot be sent; its value may be a secret, and is not told."""
    for key, value in settings.items():
        what = f"kafka setting {key!r} of stream {stream!r}"
        try:
            _dumped(value, what, check)
        except ConfigurationError:
            raise
        except Exception:  # noqa: BLE001 - what it says may hold the value
            raise ConfigurationError(f"{what} cannot be sent to workers: it is a {_type(value)}") from None
    return pickle.dumps(dict(settings), _PROTOCOL)


def _packed_part(part: Any, what: str, check: _Check) -> bytes:
    try:
        return _dumped(part, what, check)
    except ConfigurationError:
        raise
    except Exception as error:
        raise ConfigurationError(
            f"{what} cannot be sent to workers: {said(error)}; keep what belongs to this process (connections, locks, "
            "open files) out of it, and make it where it is used"
        ) from error


def _dumped(part: Any, what: str, check: _Check) -> bytes:
    written = io.BytesIO()
    _Checking(written, lambda one: check(one, what)).dump(part)
    return written.getvalue()


class _Checking(pickle.Pickler):
    """A pickler that shows what goes by reference, before it does."""

    def __init__(self, file: io.BytesIO, check: Callable[[Any], None]) -> None:
        super().__init__(file, _PROTOCOL)
        self._check = check

    def reducer_override(self, part: Any) -> Any:
        """Called by ``pickle`` for every function, class and object of one."""
        if isinstance(part, FunctionType | BuiltinFunctionType | MethodType | type):
            self._check(part)
        return NotImplemented


def _refuse_main(part: Any, what: str) -> None:
    """Raise for what a worker cannot import."""
    _allow(part, what)
    if getattr(part, "__module__", None) == _MAIN:
        raise ConfigurationError(
            f"{what} cannot be sent to workers: {name_of(part)} is of __main__, the script or prompt that was started "
            "here, which workers do not have; put it into a module that workers can import, as module:name"
        )


def _allow(part: Any, what: str) -> None:
    """Raise for what nobody can import."""
    name = name_of(part)
    if "<locals>" not in name and "<lambda>" not in name:
        return
    kind = "a lambda" if name.endswith("<lambda>") else "defined inside a function"
    raise ConfigurationError(
        f"{what} cannot be sent to workers: {getattr(part, '__module__', None)}:{name} is {kind}, and nobody can "
        "import it; put it into a module that workers can import, as module:name"
    )


@lru_cache(maxsize=_KEPT_PARTS)
def _unpacked_part(content: bytes, what: str) -> Any:
    return _loaded(content, what)


def _loaded(content: bytes, what: str) -> Any:
    try:
        return pickle.loads(content)  # noqa: S301 - the driver's own
    except Exception as error:
        raise ConfigurationError(
            f"a worker cannot load {what} ({said(error)}); install the application there, as the driver has it"
        ) from error


def _name(sink: Any) -> str:
    """What people call a sink: for a plain function, that one's name."""
    function = getattr(sink, "function", None)
    return name_of(function if function is not None else type(sink))


def _unsendable(value: Any) -> str:
    """The type that cannot be pickled, by looking into lists and dicts as far as it is easy."""
    parts = value if isinstance(value, list | tuple | set) else value.values() if isinstance(value, dict) else ()
    for part in parts:
        try:
            pickle.dumps(part, _PROTOCOL)
        except Exception:  # noqa: BLE001 - whatever it is, this is the part
            return _unsendable(part)
    return _type(value)


def _type(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


__all__ = ["dumped", "packed", "packed_beside_script", "unpacked"]
