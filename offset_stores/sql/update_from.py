"""The grammar of databases that know ``UPDATE … FROM`` and ``ON CONFLICT``: PostgreSQL and SQLite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kafka_stream.offset_stores.sql.statements import assigned, reopened
from kafka_stream.offset_stores.sql.tables import Names

_SAME_ROW = 'o.stream = :stream AND o.topic = w.topic AND o."partition" = w."partition"'


@dataclass(frozen=True, slots=True)
class UpdateFrom:
    """Where these databases differ.

    ``wanted`` selects the relation; ``lock`` and ``lock_free`` end a ``SELECT`` that locks rows, waiting and not
    waiting; ``row_id`` is where a row lies; ``mark`` and ``marked`` set and look at something that lives exactly as
    long as the transaction.
    """

    wanted: str
    lock: str
    lock_free: str
    row_id: str
    mark: str
    marked: str

    def lock_claim(self, names: Names) -> None:
        """The claim locks, and passes over what is held."""
        return

    def claim(self, names: Names, where: str, change: Mapping[str, str]) -> str:
        """A row that another session holds is being taken over, or reset, and is not ours to claim.

        The rows are found again by where they lie, which is quick for any number of partitions; one that has moved
        meanwhile is not claimed either.
        """
        marks, from_marks, if_marked = (self.mark, ", mark m", "AND m.token IS NOT NULL") if self.mark else ("", "", "")
        locked = self._locked(names, f"{where} {if_marked}", self.lock_free, from_marks)
        return self._update(names, f"{marks} {locked}", f"o.{self.row_id} = w.row_id", change)

    def update(self, names: Names, where: str, change: Mapping[str, str]) -> str:
        """These wait, and must find a row that has moved: by its key."""
        return self._update(names, self._locked(names, where, self.lock, ""), _SAME_ROW, change)

    def _locked(self, names: Names, where: str, lock: str, from_marks: str) -> str:
        """Lock the rows in key order, to change exactly those: takers of overlapping partitions never deadlock."""
        return f"""
            locked AS MATERIALIZED (
                SELECT w.topic, w."partition", w.until_offset, w.leader_epoch, w.topic_id, o.{self.row_id} AS row_id
                FROM wanted w CROSS JOIN {names.offsets} o {from_marks}
                WHERE {_SAME_ROW} AND {where}
                ORDER BY o.topic, o."partition" {lock}
            )"""

    def _update(self, names: Names, locked: str, found: str, change: Mapping[str, str]) -> str:
        return f"""
            WITH wanted AS MATERIALIZED ({self.wanted}), {locked}
            UPDATE {names.offsets} AS o SET {assigned({**change, "changed_at": ":now"})}
            FROM locked w WHERE {found}
            """

    def advance(self, names: Names, where: str, change: Mapping[str, str]) -> str:
        """The rows are held already."""
        return f"""
            WITH wanted AS MATERIALIZED ({self.wanted})
            UPDATE {names.offsets} AS o SET {assigned({**change, "changed_at": ":now"})}
            FROM wanted w WHERE {_SAME_ROW} AND {where} {self.marked}
            """

    def insert_missing(self, names: Names) -> str:
        """What is there stays."""
        return f'{self._insert(names, "0")} ON CONFLICT (stream, topic, "partition") DO NOTHING'

    def insert_starts(self, names: Names) -> str:
        """A closed row begins anew."""
        change = reopened("o", start="excluded.next_offset", topic_id="excluded.topic_id")
        return f"""
            {self._insert(names, "w.from_offset")}
            ON CONFLICT (stream, topic, "partition") DO UPDATE SET {assigned(change)} WHERE o.state = 'closed'
            """

    def _insert(self, names: Names, start: str) -> str:
        return f"""
            WITH wanted AS MATERIALIZED ({self.wanted})
            INSERT INTO {names.offsets} AS o
                (stream, topic, "partition", next_offset, topic_id, owner_epoch, state, changed_at)
            SELECT :stream, w.topic, w."partition", {start}, w.topic_id, 0, 'open', :now
            FROM wanted w WHERE 1 = 1 ORDER BY w.topic, w."partition"
            """

    def insert_marker(self, names: Names) -> str:
        """What is there stays."""
        return f"""
            INSERT INTO {names.topics} (stream, topic, topic_id, state, started_at)
            VALUES (:stream, :topic, :topic_id, 'open', :now) ON CONFLICT (stream, topic) DO NOTHING
            """


__all__ = ["UpdateFrom"]
