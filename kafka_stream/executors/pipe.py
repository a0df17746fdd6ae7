"""A worker's results through its pipe: as they are, into memory that was made for them.

``Connection.recv_bytes`` takes eight times as long for megabytes: it asks for memory for all that is left, each time
that a part has come, and copies the parts.
"""

from __future__ import annotations

import os
from multiprocessing.connection import Connection

_AT_ONCE = 2**30


def send_whole(connection: Connection, data: bytes | bytearray) -> None:
    """Send bytes whose number the other end knows."""
    left = memoryview(data)
    while left:
        left = left[os.write(connection.fileno(), left[:_AT_ONCE]) :]


def receive_whole(connection: Connection, size: int) -> bytearray:
    """So many bytes, which the other end sends.

    Raises:
        EOFError, OSError: it has gone.
    """
    data = bytearray(size)
    left = memoryview(data)
    while left:
        count = os.readv(connection.fileno(), [left[:_AT_ONCE]])
        if not count:
            raise EOFError
        left = left[count:]
    return data


__all__ = ["receive_whole", "send_whole"]
