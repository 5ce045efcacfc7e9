"""Tables of figures: for a terminal, or written into a document, with where and when they were taken."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Table:
    """One table; the first column is text, the others are figures."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    """Said below it."""

    def plain(self) -> str:
        """Return it for a terminal."""
        rows = [self.columns, *self.rows]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [self.title]
        for row in rows:
            cells = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
            lines.append("  ".join([row[0].ljust(widths[0]), *cells]))
        return "\n".join([*lines, *self.notes, ""])

    def markdown(self) -> list[str]:
        """Return its lines for a document, without the title."""
        notes = [line for note in self.notes for line in ("", note)]
        return [_row(self.columns), "|---" + "|--:" * (len(self.columns) - 1) + "|", *map(_row, self.rows), *notes]


def spread(figures: Sequence[float], digits: int) -> str:
    """Return the median of figures, their least and their greatest."""
    return f"{median(figures):,.{digits}f} ({min(figures):,.{digits}f}-{max(figures):,.{digits}f})"


def counts(counter: Counter[str]) -> str:
    """Return how often there was what."""
    return ", ".join(f"{count:,} {name}" for name, count in counter.items()) or "0"


def conditions(busy: float, rounds: int, *versions: str) -> str:
    """
    Return where and when figures were taken.

    Args:
        busy: The load average before.
        versions: Of other programs that take part.
    """
    kernel = ".".join(platform.release().split(".")[:2])
    # which Python it is changes the figures
    whose = " of the distribution" * os.path.realpath(sys.executable).startswith("/usr/bin/")
    python = f"Python {platform.python_version()}{whose}"
    congestion = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    system = ", ".join([f"Linux {kernel}", f"{os.cpu_count()} CPUs", f"TCP {congestion}", python, *versions])
    return f"{time.strftime('%F')}, {system}, load average {busy:.1f} before, {rounds} rounds."


def fill(document: Path, begin: str, end: str, lines: Sequence[str]) -> None:
    """Put lines between two marks of a document, in place of what is there."""
    before, rest = document.read_text().split(begin)
    _, after = rest.split(end)
    document.write_text("\n".join([f"{before}{begin}", *lines, f"{end}{after}"]))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
