"""Files and directories that are on the disk when a function returns, not only in the system's memory."""

from __future__ import annotations

import os
from pathlib import Path


def make_directory(path: Path) -> None:
    """Create a directory and the parents that are missing, durably; nothing if it is there.

    Raises:
        OSError: it cannot be created, or is a file.
    """
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(exist_ok=True)
    sync_directory(path.parent)


def write_file(path: Path, data: bytes, unfinished: Path) -> None:
    """Write ``unfinished``, which must not exist, make its content durable, and only then call it ``path``.

    The new name is durable after ``sync_directory``.

    Raises:
        OSError: it could not be written whole, and is removed.
    """
    with unfinished.open("xb") as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable: what was created, renamed and removed.

    Raises:
        OSError: the disk failed.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_directory(path: Path) -> None:
    """Remove a directory with its files; nothing if it is gone.

    Raises:
        OSError: somebody went on writing into it meanwhile, or the disk failed.
    """
    try:
        for entry in list(path.iterdir()):
            entry.unlink(missing_ok=True)
        path.rmdir()
    except FileNotFoundError:  # somebody else removes it too
        return
