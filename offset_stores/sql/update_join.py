"""The grammar of MariaDB and MySQL: ``UPDATE`` of a join, and ``ON DUPLICATE KEY UPDATE``."""

from __future__ import annotations

from collections.abc import Mapping

from kafka_stream.offset_stores.sql.statements import assigned, reopened
from kafka_stream.offset_stores.sql.tables import Names

# The text columns are as the tables' are: a join of two collations is an error.
_TEXT = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
_WANTED = f"""
    JSON_TABLE(:wanted, '$[*]' COLUMNS (
        topic VARCHAR(249) {_TEXT} PATH '$[0]', `partition` INT PATH '$[1]', from_offset BIGINT PATH '$[2]',
        until_offset BIGINT PATH '$[3]', epoch BIGINT PATH '$[4]', leader_epoch INT PATH '$[5]',
        topic_id VARCHAR(64) {_TEXT} PATH '$[6]'
    )) AS w"""


class UpdateJoin:
    """The wanted rows drive each join, so that the rows of the table are locked in the order of the JSON text: by key.

    The source of the idea is MySQL's "Optimizing Locking Operations": lock rows in the same order everywhere.
    """

    def lock_claim(self, names: Names) -> str:
        """An ``UPDATE`` would wait: a row that another session holds is being taken over, and is not ours to claim."""
        return f"SELECT 1 FROM {self._joined(names)} FOR UPDATE NOWAIT"

    def claim(self, names: Names, where: str, change: Mapping[str, str]) -> str:
        """The rows are locked already; the mark is a savepoint."""
        return self.update(names, where, change)

    def advance(self, names: Names, where: str, change: Mapping[str, str]) -> str:
        """The rows are held already; the mark is a savepoint."""
        return self.update(names, where, change)

    def update(self, names: Names, where: str, change: Mapping[str, str]) -> str:
        """Some columns are called the same in both relations."""
        assignments = assigned({**change, "changed_at": ":now"}, prefix="o.")
        return f"UPDATE {self._joined(names)} SET {assignments} WHERE {where}"

    def _joined(self, names: Names) -> str:
        same_row = "o.stream = :stream AND o.topic = w.topic AND o.`partition` = w.`partition`"
        return f"{_WANTED} STRAIGHT_JOIN {names.offsets} AS o ON {same_row}"

    def insert_missing(self, names: Names) -> str:
        """What is there stays, and is locked. The owner is there for others who wait for a new row that is held."""
        return f"""
            INSERT INTO {names.offsets} (stream, topic, `partition`, next_offset, topic_id, owner_epoch, state,
                changed_at, owner, owner_host, code_version)
            SELECT :stream, w.topic, w.`partition`, 0, w.topic_id, 0, 'open', :now, :owner, :host, :version
            FROM {_WANTED}
            ON DUPLICATE KEY UPDATE owner_epoch = {names.offsets}.owner_epoch
            """

    def insert_starts(self, names: Names) -> str:
        """Assignments are made from left to right: what they are subject to, the state, comes last."""
        row = names.offsets
        change = reopened(row, start="VALUES(next_offset)", topic_id="VALUES(topic_id)")
        if_closed = {column: f"IF({row}.state = 'closed', {value}, {row}.{column})" for column, value in change.items()}
        return f"""
            INSERT INTO {row} (stream, topic, `partition`, next_offset, topic_id, owner_epoch, state, changed_at)
            SELECT :stream, w.topic, w.`partition`, w.from_offset, w.topic_id, 0, 'open', :now FROM {_WANTED}
            ON DUPLICATE KEY UPDATE {assigned(if_closed)}
            """

    def insert_marker(self, names: Names) -> str:
        """A marker that is there is locked to write: two who share it, as ``IGNORE`` alone does, would deadlock then.

        ``IGNORE`` also cuts a name that is too long; the rows that come next are refused for it. ``ON DUPLICATE KEY
        UPDATE`` would count a marker that was there as one that was inserted.
        """
        return f"""
            INSERT IGNORE INTO {names.topics} (stream, topic, topic_id, state, started_at)
            SELECT :stream, :topic, :topic_id, 'open', :now FROM DUAL WHERE NOT EXISTS (
                SELECT 1 FROM {names.topics} WHERE stream = :stream AND topic = :topic FOR UPDATE
            )
            """


__all__ = ["UpdateJoin"]
