"""What a database says of a table, asked once by each sink: what a declaration may leave out, or have wrong."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto


class Kind(Enum):
    """What the values of a column are compared as."""

    BOOLEAN = auto()
    BYTES = auto()
    DATE = auto()
    DECIMAL = auto()
    ENUM = auto()
    FLOAT = auto()  # of 64 bits
    INTEGER = auto()
    TEXT = auto()  # character by character
    TEXT_OF_WORDS = auto()  # as a language has it, but each printable character of ASCII is one of its own
    TEXT_WITHOUT_CASE = auto()  # the same, but for upper and lower case
    TIMESTAMP = auto()  # to the microsecond
    TIMESTAMP_WITH_ZONE = auto()
    UUID = auto()
    OTHER = auto()


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """A column.

    A text that is ``padded`` is compared without the spaces at its end. ``longest`` is how many characters it
    keeps, ``digits`` how many after the point of a number or a second, where there may be more, ``largest`` the
    integer up to which it keeps numbers, and down to its negative; ``None`` if that is not known. ``is_required``
    is a column that a new row must have a value for, ``is_optional`` one that is NULL in a new row without it. The
    default of one that ``depends_on_order`` is not the same whichever row comes first: a number of a sequence.
    """

    kind: Kind = Kind.OTHER
    padded: bool = False
    longest: int | None = None
    digits: int | None = None
    largest: int | None = None
    nullable: bool = False
    is_required: bool = False
    is_optional: bool = False
    depends_on_order: bool = False


@dataclass(frozen=True, slots=True)
class TableFacts:
    """A table.

    ``columns`` go by the database's names. ``uniques`` are the sets of columns that are unique in all rows, at once;
    ``has_other_uniques`` tells of those that are so otherwise: by expressions, in some rows, at the end, by exclusion.
    In a table that is ``row_by_row`` a row sees the one before it, by a trigger, a function or a reference to the table
    itself: one statement of many rows is not what a statement each would be. One that is ``in_circles`` refers to
    others and is referred to, so that a delete may take what a row refers to. One that ``stands_alone`` is not referred
    to, and we may insert, update and delete all of it. In a ``bare`` one nothing but its types, its NOT NULLs and its
    key can refuse a row; one that ``takes_unicode`` can keep all characters.
    """

    is_table: bool = True
    columns: Mapping[str, ColumnFacts] = field(default_factory=dict)
    uniques: Collection[frozenset[str]] = ()
    has_other_uniques: bool = False
    row_by_row: bool = False
    in_circles: bool = False
    stands_alone: bool = False
    takes_unicode: bool = False
    bare: bool = False

    def is_unique(self, columns: Collection[str]) -> bool:
        """Whether no two rows can have the same values of these columns, by a constraint on exactly them."""
        return frozenset(columns) in self.uniques

    def is_unique_only_by(self, columns: Collection[str]) -> bool:
        """Whether two rows can conflict by these columns alone."""
        return not self.has_other_uniques and set(self.uniques) == {frozenset(columns)}


UNKNOWN = TableFacts(is_table=False, has_other_uniques=True, row_by_row=True, in_circles=True)
"""What is known of what is no table, such as a view."""
