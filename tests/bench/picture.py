"""The figures as SVG, drawn by matplotlib for light and for dark pages: bars with whiskers, and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from judgement import Estimate
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, StrMethodFormatter

_COLUMNS = 3
#: The longest bars are cut at this multiple of the first server's.
_CUT = 4.0


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
    """Curves over what grows, of daytimed and of one other server."""

    what: str
    figure: str
    curves: Mapping[str, Mapping[int, Estimate]]


def draw(
    path: Path, title: str, bars: Mapping[str, Estimate], ours: str, panels: Sequence[Panel], theme: Theme
) -> None:
    """
    Write a picture.

    Args:
        bars: By server, daytimed first.
        ours: The prefix of our servers' names.
        panels: By row; all of the same two servers, and a figure for each row.
    """
    settings = matplotlib.rc_context({
        # text stays text, and the same figures make the same file
        "svg.fonttype": "none", "svg.hashsalt": "daytimed", "font.sans-serif": ["DejaVu Sans"], "font.size": 9.0,
        "text.color": theme.ink, "axes.labelcolor": theme.ink, "axes.edgecolor": theme.faint,
        "axes.facecolor": theme.page, "xtick.labelcolor": theme.ink, "ytick.labelcolor": theme.ink,
        "xtick.bottom": False, "ytick.left": False, "xtick.minor.bottom": False,
    })  # fmt: skip
    with settings:
        rows = -(-len(panels) // _COLUMNS)
        heights = [0.6 + 0.24 * len(bars), 2.3 * rows][: 2 if panels else 1]
        figure = Figure((9, sum(heights)), facecolor=theme.page, layout="constrained")
        top, *bottom = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights).flat
        top.suptitle(title, fontweight="bold")
        _draw_bars(top.subplots(), bars, ours, theme)
        for below in bottom:
            grid = below.subplots(rows, _COLUMNS, squeeze=False, sharex="col", sharey="row")
            for axes, panel in zip(grid.flat, panels, strict=True):
                _draw_curves(axes, panel, theme)
            for axes, panel in zip(grid[-1], panels, strict=False):
                axes.set_xlabel(panel.what)
            for axes, panel in zip(grid[:, 0], panels[::_COLUMNS], strict=True):
                axes.set_ylabel(panel.figure)
                # after all curves: it ends the scaling
                axes.set_ylim(bottom=0)
            below.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)
        figure.savefig(path, format="svg", metadata={"Title": title, "Date": None, "Creator": None})


def _draw_bars(axes: Axes, bars: Mapping[str, Estimate], ours: str, theme: Theme) -> None:
    most = _CUT * next(iter(bars.values())).median
    ordered = dict(sorted(bars.items(), key=lambda bar: bar[1].median))
    lengths = [min(each.median, most) for each in ordered.values()]
    colours = [theme.ours if name.startswith(ours) else theme.theirs for name in ordered]
    axes.barh(list(ordered), lengths, 0.6, color=colours, clip_on=False)
    whole = {name: each for name, each in ordered.items() if each.median <= most}
    axes.hlines(list(whole), [each.low for each in whole.values()], [each.high for each in whole.values()], theme.ink)
    for name, each in ordered.items():
        end, note = (each.high, "") if name in whole else (most, " (cut)")
        axes.annotate(f"{each.median:,.1f}{note}", (end, name), (6, 0), textcoords="offset points", va="center")
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12 * most)
    axes.xaxis.set_visible(False)
    axes.spines[:].set_visible(False)


def _draw_curves(axes: Axes, panel: Panel, theme: Theme) -> None:
    for (name, curve), colour in zip(panel.curves.items(), (theme.ours, theme.theirs), strict=True):
        points = list(curve.values())
        axes.plot(list(curve), [each.median for each in points], ".-", color=colour, label=name, clip_on=False)
        axes.vlines(list(curve), [each.low for each in points], [each.high for each in points], colour)
    # on a linear scale most steps would coincide
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(curve)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.grid(axis="y", color=theme.faint)
    axes.spines[["top", "right"]].set_visible(False)
