"""The statements that move positions, once for all databases that know ``UPDATE … FROM`` and ``ON CONFLICT``.

Each takes all partitions of a batch at once: a dialect hands them in as one relation, ``wanted`` (PostgreSQL an
``unnest`` of arrays, SQLite a ``json_each``), so that the text, and with it the prepared statement, never changes.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import TextClause, bindparam, text

from offset_stores.sql.tables import Names, UtcDateTime

_SAME_ROW = 'o.stream = :stream AND o.topic = w.topic AND o."partition" = w."partition"'


@dataclass(frozen=True, slots=True)
class Wanted:
    """One partition's row of the relation that the statements join with; what a statement does not read is empty."""

    topic: str
    partition: int
    from_offset: int = 0
    until_offset: int = 0
    epoch: int = 0
    leader_epoch: int | None = None
    topic_id: str | None = None


@dataclass(frozen=True, slots=True)
class Wording:
    """Where databases differ.

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


@dataclass(frozen=True, slots=True)
class Statements:
    """The texts, compiled once by SQLAlchemy."""

    claim: TextClause
    advance: TextClause
    insert_missing: TextClause
    raise_epochs: TextClause
    reclaim: TextClause
    reposition: TextClause
    mark_started: TextClause
    insert_starts: TextClause
    reopen_rest: TextClause

    @classmethod
    def of(cls, names: Names, wording: Wording) -> Statements:
        """The statements for these tables, in a dialect's wording."""
        ours = "o.owner = :owner AND o.owner_epoch = w.epoch"
        free = f"{ours} AND o.state = 'open' AND o.planned_until IS NULL"
        return cls(
            claim=_update(
                names,
                wording,
                where=f"{free} AND o.next_offset = w.from_offset",
                change="planned_until = l.until_offset, plan_kind = 'transaction'",
                marking=True,
            ),
            advance=_text(
                f"""
                WITH wanted AS MATERIALIZED ({wording.wanted})
                UPDATE {names.offsets} AS o
                SET next_offset = w.until_offset, planned_until = NULL, plan_kind = NULL, changed_at = :now,
                    leader_epoch = coalesce(w.leader_epoch, o.leader_epoch), topic_id = coalesce(w.topic_id, o.topic_id)
                FROM wanted w
                WHERE {_SAME_ROW} AND {ours} AND o.state = 'open' AND o.next_offset = w.from_offset
                    AND o.planned_until = w.until_offset {wording.marked}
                """
            ),
            insert_missing=_insert_missing(names, wording),
            raise_epochs=_update(
                names,
                wording,
                where="1 = 1",
                change="owner_epoch = o.owner_epoch + 1, owner = :owner, owner_host = :host, code_version = :version",
            ),
            reclaim=_update(names, wording, where=ours, change="owner_epoch = o.owner_epoch + 1"),
            reposition=_update(
                names,
                wording,
                where=free,
                change="next_offset = l.until_offset, leader_epoch = l.leader_epoch, topic_id = l.topic_id",
            ),
            mark_started=_mark_started(names),
            insert_starts=_insert_starts(names, wording),
            reopen_rest=_text(
                f"UPDATE {names.offsets} AS o SET {_REOPENED.format(start='0')}, topic_id = :topic_id "
                "WHERE o.stream = :stream AND o.topic = :topic AND o.state = 'closed'"
            ),
        )


def _text(sql: str) -> TextClause:
    statement = text(" ".join(sql.split()))
    return statement.bindparams(bindparam("now", type_=UtcDateTime())) if ":now" in sql else statement


def _update(names: Names, wording: Wording, *, where: str, change: str, marking: bool = False) -> TextClause:
    """Lock the rows in key order, then change exactly those: takers of overlapping partitions never deadlock.

    A claim does not wait: a row that another session holds is being taken over, or reset, and is not ours to claim. It
    finds its rows again by where they lie, which is quick for any number of partitions; one that has moved meanwhile
    is not claimed either. The others wait, and must find a row that has moved: by its key.
    """
    marks, from_marks, if_marked, lock = "", "", "", wording.lock
    found = 'o.stream = :stream AND o.topic = l.topic AND o."partition" = l."partition"'
    if marking:
        lock, found = wording.lock_free, f"o.{wording.row_id} = l.row_id"
        if wording.mark:
            marks, from_marks, if_marked = wording.mark, ", mark m", "AND m.token IS NOT NULL"
    return _text(
        f"""
        WITH wanted AS MATERIALIZED ({wording.wanted}), {marks}
        locked AS MATERIALIZED (
            SELECT w.topic, w."partition", w.until_offset, w.leader_epoch, w.topic_id, o.{wording.row_id} AS row_id
            FROM wanted w CROSS JOIN {names.offsets} o {from_marks}
            WHERE {_SAME_ROW} AND {where} {if_marked}
            ORDER BY o.topic, o."partition" {lock}
        )
        UPDATE {names.offsets} AS o SET {change}, changed_at = :now
        FROM locked l
        WHERE {found}
        """
    )


def _insert_missing(names: Names, wording: Wording) -> TextClause:
    return _text(
        f"""
        WITH wanted AS MATERIALIZED ({wording.wanted})
        INSERT INTO {names.offsets}
            (stream, topic, "partition", next_offset, topic_id, owner_epoch, state, changed_at)
        SELECT :stream, w.topic, w."partition", 0, w.topic_id, 0, 'open', :now
        FROM wanted w WHERE 1 = 1 ORDER BY w.topic, w."partition"
        ON CONFLICT (stream, topic, "partition") DO NOTHING
        """
    )


def _mark_started(names: Names) -> TextClause:
    return _text(
        f"""
        INSERT INTO {names.topics} AS t (stream, topic, topic_id, state, started_at)
        VALUES (:stream, :topic, :topic_id, 'open', :now)
        ON CONFLICT (stream, topic) DO UPDATE
        SET topic_id = excluded.topic_id, state = 'open', state_reason = NULL, started_at = excluded.started_at
        WHERE t.state = 'deleted'
        """
    )


_REOPENED = (
    "next_offset = {start}, planned_until = NULL, plan_kind = NULL, leader_epoch = NULL, owner = NULL, "
    "owner_host = NULL, code_version = NULL, owner_epoch = o.owner_epoch + 1, state = 'open', "
    "state_reason = NULL, changed_at = :now"
)


def _insert_starts(names: Names, wording: Wording) -> TextClause:
    return _text(
        f"""
        WITH wanted AS MATERIALIZED ({wording.wanted})
        INSERT INTO {names.offsets} AS o
            (stream, topic, "partition", next_offset, topic_id, owner_epoch, state, changed_at)
        SELECT :stream, w.topic, w."partition", w.from_offset, w.topic_id, 0, 'open', :now
        FROM wanted w WHERE 1 = 1 ORDER BY w.topic, w."partition"
        ON CONFLICT (stream, topic, "partition") DO UPDATE
        SET {_REOPENED.format(start="excluded.next_offset")}, topic_id = excluded.topic_id
        WHERE o.state = 'closed'
        """
    )


__all__ = ["Statements", "Wanted", "Wording"]
