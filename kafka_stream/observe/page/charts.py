"""Charts as SVG, drawn here: shapes alone, which scale with the page; what is to be read stands beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from markupsafe import Markup

from kafka_stream.observe.page.model import Line

WIDTH, HEIGHT = 600, 120
_TOP = 6
_SHAPES = Markup('<svg class="{}" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>')


def line_chart(line: Line, label: str, *, kind: str = "chart", points: int = 360) -> Markup:
    """One line with what is below it filled; there are gaps where nothing is known. ``label`` is for who cannot see.

    A line of more ``points`` is drawn with so many: the highest of each stretch.
    """
    drawn = Markup().join(_strokes(run) for run in _runs(_thinned(line, points)))
    return _SHAPES.format(kind, WIDTH, HEIGHT, label, drawn)


def bar(parts: Sequence[tuple[str, float]], longest: float, label: str) -> Markup:
    """Parts of a whole behind each other, on a scale on which ``longest`` is as wide as the chart."""
    shapes, x = [], 0.0
    for number, (_, size) in enumerate(parts):
        width = WIDTH * size / longest if longest > 0 else 0.0
        shapes.append(
            Markup('<rect class="part-{}" x="{:.1f}" y="0" width="{:.1f}" height="{}"/>').format(
                number, x, width, HEIGHT
            )
        )
        x += width
    return _SHAPES.format("bar", WIDTH, HEIGHT, label, Markup().join(shapes))


def _thinned(line: Line, points: int) -> Line:
    if len(line) <= points:
        return line
    ends = [len(line) * number // points for number in range(points + 1)]
    stretches = (line[begin:end] for begin, end in pairwise(ends))
    highest = ((each[-1][0], max((v for _, v in each if v is not None), default=None)) for each in stretches)
    return (line[0], *highest)


def _runs(line: Line) -> Iterator[list[tuple[float, float]]]:
    """Pieces without gaps, as points of the chart."""
    known = [value for _, value in line if value is not None]
    if len(line) < 2 or not known:
        return
    highest, begun = max(*known, 1.0), line[0][0]
    span_s = max((line[-1][0] - begun).total_seconds(), 1e-9)
    run: list[tuple[float, float]] = []
    for at, value in line:
        if value is None:
            yield from [run] if run else []
            run = []
        else:
            x = WIDTH * (at - begun).total_seconds() / span_s
            run.append((x, HEIGHT - (HEIGHT - _TOP) * max(value, 0.0) / highest))
    yield from [run] if run else []


def _strokes(run: Sequence[tuple[float, float]]) -> Markup:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in run)
    area = f"{run[0][0]:.1f},{HEIGHT} {points} {run[-1][0]:.1f},{HEIGHT}"
    return Markup('<polygon class="area" points="{}"/><polyline class="line" points="{}"/>').format(area, points)


__all__ = ["bar", "line_chart"]
