"""The table in ``docs/settings.md``: ``python -m tests.architecture.settings_page`` rewrites it."""

from __future__ import annotations

from kafka_stream.cli.settings_reference import Setting, reference
from tests.architecture.code import ROOT

PAGE = ROOT / "docs" / "settings.md"
COMMAND = ".venv/bin/python -m tests.architecture.settings_page"
BEGIN, END = (f"<!-- the settings {what}; `{COMMAND}` rewrites them -->" for what in ("begin", "end"))


def drawn() -> str:
    """The table, from its first marker to its last."""
    lines = ["| setting | takes | default | variable | |", "|---|---|---|---|---|", *map(_line, reference())]
    return "\n".join([BEGIN, "", *lines, "", END])


def kept(text: str) -> str:
    """The table that a page's text has.

    Raises:
        ValueError: its markers are gone.
    """
    return text[text.index(BEGIN) : text.index(END) + len(END)]


def _line(it: Setting) -> str:
    takes = it.takes if it.unit is None else f"{it.takes}, in {it.unit}"
    default = "has to be given" if it.default is None else f"`{it.default}`"
    variable = "in code only" if it.variable is None else f"`{it.variable}`"
    return f"| `{it.name}` | {takes} | {default} | {variable} | {it.sentence} |"


if __name__ == "__main__":
    PAGE.write_text(PAGE.read_text().replace(kept(PAGE.read_text()), drawn()))
