"""The statements that move positions: what each means is said here, once, and in which words by a database's grammar.

Each takes all partitions of a batch at once: a dialect hands them in as one relation, ``w`` (PostgreSQL an ``unnest``
of arrays, the others a JSON text), so that the text, and with it the prepared statement, never changes. ``o`` is the
row of the offsets table that a wanted row is about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import TextClause, bindparam, text

from kafka_stream.offset_stores.sql.tables import Names, UtcDateTime


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


class Grammar(Protocol):
    """A family of databases' words. ``change`` maps columns of ``o`` to expressions, which do not see each other."""

    def lock_claim(self, names: Names) -> str | None:
        """Lock the rows of a claim, or fail at once; ``None`` if the claim does so by itself."""

    def claim(self, names: Names, where: str, change: Mapping[str, str]) -> str:
        """Change the rows that nobody else holds, in key order, without waiting; set the mark of a batch."""

    def advance(self, names: Names, where: str, change: Mapping[str, str]) -> str:
        """Change rows that this transaction holds; where there is a mark, look at it."""

    def update(self, names: Names, where: str, change: Mapping[str, str]) -> str:
        """Change rows in key order, waiting for those that somebody holds."""

    def insert_missing(self, names: Names) -> str:
        """Insert the rows that are not there, in key order, at offset 0."""

    def insert_starts(self, names: Names) -> str:
        """Insert rows at ``w.from_offset``, and reopen (see ``reopened``) those that are there and closed."""

    def insert_marker(self, names: Names) -> str:
        """Insert a topic's marker unless it is there."""


@dataclass(frozen=True, slots=True)
class Statements:
    """The texts, compiled once by SQLAlchemy."""

    lock_claim: TextClause | None
    claim: TextClause
    claim_planned: TextClause
    advance: TextClause
    insert_missing: TextClause
    raise_epochs: TextClause
    reclaim: TextClause
    plan: TextClause
    reposition: TextClause
    reposition_discarding: TextClause
    insert_marker: TextClause
    reopen_marker: TextClause
    insert_starts: TextClause
    reopen_rest: TextClause

    @classmethod
    def of(cls, names: Names, grammar: Grammar) -> Statements:
        """The statements for these tables, in a database's words."""
        ours = "o.owner = :owner AND o.owner_epoch = w.epoch"
        open_ones = f"{ours} AND o.state = 'open'"
        free = f"{open_ones} AND o.planned_until IS NULL"
        from_here = "o.next_offset = w.from_offset"
        this_plan = "o.planned_until = w.until_offset AND o.plan_kind = 'range'"
        move = {"next_offset": "w.until_offset", "leader_epoch": "w.leader_epoch", "topic_id": "w.topic_id"}
        unplanned = {"planned_until": "NULL", "plan_kind": "NULL"}
        higher_epoch = {"owner_epoch": "o.owner_epoch + 1"}
        lock = grammar.lock_claim(names)
        return cls(
            lock_claim=None if lock is None else _text(lock),
            claim=_text(
                grammar.claim(
                    names, f"{free} AND {from_here}", {"planned_until": "w.until_offset", "plan_kind": "'transaction'"}
                )
            ),
            # Until the commit it is the transaction's plan: one that escapes must not pass for a range to be repeated.
            claim_planned=_text(
                grammar.claim(names, f"{open_ones} AND {from_here} AND {this_plan}", {"plan_kind": "'transaction'"})
            ),
            advance=_text(
                grammar.advance(
                    names,
                    f"{open_ones} AND {from_here} AND o.planned_until = w.until_offset",
                    {
                        "next_offset": "w.until_offset",
                        **unplanned,
                        "leader_epoch": "w.leader_epoch",
                        "topic_id": "coalesce(w.topic_id, o.topic_id)",
                    },
                )
            ),
            insert_missing=_text(grammar.insert_missing(names)),
            raise_epochs=_text(
                grammar.update(
                    names,
                    "1 = 1",
                    {**higher_epoch, "owner": ":owner", "owner_host": ":host", "code_version": ":version"},
                )
            ),
            reclaim=_text(grammar.update(names, ours, higher_epoch)),
            plan=_text(
                grammar.update(
                    names,
                    f"{open_ones} AND {from_here} AND (o.planned_until IS NULL OR {this_plan})",
                    {"planned_until": "w.until_offset", "plan_kind": "'range'"},
                )
            ),
            reposition=_text(grammar.update(names, free, move)),
            reposition_discarding=_text(
                grammar.update(
                    names, f"{open_ones} AND (o.planned_until IS NULL OR o.plan_kind = 'range')", {**move, **unplanned}
                )
            ),
            insert_marker=_text(grammar.insert_marker(names)),
            reopen_marker=_text(
                f"UPDATE {names.topics} SET topic_id = :topic_id, state = 'open', state_reason = NULL, "
                "started_at = :now WHERE stream = :stream AND topic = :topic AND state = 'deleted'"
            ),
            insert_starts=_text(grammar.insert_starts(names)),
            reopen_rest=_text(
                f"UPDATE {names.offsets} AS o SET {assigned(reopened('o', start='0', topic_id=':topic_id'))} "
                "WHERE o.stream = :stream AND o.topic = :topic AND o.state = 'closed'"
            ),
        )


def reopened(row: str, *, start: str, topic_id: str) -> dict[str, str]:
    """What makes a closed row an open one that begins anew; ``row`` is what the row is called. The state comes last."""
    emptied = ("planned_until", "plan_kind", "leader_epoch", "owner", "owner_host", "code_version", "state_reason")
    return {
        "next_offset": start,
        **dict.fromkeys(emptied, "NULL"),
        "owner_epoch": f"{row}.owner_epoch + 1",
        "topic_id": topic_id,
        "changed_at": ":now",
        "state": "'open'",
    }


def assigned(change: Mapping[str, str], prefix: str = "") -> str:
    """A change as ``SET`` takes it."""
    return ", ".join(f"{prefix}{column} = {value}" for column, value in change.items())


def _text(sql: str) -> TextClause:
    statement = text(" ".join(sql.split()))
    return statement.bindparams(bindparam("now", type_=UtcDateTime())) if ":now" in sql else statement


__all__ = ["Grammar", "Statements", "Wanted", "assigned", "reopened"]
