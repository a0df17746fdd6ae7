"""A driver's error into the library's tree: by type and code, never by message text.

Each dialect says what an error of its driver means (a ``Verdict``); what follows from that is said here, once.
"""

from __future__ import annotations

import enum

from sqlalchemy import exc

from kafka_stream.errors import (
    ConfigurationError,
    KafkaStreamError,
    NotAuthorized,
    SchemaMismatch,
    StoreUnavailable,
)


class Verdict(enum.Enum):
    """What a driver's error means."""

    LOCKED = "waited for another session's lock in vain"
    GAVE_UP = "the database gave the transaction up"
    UNAVAILABLE = "the database does not answer, or the connection broke"
    READ_ONLY = "the session takes no writes, and will not: it began while the server took none"
    TLS = "no encrypted connection came about as it was asked for"
    LOGIN = "the database asked for the password and then did not let us in"
    REFUSED = "the database refused a permission"
    MISMATCH = "a table or column is missing"
    STATEMENT = "the statement cannot work here, whatever its values are"
    DATA = "a constraint or a value"
    OTHER = "anything else"


TRANSIENT = frozenset({Verdict.LOCKED, Verdict.GAVE_UP, Verdict.UNAVAILABLE, Verdict.READ_ONLY})
"""What may work the next time."""

ABOUT_NO_ROW = TRANSIENT | {Verdict.TLS, Verdict.LOGIN, Verdict.REFUSED, Verdict.MISMATCH, Verdict.STATEMENT}
"""What is the same whatever is written."""


def driver_error(error: BaseException) -> BaseException:
    """What the driver raised, inside SQLAlchemy's wrapping."""
    return error.orig if isinstance(error, exc.DBAPIError) and error.orig is not None else error


def reason_of(error: BaseException) -> str:
    """A driver's own words on one line, without the statement and its parameters."""
    words = " ".join(str(driver_error(error)).split())
    return words or type(error).__name__


def mapped(error: BaseException, verdict: Verdict, doing: str, where: str) -> KafkaStreamError:
    """The library's error for what one of the store's own statements ran into."""
    reason = reason_of(error)
    if isinstance(error, KafkaStreamError):
        return error
    match verdict:
        case Verdict.LOCKED:
            return StoreUnavailable(f"another session held a lock for too long while {doing} in {where}: {reason}")
        case Verdict.GAVE_UP:
            return StoreUnavailable(f"{where} gave the transaction up while {doing}: {reason}")
        case Verdict.UNAVAILABLE:
            return StoreUnavailable(f"{where} did not answer while {doing}: {reason}")
        case Verdict.READ_ONLY:
            return StoreUnavailable(f"{where} took no writes while {doing}: {reason}")
        case Verdict.TLS:
            return ConfigurationError(
                f"no TLS connection with {where} came about while {doing}: {reason}; check the authority's certificate "
                "(sslrootcert, ssl_ca), that the server's has not expired and is for the name by which it is reached, "
                "and ours where it asks for one (sslcert, ssl_cert)"
            )
        case Verdict.LOGIN | Verdict.REFUSED:
            return NotAuthorized(
                f"{where} refused us while {doing}: {reason}; check user, password, database and grants"
            )
        case Verdict.MISMATCH:
            return SchemaMismatch(
                f"the tables in {where} are not as they must be, found while {doing}: {reason}; "
                "look with `kafka-stream schema check`"
            )
        case _:
            return ConfigurationError(f"{where} failed while {doing}: {reason}")


__all__ = ["TRANSIENT", "Verdict", "driver_error", "mapped", "reason_of"]
