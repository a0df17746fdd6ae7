"""The module map in ``docs/design.md``, drawn from the tree: ``python -m tests.architecture.module_map`` rewrites it.

A room's idea is the docstring of its package, a module's idea the first sentence or two of its own.
"""

from __future__ import annotations

import ast
from pathlib import Path

from tests.architecture.code import ROOT, SHIPPED, modules, tree

PAGE = ROOT / "docs" / "design.md"
COMMAND = ".venv/bin/python -m tests.architecture.module_map"
BEGIN, END = (f"<!-- the module map {what}; `{COMMAND}` rewrites it -->" for what in ("begins", "ends"))
# In the order in which a newcomer needs them; a room within another one, as every new one, comes after that.
ROOMS = (
    "kafka_stream/engine",
    "kafka_stream/source",
    "kafka_stream/executors",
    "kafka_stream",
    "kafka_stream/protocols",
    "offset_stores",
    "sinks",
    "kafka_stream/admin",
    "kafka_stream/cli",
    "kafka_stream/testing",
)


def rooms() -> dict[Path, list[Path]]:
    """Each folder that holds modules, with them, in the map's order."""
    found: dict[Path, list[Path]] = {}
    for path in modules(*SHIPPED):
        found.setdefault(path.parent.relative_to(ROOT), []).append(path)
    return {room: found[room] for room in sorted(found, key=lambda room: (_place(room), room))}


def drawn(found: dict[Path, list[Path]]) -> str:
    """The map, from its first marker to its last."""
    return "\n\n".join([BEGIN, *(_drawn_room(room, paths) for room, paths in found.items()), END])


def kept(text: str) -> str:
    """The map that a page's text has.

    Raises:
        ValueError: its markers are gone.
    """
    return text[text.index(BEGIN) : text.index(END) + len(END)]


def redrawn(text: str, found: dict[Path, list[Path]]) -> str:
    """A page's text with the map as it should be."""
    return text.replace(kept(text), drawn(found))


def _place(room: Path) -> int:
    return next(ROOMS.index(str(it)) for it in (room, *room.parents) if str(it) in ROOMS)


def _drawn_room(room: Path, paths: list[Path]) -> str:
    rows = [f"| `{path.name}` | {_idea(path)} |" for path in paths if path.name != "__init__.py"]
    package = next((path for path in paths if path.name == "__init__.py"), None)
    idea = _idea(package) if package else ""
    table = ["| module | idea |", "|---|---|", *rows] if rows else []
    return "\n".join([f"**`{room}/`** {idea}", *([""] if table else []), *table])


def _idea(path: Path) -> str:
    paragraph = (ast.get_docstring(tree(path)) or "").split("\n\n")[0]
    return " ".join(paragraph.split()).replace("``", "`").replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(redrawn(PAGE.read_text(), rooms()))
