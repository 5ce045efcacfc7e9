"""What a whole run writes: all of it into tests/bench/README.md, six servers into README.md, and the pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import cost
import document
import growth
from builds import HERE, ROOT
from document import Table, spread
from judgement import FEWEST, INTERVAL, estimate
from lineup import GO, NGINX, OPENBSD, OWN, PLAIN, XINETD

README, FIGURES = ROOT / "README.md", HERE / "README.md"
BEGIN, END = "<!-- figures: made by make bench -->", "<!-- end of the figures -->"
#: The rows of README.md.
SUMMARY = (OWN, PLAIN, NGINX, XINETD, OPENBSD, GO)


def write(
    statements: Sequence[str], tables: Sequence[Table], results: cost.Results, grown: growth.Growth | None
) -> None:
    """
    Write both documents and the pictures.

    Args:
        statements: The conditions and the noise of the run.
    """
    lines = [line for statement in statements for line in (statement, "")]
    if results:
        rounds, place = len(next(iter(results.values()))), FIGURES.relative_to(ROOT)
        brackets = INTERVAL if rounds >= FEWEST else "least and greatest"
        title = f"Server CPU a reply in µs, {cost.USUAL} clients: median, {brackets}"
        _draw(title, results, grown)
        lines += _picture(title, HERE)
        date = statements[0].partition(",")[0]
        source = f"{date}, {rounds} rounds: medians, in brackets the {brackets}."
        link = f"{source} [All servers, the conditions, growth and targets]({place})."
        document.fill(README, BEGIN, END, [*_picture(title, ROOT), *summary(results).markdown(), "", link])
    document.fill(FIGURES, BEGIN, END, [*lines, *_lay_out(tables)])


def summary(results: cost.Results) -> Table:
    """Return the table of README.md."""
    columns = ["server", "CPU µs/reply", f"{OWN} / it", "replies/s", "p99 µs", "PSS MiB"]
    servers = {server.name: server for server in results}
    rows = []
    for server in (servers[name] for name in SUMMARY if name in servers):
        rounds = results[server]
        rows.append([
            server.name, spread([each.cpu_us for each in rounds], 1),
            "" if server.name == OWN else spread(cost.ratios(results, server, "cpu_us"), 2),
            f"{median(each.usual.replies_per_s for each in rounds):,.0f}",
            f"{median(each.usual.p99_us for each in rounds):,.0f}",
            f"{median(each.pss_mib for each in rounds):.1f}",
        ])  # fmt: skip
    return Table("Speed", columns, rows)


def _draw(title: str, results: cost.Results, grown: growth.Growth | None) -> None:
    # not while something is measured
    import picture

    bars = {server.name: estimate([each.cpu_us for each in rounds]) for server, rounds in results.items()}
    panels = [
        picture.Panel(
            what,
            label,
            {
                name: {much: estimate([getattr(each, figure) for each in points]) for much, points in by.items()}
                for name, by in grown.curves[what].items()
            },
        )
        for figure, label in (("cpu_us", "CPU µs/reply"), ("pss_mib", "PSS MiB"))
        for what in (growth.WORKERS, growth.LISTENERS, growth.ASKING)
    ] if grown else []  # fmt: skip
    for name, theme in picture.THEMES.items():
        picture.draw(HERE / f"speed-{name}.svg", title, bars, OWN, panels, theme)


def _picture(title: str, folder: Path) -> Iterator[str]:
    """Yield the lines that show the picture in a document of a folder."""
    place = os.path.relpath(HERE, folder)
    light, dark = (os.path.normpath(f"{place}/speed-{name}.svg") for name in ("light", "dark"))
    yield "<picture>"
    yield f'  <source media="(prefers-color-scheme: dark)" srcset="{dark}">'
    yield f'  <img alt="{title}" src="{light}">'
    yield from ("</picture>", "")


def _lay_out(tables: Sequence[Table]) -> Iterator[str]:
    """Yield the lines of the tables under headings."""
    for table in tables:
        yield from (f"## {table.title}", "", *table.markdown(), "")
