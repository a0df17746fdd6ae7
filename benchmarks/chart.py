"""A bar chart as SVG, by hand: a dozen bars need no library."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

_ROW, _LEFT, _WIDTH, _RIGHT = 34, 330, 420, 60


def bars(rows: Sequence[tuple[str, float, float]]) -> str:
    """One bar per (title, ratio to the limit, goal); the limit is at 1.0."""
    scale = _WIDTH / max(1.1, *(ratio for _, ratio, _ in rows))
    height = _ROW * len(rows) + 40
    limit = _LEFT + scale
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + _RIGHT}" height="{height}" role="img"',
        'font-family="sans-serif" font-size="13" aria-label="Throughput as a share of the limit">',
        f'<rect width="100%" height="{height}" fill="#ffffff"/>',
    ]
    for number, (title, ratio, goal) in enumerate(rows):
        top = 10 + number * _ROW
        goal_at = _LEFT + goal * scale
        parts += [
            f'<text x="{_LEFT - 8}" y="{top + 16}" text-anchor="end" fill="#222222">{escape(title)}</text>',
            f'<rect x="{_LEFT}" y="{top}" width="{ratio * scale:.1f}" height="{_ROW - 12}" fill="#3f7cac"/>',
            f'<path d="M {goal_at:.1f} {top - 3} V {top + _ROW - 9}" stroke="#d1495b" stroke-width="2"/>',
            f'<text x="{_LEFT + ratio * scale + 5:.1f}" y="{top + 16}" fill="#222222">{ratio:.2f}</text>',
        ]
    bottom = height - 26
    parts += [
        f'<line x1="{limit:.1f}" y1="4" x2="{limit:.1f}" y2="{bottom}" stroke="#222222" stroke-dasharray="4 3"/>',
        f'<text x="{limit:.1f}" y="{bottom + 16}" text-anchor="middle" fill="#222222">the limit</text>',
        f'<text x="{_LEFT}" y="{bottom + 16}" fill="#d1495b">| the goal</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"
