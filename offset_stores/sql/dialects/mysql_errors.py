"""What the errors of MariaDB and MySQL mean, by their numbers, and what of them may be told.

From 1000 they are the server's, from 2000 the client library's.

The source is "Error Codes" (MariaDB) and "Server Error Message Reference" (MySQL). PyMySQL's exception classes are no
guide: a CHECK constraint (4025) arrives as an ``OperationalError``.
"""

from __future__ import annotations

import re
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
        1614,  # a deadlock of an XA transaction
        1969,  # max_statement_time (MariaDB)
        3024,  # max_execution_time (MySQL)
    ),
    Verdict.UNAVAILABLE: (
        0,  # the driver has closed the connection
        *(1021, 1037, 1038, 1041, 1114, 1135),  # out of disk, memory or threads
        *(1040, 1203, 1226),  # too many connections, or too much of something for this user
        *(1047, 1053, 1079),  # a Galera node that is not ready; the server shuts down
        *(1152, 1158, 1159, 1160, 1161, 1184),  # the connection broke, as the server saw it
        1637,  # too many transactions
        *(1927, 3169, 4031),  # the session was ended
        *(2002, 2003, 2005, 2006, 2013, 2014, 2045, 2055),  # no connection, or no longer
    ),
    Verdict.READ_ONLY: (1290, 1836),  # after a failover it will be another server
    Verdict.LOGIN: (1045, 1698),
    Verdict.REFUSED: (
        *(1044, 1049, 1130, 1142, 1143, 1227, 1370, 1410),
        1792,  # transactions of this user only read
        *(1820, 1862, 3118, 4151),  # the password has expired, the account is locked
    ),
    Verdict.MISMATCH: (1051, 1054, 1146),
    Verdict.DATA: (
        *(1048, 1062, 1364, 1586),  # null, duplicate, no default
        *(1216, 1217, 1451, 1452),  # foreign keys
        *(1264, 1265, 1292, 1365, 1366, 1367, 1406, 1411, 1690),  # values that do not fit
        1644,  # SIGNAL
        *(3140, 4038, 3819, 4025),  # JSON; CHECK (MySQL, MariaDB)
    ),
}

VERDICTS: Mapping[int, Verdict] = MappingProxyType(
    {number: verdict for verdict, numbers in _NUMBERS.items() for number in numbers}
)

_NAMES_ONLY = frozenset({1048, 1216, 1217, 1264, 1265, 1364, 1406, 1451, 1452, 3819, 4025})
"""Errors of a row whose message quotes tables, columns and constraints, and no value."""
_USERS_OWN_WORDS = frozenset({1644, 1690})  # SIGNAL; an expression that is out of range, which is quoted
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


def words_of(error: pymysql.err.MySQLError) -> str:
    """Names are kept, values are not; what a trigger says (``SIGNAL``) may be one."""
    number = number_of(error)
    if number < 0:
        return sentence(type(error).__name__, None, str(error))
    said = str(error.args[1]) if len(error.args) > 1 else ""
    return sentence(type(error).__name__, str(number) if number else None, _without_values(number, said))


def _without_values(number: int, message: str) -> str:
    if number in _NAMES_ONLY or VERDICTS.get(number, Verdict.DATA) is not Verdict.DATA:
        return message
    if number in _USERS_OWN_WORDS:
        return ""
    cut, found = _VALUE_OF_SOMETHING.subn("'…'", message)
    return cut if found else without_quoted(message, "'")


__all__ = ["VERDICTS", "number_of", "pymysql_error", "words_of"]
