"""``FileSink``: a directory as the place where results go."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from kafka_stream.callables import deferring_kind
from kafka_stream.errors import ConfigurationError, MissingExtra, SinkUnavailable
from kafka_stream.sinks.files.content import ASYNC_BELONGS, Content
from kafka_stream.sinks.files.durable import make_directory, remove_directory, sync_directory, write_file
from kafka_stream.sinks.files.jsonl import JsonLines
from kafka_stream.sinks.files.names import (
    SUFFIXES,
    beginning,
    file_name,
    unfinished_name,
    workplace_name,
    workplaces_begin,
)
from kafka_stream.sinks.files.rows import Format
from kafka_stream.types import OffsetRange, Owner, TopicPartition, Writes

_NOT_WRITABLE = {
    errno.EACCES, errno.EEXIST, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EPERM, errno.EROFS,
}  # fmt: skip


class FileSink:
    """Writes rows into files of a local directory: one file per partition and range, which a repeat replaces.

    ``to_rows`` takes what the stream's ``prepare`` gave for one partition (or the ``Batch`` of one partition) and
    gives mappings from column name to value, in order. It runs in the prepare phase, must be pure, and may run again.

    What is read back from a file equals what was given, or the rows are refused, naming the row and the path inside it.

    - ``"jsonl"``: a compact JSON object a line, in UTF-8. Bytes, dates, ``Decimal``, NaN and keys that are no text are
      refused.
    - ``"parquet"`` (needs ``kafka-stream[parquet]``): ``to_rows`` may also give a ``pyarrow.Table`` or
      ``RecordBatch``. Without ``schema=`` (a ``pyarrow.Schema``) each file has the columns and types of its own rows,
      and two files may disagree.

    The directory, which is created if it is missing, is flat, so that ``pyarrow.dataset.dataset(directory)`` or
    DuckDB's ``'directory/*.parquet'`` read all of it. Names such as ``orders+00003+0000000000000000100-
    0000000000000000200.jsonl`` hold topic, partition, ``from_offset`` and ``until_offset``, and sort by offset. Where
    rows are of different kinds, use a directory for each. A range without rows has no file. A file appears whole,
    before its offsets are committed, and until then may be replaced.

    A file is written under a hidden name, synced, renamed, and the directory synced, before ``write`` returns. Its
    hidden name lies in a directory that belongs to one owner and one partition. A takeover removes those of others, so
    that an owner which was frozen and wakes up late can neither finish a file nor replace one; an owner whose
    directory was removed makes it again, but fails first, and so asks the offset store before it writes again.
    This needs a file system whose renames are atomic and seen by all owners at once: a local one, or a network one
    without caches of names.

    What remains to the user: a directory is of one stream, whose name is not in the files' names, and stays the
    stream's as its offset store does. Offsets that an operator resets to before a finished range leave that range's
    file beside those that are written again: remove it.

    Raises:
        ConfigurationError: an argument cannot work.
        MissingExtra: the format is ``"parquet"``, and pyarrow is not installed.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        to_rows: Callable[[Any], Iterable[Any]],
        format: Literal["jsonl", "parquet"] = "jsonl",  # noqa: A002 - the field's name
        *,
        schema: Any = None,
    ) -> None:
        self._directory = _checked_directory(directory)
        self._format = _format_of(format, schema)
        self._check_to_rows(to_rows)
        self._content = Content(self._directory, to_rows, self._format)
        self._owners: dict[TopicPartition, Owner] = {}
        self._workplaces: set[Path] = set()
        self._attempts = itertools.count()

    @property
    def writes(self) -> Writes:
        """A file is named after its range, and replaced whole."""
        return Writes.IDEMPOTENT_BY_RANGE

    @property
    def needs(self) -> None:
        """No transaction."""

    def describe(self) -> str:
        """The files' directory and suffix."""
        return f"files {self._directory}/*{self._format.suffix}"

    def prepare(self, prepared: Any) -> bytes:
        """Run ``to_rows`` and encode its rows: the content of one range's file, empty without rows. Pure.

        Raises:
            RecordError: ``to_rows`` gave of a record something that is no row, or holds what the format cannot.
            ProcessingError: the same, where the row is not of one record alone, or is refused beside others only.
        """
        return self._content.prepare(prepared)

    @property
    def work_changed(self) -> int:
        """See ``ConvertingSink``: nothing is found out while it writes."""
        return 0

    def for_workers(self) -> Content:
        """See ``ConvertingSink``: what makes the content of a file, of which the driver writes the bytes."""
        return self._content

    def take_over(self, stream: str, owner: Owner, partitions: Sequence[TopicPartition]) -> None:
        """See ``RangeSink``."""
        with self._os_errors("take over"):
            for tp in partitions:
                self._owners[tp] = owner
                self._make_workplace(tp, owner)
            self._remove_workplaces_of_others(partitions)

    def write(self, prepared: Mapping[OffsetRange, bytes], transaction: object) -> None:
        """Write each range's file; all are durable when it returns.

        Raises:
            SinkUnavailable: the disk is full or failed, or another owner has taken over.
            ConfigurationError: the directory cannot be written to.
        """
        for r, data in prepared.items():
            with self._os_errors(f"write {r}"):
                if data:
                    self._replace(r, data)
                self._remove(r, [suffix for suffix in SUFFIXES if not data or suffix != self._format.suffix])
        with self._os_errors("write"):
            sync_directory(self._directory)

    def discard(self, planned: OffsetRange) -> None:
        """See ``RangeSink``. What other owners are writing of the partition is gone, too.

        Raises:
            SinkUnavailable: the disk failed; try again.
            ConfigurationError: the directory cannot be written to.
        """
        if not self._directory.is_dir():
            return
        with self._os_errors(f"discard {planned}"):
            self._remove_workplaces_of_others([planned.topic_partition])
            self._remove(planned, SUFFIXES)
            sync_directory(self._directory)

    def _replace(self, r: OffsetRange, data: bytes) -> None:
        owner = self._owners[r.topic_partition]
        workplace = self._directory / workplace_name(r.topic_partition, owner.id)
        unfinished = workplace / f"{unfinished_name(r, owner.id)}.{next(self._attempts)}"
        try:
            write_file(self._directory / file_name(r, self._format.suffix), data, unfinished)
        except FileNotFoundError as error:
            # Only an attempt that fails may make it again: the next one comes after the store was asked who owns it.
            self._make_workplace(r.topic_partition, owner)
            raise SinkUnavailable(
                f"could not write {r} ({self.describe()}): its unfinished file was removed, as a takeover by another "
                "owner does; the offset store is asked whose the partition is before the next attempt"
            ) from error

    def _remove(self, r: OffsetRange, suffixes: Iterable[str]) -> None:
        """Remove an earlier attempt's file: it may have had rows, or another format, before the code changed."""
        for suffix in suffixes:
            (self._directory / file_name(r, suffix)).unlink(missing_ok=True)

    def _make_workplace(self, topic_partition: TopicPartition, owner: Owner) -> None:
        make_directory(self._directory)
        workplace = self._directory / workplace_name(topic_partition, owner.id)
        try:
            workplace.mkdir()
        except FileExistsError:
            if workplace not in self._workplaces:
                raise ConfigurationError(
                    f"another FileSink of the same stream writes into {self._directory}, where both would replace each "
                    "other's files; give each a directory of its own"
                ) from None
        self._workplaces.add(workplace)

    def _remove_workplaces_of_others(self, partitions: Sequence[TopicPartition]) -> None:
        beginnings = {workplaces_begin(tp) for tp in partitions}
        ours = {workplace_name(tp, self._owners[tp].id) for tp in partitions if tp in self._owners}
        for name in os.listdir(self._directory):
            if beginning(name) in beginnings and name not in ours:
                remove_directory(self._directory / name)

    @contextmanager
    def _os_errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            text = f"could not {doing} ({self.describe()}): {type(error).__name__}, {error.strerror}"
            if error.errno in _NOT_WRITABLE:
                raise ConfigurationError(f"{text}; give the FileSink a directory that can be written") from error
            raise SinkUnavailable(text) from error

    def _check_to_rows(self, to_rows: Any) -> None:
        if not callable(to_rows):
            raise ConfigurationError(
                f"to_rows of the FileSink for {self._directory} is a {type(to_rows).__name__}, not a function from "
                "a batch to rows"
            )
        if "async" in (deferring_kind(to_rows) or ""):
            raise ConfigurationError(f"to_rows of the FileSink for {self._directory} is async; {ASYNC_BELONGS}")


def _checked_directory(directory: Any) -> Path:
    if not isinstance(directory, str | os.PathLike) or not str(directory):
        raise ConfigurationError(f"FileSink writes into a directory, not into {type(directory).__name__} {directory!r}")
    if "://" in str(directory):
        raise ConfigurationError("FileSink writes into a directory of a file system, not to a URL; mount or sync it")
    return Path(directory).absolute()


def _format_of(name: Any, schema: Any) -> Format:
    if name == "jsonl":
        if schema is not None:
            raise ConfigurationError('schema= of a FileSink is for format="parquet"; JSON Lines have none')
        return JsonLines()
    if name != "parquet":
        raise ConfigurationError(f"format={name!r} of a FileSink is unknown; choose 'jsonl' or 'parquet'")
    try:
        from kafka_stream.sinks.files.parquet import Parquet
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "pyarrow":
            raise
        raise MissingExtra(
            "format='parquet' of a FileSink needs pyarrow: pip install 'kafka-stream[parquet]'"
        ) from error
    return Parquet(schema)
