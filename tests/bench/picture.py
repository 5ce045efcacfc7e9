"""The figures as SVG, once for light and once for dark pages: bars with whiskers, and curves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from xml.sax.saxutils import escape

WIDTH = 860
_LEFT, _RIGHT, _BAR, _PITCH = 320, 110, 14, 24
_COLUMNS, _COLUMN, _ROW, _GAP, _PLOT = 3, 280, 215, 65, 150
#: The longest bars are cut at so many times the first.
_CUT = 4.0

Figures = Sequence[float]
"""Of the rounds: the median is drawn, and from the least to the greatest."""


@dataclass(frozen=True)
class Theme:
    """The colours of a page."""

    page: str
    ink: str
    faint: str
    ours: str
    theirs: str


THEMES = {
    "light": Theme("#ffffff", "#1f2328", "#d1d9e0", "#0969da", "#8c959f"),
    "dark": Theme("#0d1117", "#f0f6fc", "#3d444d", "#4493f8", "#7d8590"),
}


@dataclass(frozen=True)
class Panel:
    """Two curves over what grows, of daytimed and of a server beside it."""

    title: str
    curves: Mapping[str, Mapping[int, Figures]]


def draw(title: str, bars: Mapping[str, Figures], ours: str, panels: Sequence[Panel], theme: Theme) -> str:
    """
    Return the picture.

    Args:
        bars: By server, daytimed first.
        ours: How the names of ours begin.
        panels: All of them of the same two servers.
    """
    top = 50
    legend = top + _PITCH * len(bars) + 30
    height = legend + (-(-len(panels) // _COLUMNS) * _ROW + 30 if panels else 0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
        ' role="img" font-family="system-ui, sans-serif" font-size="13">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="{theme.page}"/>',
        _text(20, 28, title, theme.ink, weight="bold"),
        *_bars(bars, ours, top, theme),
    ]
    if panels:
        names = zip(panels[0].curves, (theme.ours, theme.theirs), (20, 115), strict=True)
        parts += [_text(left, legend, f"● {name}", colour, weight="bold") for name, colour, left in names]
        # what grows in proportion looks like an explosion on such a scale
        parts.append(_text(WIDTH - 20, legend, "horizontal scales: logarithmic", theme.ink, anchor="end"))
    for number, panel in enumerate(panels):
        row, column = divmod(number, _COLUMNS)
        parts += _curves(panel, 60 + column * _COLUMN, legend + 50 + row * _ROW, theme)
    return "\n".join([*parts, "</svg>", ""])


def _bars(bars: Mapping[str, Figures], ours: str, top: float, theme: Theme) -> Iterator[str]:
    most = _CUT * median(next(iter(bars.values())))
    room = WIDTH - _LEFT - _RIGHT
    for number, (name, figures) in enumerate(sorted(bars.items(), key=lambda each: median(each[1]))):
        middle = median(figures)
        y = top + _PITCH * number
        centre = y + _BAR / 2
        low, at, high = (_LEFT + room * min(each, most) / most for each in (min(figures), middle, max(figures)))
        is_ours = name.startswith(ours)
        yield _text(_LEFT - 10, centre + 4, name, theme.ink, anchor="end", weight="bold" if is_ours else "normal")
        colour = theme.ours if is_ours else theme.theirs
        yield f'<rect x="{_LEFT}" y="{y}" width="{at - _LEFT:.1f}" height="{_BAR}" fill="{colour}"/>'
        if middle > most:
            # a gap: it goes on far beyond
            yield _line(at - 22, y + _BAR + 3, at - 14, y - 3, theme.page, 4)
        else:
            yield _whisker((low, centre), (high, centre), theme.ink)
        yield _text(max(at, high) + 8, centre + 4, f"{middle:,.1f} µs", theme.ink)


def _curves(panel: Panel, left: float, upper: float, theme: Theme) -> Iterator[str]:
    steps = list(next(iter(panel.curves.values())))
    every = [figure for by in panel.curves.values() for figures in by.values() for figure in figures]
    most = _round_up(max(every))
    bottom, width = upper + _PLOT, _COLUMN - _GAP

    def place(step: int, figure: float) -> tuple[float, float]:
        share = math.log(step / steps[0]) / math.log(steps[-1] / steps[0])
        return left + width * (0.05 + 0.9 * share), bottom - _PLOT * figure / most

    yield _text(left - 40, upper - 14, panel.title, theme.ink, weight="bold")
    for share in (0.0, 0.5, 1.0):
        y = bottom - _PLOT * share
        yield _line(left, y, left + width, y, theme.faint, 1)
        yield _text(left - 6, y + 4, f"{most * share:g}", theme.ink, anchor="end")
    for step in steps:
        yield _text(place(step, 0)[0], bottom + 18, f"{step:,}", theme.ink, anchor="middle")
    for by, colour in zip(panel.curves.values(), (theme.ours, theme.theirs), strict=True):
        points = {step: place(step, median(figures)) for step, figures in by.items()}
        way = " ".join(f"{x:.1f},{y:.1f}" for x, y in points.values())
        yield f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="2"/>'
        for step, figures in by.items():
            yield f'<circle cx="{points[step][0]:.1f}" cy="{points[step][1]:.1f}" r="3" fill="{colour}"/>'
            yield _whisker(place(step, min(figures)), place(step, max(figures)), colour)


def _round_up(figure: float) -> float:
    """Return the next 1, 2, 3, 4, 5, 6 or 8 with zeros."""
    scale = 10.0 ** (len(f"{figure:.0f}") - 1)
    return next(each * scale for each in (1, 2, 3, 4, 5, 6, 8, 10) if each * scale >= figure)


def _text(x: float, y: float, text: str, colour: str, *, anchor: str = "start", weight: str = "normal") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}" font-weight="{weight}"'
    return f"<text {place}>{escape(text)}</text>"


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width}"/>'


def _whisker(begin: tuple[float, float], end: tuple[float, float], colour: str) -> str:
    """Return a line between two places with a dash at each end of it."""
    flat = begin[1] == end[1]
    across = (0, 4) if flat else (4, 0)
    dashes = [_line(x - across[0], y - across[1], x + across[0], y + across[1], colour, 1.5) for x, y in (begin, end)]
    return "".join([_line(*begin, *end, colour, 1.5), *dashes])
