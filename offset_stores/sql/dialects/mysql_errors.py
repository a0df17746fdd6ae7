"""What the errors of MariaDB and MySQL mean, by their numbers, and what of them may be told.

From 1000 they are the server's, from 2000 the client library's.

The source is "Error Codes" (MariaDB) and "Server Error Message Reference" (MySQL). PyMySQL's exception classes are no
guide: a CHECK constraint (4025) arrives as an ``OperationalError``.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from kafka_stream.offset_stores.sql.error_words import sentence, without_quoted
from kafka_stream.offset_stores.sql.errors import Verdict, driver_error

if TYPE_CHECKING:
    import pymysql

_NUMBERS = {
    Verdict.LOCKED: (
        1205,  # waited too long; only the statement is rolled back
        3572,  # NOWAIT, on MySQL
    ),
    Verdict.GAVE_UP: (
        1020,  # a row has changed since it was read, at snapshot isolation
        1213,  # a deadlock: the whole transaction is rolled back
        1317,  # KILL QUERY
        *(1180, 1297),  # an error during the commit; a temporary one of the engine
        1614,  # a deadlock of an XA transaction
        1969,  # max_statement_time (MariaDB)
        3024,  # max_execution_time (MySQL)
    ),
    Verdict.UNAVAILABLE: (
        0,  # the driver has closed the connection
        *(1021, 1037, 1038, 1041, 1114, 1135, 1206, 3019),  # out of disk, memory, threads, room for locks or undo
        *(1004, 1015, 1016, 1026, 1030),  # a file, or what the engine made of one
        *(1040, 1203, 1226),  # too many connections, or too much of something for this user
        *(1047, 1053, 1079),  # a Galera node that is not ready; the server shuts down
        *(1152, 1158, 1159, 1160, 1161, 1184),  # the connection broke, as the server saw it
        1637,  # too many transactions
        *(1927, 3169, 4031),  # the session was ended
        *(2002, 2003, 2005, 2006, 2013, 2014, 2045, 2055),  # no connection, or no longer
    ),
    Verdict.READ_ONLY: (1290, 1792, 1836),  # after a failover it will be another server, or another session
    Verdict.TLS: (2026, 3159),
    Verdict.LOGIN: (1045, 1698),
    Verdict.REFUSED: (
        *(1044, 1049, 1130, 1142, 1143, 1227, 1370, 1410),
        *(1820, 1862, 3118, 4151),  # the password has expired, the account is locked
    ),
    Verdict.MISMATCH: (1051, 1054, 1109, 1128, 1146, 1630),
    Verdict.STATEMENT: (
        *(1052, 1064, 1066, 1110, 1149, 1210, 1318),  # what cannot be read, or counts its parameters wrong
        *(1099, 1100, 1192),  # tables that the handler has locked
        *(1197, 1467, 1665),  # a batch too large for the log; no more numbers; a log that cannot be written so
        1305,  # no such procedure, or savepoint
        *(1347, 1348, 1356, 1471, 3105),  # what no row can be written to
        *(1336, 1422),  # no commit here
    ),
    Verdict.DATA: (
        *(1048, 1062, 1364, 1586),  # null, duplicate, no default
        *(1216, 1217, 1451, 1452),  # foreign keys
        *(1118, 1153, 1301, 1713),  # a row that is too large
        *(1242, 1329),  # more rows than one, or none
        *(1264, 1265, 1292, 1300, 1365, 1366, 1367, 1406, 1411, 1416, 1441, 1690),  # values that do not fit
        *(1369, 1525, 1526, 1748),  # not for this view or partition
        *(1557, 1761, 1762),  # a foreign key would make a duplicate
        *(1642, 1643, 1644, 1645),  # SIGNAL
        *(3140, 3141, 3143, 3144, 4036, 4037, 4038),  # JSON
        *(3819, 4025),  # CHECK (MySQL, MariaDB)
    ),
}

VERDICTS: Mapping[int, Verdict] = MappingProxyType(
    {number: verdict for verdict, numbers in _NUMBERS.items() for number in numbers}
)

_NAMES_ONLY = frozenset({1048, 1216, 1217, 1264, 1265, 1364, 1406, 1451, 1452, 3819, 4025})
"""Errors of a row whose message quotes tables, columns and constraints, and no value."""
_USERS_OWN_WORDS = frozenset(
    {1642, 1643, 1644, 1645, 1690}
)  # SIGNAL; an expression that is out of range, which is quoted
_VALUE_OF_SOMETHING = re.compile(r"'.*'(?= for (?:key|column|function) )", re.DOTALL)


def pymysql_error(error: BaseException) -> pymysql.err.MySQLError | None:
    """The driver's error, inside SQLAlchemy's wrapping."""
    try:
        import pymysql
    except ModuleNotFoundError:
        return None
    driver = driver_error(error)
    return driver if isinstance(driver, pymysql.err.MySQLError) else None


def number_of(error: BaseException) -> int:
    """The error's number; -1 where it has none."""
    number = error.args[0] if error.args else -1
    return number if isinstance(number, int) else -1


def verdict_of(error: pymysql.err.MySQLError) -> Verdict:
    """By the error's number; of a connection that did not come about, by what the driver ran into."""
    if _is_tls_refusal(getattr(error, "original_exception", None)):
        return Verdict.TLS
    return VERDICTS.get(number_of(error), Verdict.OTHER)


def _is_tls_refusal(error: object) -> bool:
    """Whether a handshake failed for a reason, rather than broke off."""
    return isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)


def words_of(error: pymysql.err.MySQLError) -> str:
    """Names are kept, values are not; what a trigger says (``SIGNAL``) may be one."""
    number = number_of(error)
    if number < 0:
        return sentence(type(error).__name__, None, str(error))
    said = str(error.args[1]) if len(error.args) > 1 else ""
    return sentence(type(error).__name__, str(number) if number else None, _without_values(number, said))


def _without_values(number: int, message: str) -> str:
    if number in _NAMES_ONLY or VERDICTS.get(number, Verdict.DATA) not in {Verdict.DATA, Verdict.STATEMENT}:
        return message
    if number in _USERS_OWN_WORDS:
        return ""
    cut, found = _VALUE_OF_SOMETHING.subn("'…'", message)
    return cut if found else without_quoted(message, "'")


__all__ = ["VERDICTS", "number_of", "pymysql_error", "verdict_of", "words_of"]
