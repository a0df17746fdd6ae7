"""Rows as ``update`` is given them and gives them: mappings, dataclasses, or models of pydantic."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from operator import attrgetter
from typing import Any, Final, TypeAlias

from kafka_stream.errors import ConfigurationError, ProcessingError
from kafka_stream.sinks.sql.target import Target


class _Unchanged(Enum):
    UNCHANGED = "unchanged"

    def __repr__(self) -> str:
        return self.name


UNCHANGED: Final = _Unchanged.UNCHANGED
"""What ``update`` returns if the row stays as it is, or stays absent."""

Make: TypeAlias = Callable[[Mapping[str, Any]], Any]
Take: TypeAlias = Callable[[Any], Mapping[str, Any]]


class RowForm:
    """How rows are handed over. ``names`` are the columns that are, in table order.

    Raises:
        ConfigurationError: ``row`` is no such class, or has a field that is no column which can be written.
    """

    def __init__(self, target: Target, row: type | None) -> None:
        self._row = row
        if row is None:
            self.names = tuple(target.columns)
            return
        fields = _fields_of(row, target)
        if unknown := [name for name in fields if name not in target.columns]:
            raise ConfigurationError(
                f"row={row.__qualname__} has {unknown[0]!r}, which is no column of table {target.name} that can be "
                f"written; these are {', '.join(target.columns)}"
            )
        self.names = tuple(name for name in target.columns if name in fields)
        values = attrgetter(*self.names)
        self._values: Callable[[Any], Sequence[Any]] = (
            values if len(self.names) > 1 else lambda instance: (values(instance),)
        )

    def given(self, values: Sequence[Any] | None) -> Any:
        """What ``update`` gets of a row's columns."""
        if values is None:
            return None
        row = dict(zip(self.names, values, strict=False))
        return row if self._row is None else self._row(**row)

    def taken(self, row: Any) -> Mapping[str, Any]:
        """A row that ``update`` returned, by column.

        Raises:
            ProcessingError: it is none.
        """
        if self._row is None:
            if isinstance(row, Mapping):
                return row
        elif isinstance(row, self._row):
            return dict(zip(self.names, self._values(row), strict=True))
        wanted = "a mapping" if self._row is None else f"a {self._row.__qualname__}"
        raise ProcessingError(f"update gave a {type(row).__name__}; it gives {wanted}, None or UNCHANGED")


def _fields_of(row: Any, target: Target) -> Sequence[str]:
    """The names of what it is made of, and has."""
    if isinstance(row, type) and dataclasses.is_dataclass(row):
        fields = dataclasses.fields(row)
        if not_given := [field.name for field in fields if not field.init]:
            raise _refused(row, target, f"its {not_given[0]!r} cannot be given when it is made")
        return [field.name for field in fields]
    if isinstance(row, type) and (fields_of_model := getattr(row, "model_fields", None)):
        by_name = row.model_config.get("populate_by_name") or row.model_config.get("validate_by_name")  # type: ignore[attr-defined]
        if not by_name and (other := [n for n, it in fields_of_model.items() if it.validation_alias not in (None, n)]):
            raise _refused(row, target, f"its {other[0]!r} has an alias: let it be given by name (populate_by_name)")
        return list(fields_of_model)
    raise _refused(row, target, "it is no dataclass, and no model of pydantic with fields")


def _refused(row: Any, target: Target, why: str) -> ConfigurationError:
    name = getattr(row, "__qualname__", repr(row))
    return ConfigurationError(f"row={name} cannot be a row of table {target.name}: {why}")
