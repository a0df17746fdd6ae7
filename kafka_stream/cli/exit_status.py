"""What a command's end means to the shell and to a supervisor, and how an error is said."""

from __future__ import annotations

import enum
import errno
import importlib
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from kafka_stream.errors import (
    CommandRefused,
    ConfigurationError,
    DataLoss,
    InstanceIdInUse,
    KafkaStreamError,
    OutstandingPlan,
    OwnershipLost,
    ProcessingError,
    TooManyDeadLetters,
    UnsupportedGuarantee,
)
from kafka_stream.observe.passwords import without_passwords

_FOR_AN_OPERATOR = (
    CommandRefused,
    DataLoss,
    InstanceIdInUse,  # a restart would put out the other copy
    OutstandingPlan,
    OwnershipLost,
    TooManyDeadLetters,  # each start would set some more aside, before it is too many again
    UnsupportedGuarantee,
)

_LIBRARIES = re.compile(r"[/\\](?:sqlalchemy|psycopg|pymysql)[/\\]")
_NOT_WRITTEN = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE, errno.EBADF}
_HERE = Path(__file__).parent.parent  # an editable install comes by way of a link
_OURS = (str(_HERE), str(_HERE.resolve()), str(Path(importlib.__file__).parent), "<frozen importlib")


class ExitStatus(enum.IntEnum):
    """``REFUSED`` needs an operator: a supervisor that restarts on it would loop. ``USAGE`` is Typer's own, too."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3


def exit_status(error: BaseException) -> ExitStatus:
    """The exit status for what ended a command; a guarantee that cannot hold is refused, not a usage error."""
    if isinstance(error, _FOR_AN_OPERATOR):
        return ExitStatus.REFUSED
    if isinstance(error, ConfigurationError):
        return ExitStatus.USAGE
    return ExitStatus.FAILED


def say_unwritten(error: OSError) -> None:
    """Say, once, that what was printed does not arrive (a full disk, a reader that has left), and drop the rest."""
    with suppress(OSError):
        _write(f"error: the output could not be written: {error.strerror}\n")
    with suppress(OSError, ValueError):  # or the interpreter would try again at its end, and say so
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def report(error: Exception) -> ExitStatus:
    """Say on stderr what went wrong: a sentence, after a traceback only where code is to be mended."""
    status = exit_status(error)
    if isinstance(error, ProcessingError) and error.__cause__ is not None:
        _write("".join(_lines(_from_user_code(error.__cause__))))
    elif isinstance(error, OSError) and error.filename is None and error.errno in _NOT_WRITTEN:
        say_unwritten(error)
        return status
    elif not isinstance(error, KafkaStreamError):
        _write("".join(traceback.format_exception(error)))
        _write(f"error: unexpected {type(error).__name__}: {error}\n")
        return status
    _write(f"error: {error}\n")
    return status


def _from_user_code(error: BaseException) -> BaseException:
    """The error with its traceback beginning in user code, without our own frames and the importer's above it."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_OURS):
        frames = frames.tb_next
    return error if frames is None else error.with_traceback(frames)


def _lines(error: BaseException) -> Iterator[str]:
    """The traceback down to the line that called a database's library: what that does inside helps nobody."""
    shown = traceback.TracebackException.from_exception(error)
    _leave_out_libraries(shown)
    return shown.format()


def _leave_out_libraries(shown: traceback.TracebackException) -> None:
    while shown.stack and _LIBRARIES.search(shown.stack[-1].filename):
        shown.stack.pop()
    for led_to_it in (shown.__cause__, shown.__context__):
        if led_to_it is not None:
            _leave_out_libraries(led_to_it)
    if shown.__cause__ is not None and not shown.__cause__.stack:  # the driver's error, which the library's has told
        shown.__cause__, shown.__suppress_context__ = None, True


def _write(text: str) -> None:
    sys.stderr.write(without_passwords(text))


__all__ = ["ExitStatus", "exit_status", "report", "without_passwords"]
