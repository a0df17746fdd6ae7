"""Changed rows into their table, in few statements; and what is done where another member was first with a new row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from sqlalchemy import Connection, exc

from kafka_stream.errors import SinkUnavailable
from kafka_stream.sinks.sql.changes import Changes
from kafka_stream.sinks.sql.narrowing import RowRefused
from kafka_stream.sinks.sql.rows import Layout, Run
from kafka_stream.sinks.sql.rules import Rules, schemas_of
from kafka_stream.sinks.sql.state.updating import Decision
from kafka_stream.sinks.sql.target import Target
from kafka_stream.sinks.sql.writers import Writer, writer_for

_SAVEPOINT = "kafka_stream_state"
_MOST_MEETINGS = 20
"""So often may others be first with some of a batch's new rows; each time, what they have written is taken in."""
_VANISHED = 3
"""So often is a row inserted again that a unique key refuses though no row of its key is there."""

Again: TypeAlias = Callable[[Sequence[Decision]], Sequence[Decision] | None]
"""Decides once more on keys that somebody else has written; ``None`` if there is no row of any of them."""


class DecisionRefused(Exception):
    """The database refused what was decided; the cause says why."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision)
        self.decision = decision


class StateWriter:
    """Writes what was decided on the keys of a batch."""

    def __init__(self, target: Target, connection: Connection) -> None:
        schemas = schemas_of(connection)
        self._changing = writer_for(target, Rules("update", target.key, schemas), connection)
        self._inserting = writer_for(target, Rules("error", (), schemas), connection)

    def write(self, connection: Connection, decisions: Iterable[Decision], go_on: Callable[[], None]) -> None:
        """Write rows whose keys nobody else writes, there or not, and delete those that go.

        Raises:
            DecisionRefused: the database refused one.
        """
        decisions = list(decisions)
        rows = [it for it in decisions if it.row is not None]
        self._write(self._changing, connection, rows, lambda it: (it.layout, it.row), go_on)
        deleted = [it for it in decisions if it.deleted is not None]
        self._write(self._changing, connection, deleted, lambda it: (None, it.deleted), go_on)

    def insert(
        self, connection: Connection, new: Sequence[Decision], again: Again, go_on: Callable[[], None]
    ) -> Sequence[Decision]:
        """Write rows that were not there, each only if it still is not; what was decided anew, and is to be written.

        Raises:
            DecisionRefused: the database refused one.
            SinkUnavailable: others were first again and again.
        """
        anew: list[Decision] = []
        vanished = 0
        for _ in range(_MOST_MEETINGS):
            refused = self._tried(connection, new, go_on)
            if refused is None:
                return anew
            decided = again(new)
            if decided is None:
                vanished += 1
                if vanished == _VANISHED:
                    raise refused from refused.__cause__
                continue
            met = {it.of.form for it in decided}
            anew += decided
            new = [it for it in new if it.of.form not in met]
        raise SinkUnavailable(
            f"others were first with new rows {_MOST_MEETINGS} times in one batch; nothing of it was written"
        )

    def _tried(
        self, connection: Connection, new: Sequence[Decision], go_on: Callable[[], None]
    ) -> DecisionRefused | None:
        """Insert all, or nothing, where one of them is there meanwhile."""
        connection.exec_driver_sql(f"SAVEPOINT {_SAVEPOINT}").close()
        failure = None
        try:
            self._write(self._inserting, connection, new, lambda it: (it.layout, it.row), go_on)
        except DecisionRefused as refused:
            if not is_duplicate(refused.__cause__):
                raise
            failure = refused
            connection.exec_driver_sql(f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}").close()
        connection.exec_driver_sql(f"RELEASE SAVEPOINT {_SAVEPOINT}").close()
        return failure

    def _write(
        self,
        writer: Writer,
        connection: Connection,
        decisions: Sequence[Decision],
        change: Callable[[Decision], tuple[Layout | None, Any]],
        go_on: Callable[[], None],
    ) -> None:
        if not decisions:
            return
        by_layout: dict[Layout | None, tuple[list[Any], list[Decision]]] = {}
        for decision in decisions:
            layout, values = change(decision)
            rows, of = by_layout.setdefault(layout, ([], []))
            rows.append(values)
            of.append(decision)
        runs: list[Run] = [(layout, rows) for layout, (rows, _) in by_layout.items()]
        try:
            writer.write(connection, Changes(runs), go_on)
        except RowRefused as refused:
            in_order = [decision for _, of in by_layout.values() for decision in of]
            raise DecisionRefused(in_order[refused.number]) from refused.__cause__


def is_duplicate(error: BaseException | None) -> bool:
    """Whether a unique key refused a row."""
    driver: Any = error.orig if isinstance(error, exc.IntegrityError) else None
    sqlstate = getattr(driver, "sqlstate", None) or getattr(driver, "pgcode", None)
    return sqlstate == "23505" or getattr(driver, "args", ())[:1] == (1062,)
