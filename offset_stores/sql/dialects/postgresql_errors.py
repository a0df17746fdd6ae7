"""What the errors of PostgreSQL mean, by SQLSTATE, and what of them may be told.

The source is "PostgreSQL Error Codes".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from kafka_stream.offset_stores.sql.error_words import sentence, without_quoted
from kafka_stream.offset_stores.sql.errors import Verdict, driver_error

if TYPE_CHECKING:
    import psycopg

VERDICTS: Mapping[str, Verdict] = MappingProxyType(
    {
        "08": Verdict.UNAVAILABLE,
        "0A": Verdict.STATEMENT,  # a feature that is not supported
        "20": Verdict.DATA,
        "21": Verdict.DATA,  # more rows than one
        "22": Verdict.DATA,
        "23": Verdict.DATA,
        "25006": Verdict.READ_ONLY,  # after a failover it will be another server, or another session of this one
        "25P03": Verdict.UNAVAILABLE,  # idle_in_transaction_session_timeout ended the session
        "25P04": Verdict.UNAVAILABLE,  # transaction_timeout did
        "26": Verdict.STATEMENT,  # a prepared statement that a pooler has lost
        "27": Verdict.DATA,
        "28": Verdict.REFUSED,
        "2D": Verdict.STATEMENT,
        "3B": Verdict.STATEMENT,
        "3D": Verdict.REFUSED,
        "3F": Verdict.MISMATCH,
        "40": Verdict.GAVE_UP,
        "40002": Verdict.DATA,
        "42": Verdict.STATEMENT,
        "42501": Verdict.REFUSED,
        "42703": Verdict.MISMATCH,
        "42804": Verdict.DATA,  # the type of a parameter is that of its value
        "42846": Verdict.DATA,
        "42883": Verdict.MISMATCH,
        "42P01": Verdict.MISMATCH,
        "42P08": Verdict.DATA,
        "42P18": Verdict.DATA,
        "44": Verdict.DATA,
        "53": Verdict.UNAVAILABLE,
        "54": Verdict.DATA,  # a value too large for an index, a document too deep
        "55": Verdict.STATEMENT,
        "55P03": Verdict.LOCKED,
        "57": Verdict.UNAVAILABLE,
        "57014": Verdict.GAVE_UP,  # a timeout or an operator cancelled the statement
        "58": Verdict.UNAVAILABLE,  # the server's disk
        "72": Verdict.GAVE_UP,
        "F0": Verdict.UNAVAILABLE,
        "P0": Verdict.DATA,
        "XX001": Verdict.STATEMENT,  # a table or an index is damaged
        "XX002": Verdict.STATEMENT,
    }
)
"""By SQLSTATE, or its first characters; the longest that fits counts."""

# A table was altered since the driver prepared the statement, which it forgets with the rollback; it has no SQLSTATE of
# its own.
_STALE_PLAN = "RevalidateCachedQuery"

# The client library has no code for what keeps it from connecting. These are its own words, which are English, and
# OpenSSL's; a connection that breaks ("closed unexpectedly", EOF) is none of them.
_OF_EACH_SERVER = re.compile(r"connection to server (?=at|on)")
_TLS = re.compile(
    r"certificate verify failed|does not match host name|host name from server certificate|SSL error: .*alert|"
    r"does not support SSL|requires SSL|(?:certificate|private key|root certificate) file \"|certificate present|"
    r"connection is not encrypted|wrong version number"
)
_NOT_FOR_US = re.compile(r"no pg_hba\.conf entry|pg_hba\.conf rejects")
# After the password was asked for: the connection broke, or the server lets nobody in just now.
_BROKE = re.compile(
    r"closed (?:the connection )?unexpectedly|could not (?:receive|send|connect)|timeout expired|timed out|"
    r"EOF detected|SYSCALL|Connection (?:reset|refused|aborted)|Broken pipe|unreachable|No route to host|"
    r"lost synchronization|unexpected message from server|connection is bad"
)
_NOT_NOW = re.compile(r"too many (?:clients|connections)|connection slots|database system is|terminating connection")

_QUOTES_ROWS = frozenset({"22021", "P0"})  # bytes that are no text; what a trigger or a function says (RAISE)
_QUOTES_VALUES = frozenset({"22", "42601"})  # a value that does not fit; a statement that cannot be read


def psycopg_error(error: BaseException) -> psycopg.Error | None:
    """The driver's error, inside SQLAlchemy's wrapping."""
    try:
        import psycopg
    except ModuleNotFoundError:
        return None
    driver = driver_error(error)
    return driver if isinstance(driver, psycopg.Error) else None


def verdict_of(error: psycopg.Error) -> Verdict:
    """By SQLSTATE, or by what the client library knows."""
    import psycopg

    if error.diag.source_function == _STALE_PLAN:
        return Verdict.GAVE_UP
    if error.sqlstate is not None:
        fitting = [state for state in VERDICTS if error.sqlstate.startswith(state)]
        return VERDICTS[max(fitting, key=len)] if fitting else Verdict.OTHER
    if error.pgconn is not None and error.pgconn.used_password and not _passes(str(error)):
        return Verdict.LOGIN  # the server asked for the password, and then did not let us in
    return _without_code(str(error)) if isinstance(error, psycopg.OperationalError) else Verdict.OTHER


def _passes(said: str) -> bool:
    """Whether a login was not refused, but broke off, at one of the servers at least; unknown words are a refusal."""
    return any(_BROKE.search(each) or _NOT_NOW.search(each) for each in _OF_EACH_SERVER.split(said)[1:] or [said])


def _without_code(said: str) -> Verdict:
    """Of a connection that broke or did not come about: final only if each of several servers says the same."""
    tried = _OF_EACH_SERVER.split(said)[1:] or [said]
    if all(map(_TLS.search, tried)):
        return Verdict.TLS
    return Verdict.LOGIN if all(map(_NOT_FOR_US.search, tried)) else Verdict.UNAVAILABLE


def words_of(error: psycopg.Error) -> str:
    """Name and SQLSTATE, the message where it holds no value, and the names that the server gives; no DETAIL."""
    kind, diag, state = type(error).__name__, error.diag, error.sqlstate
    if state is None:
        return sentence(kind, None, str(error))
    said = "" if state in _QUOTES_ROWS or state[:2] in _QUOTES_ROWS else diag.message_primary or ""
    said = without_quoted(said, '"') if state[:2] in _QUOTES_VALUES or state in _QUOTES_VALUES else said
    named = {"constraint": diag.constraint_name, "column": diag.column_name, "table": diag.table_name}
    where = [f'{kind} "{name}"' for kind, name in named.items() if name and f'"{name}"' not in said]
    return sentence(kind, f"SQLSTATE {state}", ", ".join([said, *where] if said else where))


__all__ = ["VERDICTS", "psycopg_error", "verdict_of", "words_of"]
