"""Windows that close: their rows are written, and ``on_close`` is told, in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import delete, exc

from kafka_stream.errors import KafkaStreamError, StatementRefused
from kafka_stream.sinks.sql.sink import SqlSink
from kafka_stream.sinks.sql.stateful.moments import moment
from kafka_stream.sinks.sql.stateful.transaction import StatefulTransaction
from kafka_stream.sinks.sql.windows.keyed import is_one_of
from kafka_stream.sinks.sql.windows.options import OnClose
from kafka_stream.sinks.sql.windows.reading import in_steps
from kafka_stream.sinks.sql.windows.rows import Closed, Corrections, rows_of
from kafka_stream.sinks.sql.windows.tables import START, WindowTables


class Closing:
    """Writes closed windows. Its sinks remember what they know of the table."""

    def __init__(self, tables: WindowTables, on_close: OnClose | None, where: str) -> None:
        self._tables = tables
        self._on_close = on_close
        self._where = where
        self._inserting = SqlSink(tables.target.table, list, "error")
        self._replacing = SqlSink(tables.target.table, list, "update")

    def write(self, closed: Iterable[Closed], corrected: Corrections, transaction: StatefulTransaction) -> None:
        """The rows of windows that close now, and of those that were closed and have become others.

        However many close, some thousand are in memory, unless ``on_close`` is to be told of them all.

        Raises:
            StatementRefused: the table takes a row not, or ``on_close`` fails: no record is to blame.
        """
        told: list[Closed] = []
        with self._blaming_no_record("the rows of closed windows could not be written"):
            self._delete(corrected.gone, transaction)
            for sink, windows in ((self._inserting, closed), (self._replacing, corrected.windows)):
                for some in in_steps(windows):
                    sink.write(sink.prepare(rows_of(some, self._tables)), transaction)
                    told += some if self._on_close is not None else []
        if self._on_close is not None and told:
            with self._blaming_no_record("on_close failed"):
                self._on_close(rows_of(told, self._tables), transaction)

    def _delete(self, gone: Sequence[tuple[Any, int]], transaction: StatefulTransaction) -> None:
        if gone:
            target, key = self._tables.target, self._tables.key
            names = [target.columns[name].key for name in (*key, START)]
            keys = [(*self._tables.key_values(of), moment(start_us)) for of, start_us in gone]
            transaction.connection.execute(delete(target.table).where(is_one_of(target.table, names, keys)))

    @contextmanager
    def _blaming_no_record(self, what: str) -> Iterator[None]:
        try:
            yield
        except KafkaStreamError:
            raise
        except Exception as error:
            if isinstance(error, exc.DBAPIError) and not isinstance(error, exc.DataError | exc.IntegrityError):
                raise  # the store knows which of these pass by themselves
            raise StatementRefused(f"{self._where}: {what} ({type(error).__name__})") from error
