"""``MODULE:STREAM`` into the stream that it names."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from kafka_stream.errors import ConfigurationError, KafkaStreamError, ProcessingError

if TYPE_CHECKING:
    from kafka_stream.stream import DirectStream


def load_stream(spec: str) -> DirectStream:
    """Import a module, with the current directory on the import path, and take the stream (or its maker) from it.

    Raises:
        ConfigurationError: there is no such module or attribute, or it is no stream.
        ProcessingError: the module, or the function that makes the stream, failed; its cause is chained.
    """
    module_name, _, attribute = spec.partition(":")
    if not module_name or not attribute:
        raise ConfigurationError(f"{spec!r} is not MODULE:STREAM, such as app:stream for `stream` in app.py")
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    found: Any = _import(module_name)
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ConfigurationError(
                f"module {module_name!r} ({_file(module_name)}) has no {attribute!r}{_streams_hint(module_name)}"
            )
        found = getattr(found, part)
    return _checked(_made(found, spec), spec)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except KafkaStreamError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigurationError(
                f"there is no module {name!r} in {os.getcwd()} or on the import path; start from the folder it is in"
            ) from error
        raise ProcessingError(f"module {name!r} needs {error.name!r}, which is not installed") from error
    except Exception as error:
        raise ProcessingError(f"module {name!r} failed while it was imported") from error


def _made(found: Any, spec: str) -> Any:
    if not callable(found) or isinstance(found, type):
        return found
    with contextlib.suppress(ValueError, TypeError):  # some built-in callables have no signature
        if needed := [p.name for p in inspect.signature(found).parameters.values() if _is_required(p)]:
            raise ConfigurationError(f"the function {spec} needs arguments ({', '.join(needed)}); name one without")
    try:
        return found()
    except KafkaStreamError:
        raise
    except Exception as error:
        raise ProcessingError(f"the function {spec} failed to make a stream") from error


def _is_required(parameter: inspect.Parameter) -> bool:
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return parameter.default is inspect.Parameter.empty and parameter.kind not in variadic


def _checked(found: Any, spec: str) -> DirectStream:
    from kafka_stream.stream import DirectStream

    if not isinstance(found, DirectStream):
        raise ConfigurationError(
            f"{spec} is (or returns) a {type(found).__name__}, not a DirectStream or a function that returns one"
        )
    return found


def _streams_hint(module_name: str) -> str:
    from kafka_stream.stream import DirectStream

    names = sorted(name for name, value in vars(sys.modules[module_name]).items() if isinstance(value, DirectStream))
    return f"; it has the streams {', '.join(names)}" if names else ", and no other stream either"


def _file(module_name: str) -> str:
    return getattr(sys.modules[module_name], "__file__", None) or "a folder without __init__.py"


__all__ = ["load_stream"]
