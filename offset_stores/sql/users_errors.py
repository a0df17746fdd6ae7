"""What comes out of a handler: whose connection it came from, and what of it may be told.

No driver's error names its connection, and a handler may work past SQLAlchemy, whose events would. But an error's
traceback passes the driver's own objects, or SQLAlchemy's, on its way out: the innermost of them is where it came from.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator

from sqlalchemy import Connection, exc

from kafka_stream.offset_stores.sql.dialects import DATABASES, Database
from kafka_stream.offset_stores.sql.error_words import sentence, shortened

_OBJECTS_AT_WORK = ("self", "cursor")
_TOLD = "kafka_stream_told"
_SPEAKS_OF_NAMES = (exc.ArgumentError, exc.CompileError, exc.InvalidRequestError)
"""SQLAlchemy's own errors whose messages name tables and columns; ``PendingRollbackError`` quotes an earlier error."""


def connection_at_work(error: BaseException, database: Database) -> object | None:
    """The driver's connection, or SQLAlchemy's, that an error came out of; ``None`` if its traceback shows none."""
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        for name in _OBJECTS_AT_WORK:
            thing = frame.f_locals.get(name)
            found = thing if isinstance(thing, Connection) else database.connection_of(thing)
            if found is not None:
                return found
    return None


def tell(error: BaseException) -> str | None:
    """What a database's error says, without statement, parameters, or any value of a row; ``None`` if it is none.

    The values are taken out of the error itself, too, and out of all that led to it: its traceback will be logged. A
    driver's own fields (``diag`` of psycopg) stay as they are.
    """
    for each in list(_all_that_led_to(error)):
        if _TOLD not in vars(each) and (words := _words(each)) is not None:
            _replace_words(each, words)
        if isinstance(each, exc.StatementError) and each.orig is not None and _words(each.orig) is None:
            for about_a_value in _all_that_led_to(each.orig):
                about_a_value.args = ()
    told: str | None = vars(error).get(_TOLD)
    return told


def _all_that_led_to(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    left = [error]
    while left:
        each = left.pop()
        if id(each) not in seen:
            seen.add(id(each))
            yield each
            left += [found for found in (each.__context__, each.__cause__) if found is not None]
            left += each.exceptions if isinstance(each, BaseExceptionGroup) else ()


def _words(error: BaseException) -> str | None:
    for database in KINDS:
        if (words := database.words(error)) is not None:
            return words
    if isinstance(error, exc.StatementError):  # around what a type's own code raised at a value
        return sentence(type(error).__name__, type(error.orig).__name__, "")
    if isinstance(error, exc.SQLAlchemyError):
        names_only = isinstance(error, _SPEAKS_OF_NAMES) and not isinstance(error, exc.PendingRollbackError)
        said = str(error.args[0]) if error.args and names_only else ""
        return sentence(type(error).__name__, None, said)
    return None


def _replace_words(error: BaseException, words: str) -> None:
    vars(error)[_TOLD] = words
    code = error.args[:1] if error.args and isinstance(error.args[0], int) else ()
    error.args = (*code, words)
    if isinstance(error, exc.StatementError):
        error.hide_parameters = True
        error.statement = None if error.statement is None else shortened(error.statement)


KINDS: tuple[Database, ...] = tuple(kind() for kind in dict.fromkeys(DATABASES.values()))
"""Each kind of database once: user code may work on others than the store's."""

__all__ = ["KINDS", "connection_at_work", "tell"]
