"""``kafka-stream settings``: every setting of a stream, what it takes, and the variable that gives it."""

from __future__ import annotations

from kafka_stream.cli.output import Output, OutputOption, print_rows


def settings(output: OutputOption = Output.TABLE) -> None:
    """Print every setting of a stream: what it takes, its default, the variable that gives it, and what it is for.

    The same names are DirectStream's arguments; docs/settings.md has the same table.
    """
    from kafka_stream.cli.settings_reference import reference

    rows = [
        {
            "setting": it.name,
            "takes": it.takes,
            "unit": it.unit,
            "default": it.default,
            "variable": it.variable,
            "meaning": it.sentence,
        }
        for it in reference()
    ]
    print_rows(rows, output, less_important=("unit", "takes"))


__all__ = ["settings"]
