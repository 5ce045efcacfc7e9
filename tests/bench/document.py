"""Tables of figures, for a terminal or a document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from judgement import estimate


@dataclass(frozen=True)
class Table:
    """One table; the first column is text, the others are figures."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    """Printed below it."""

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
    """Return the median of figures and, in brackets, its interval."""
    return estimate(figures).text(digits)


def counts(counter: Counter[str]) -> str:
    """Return how often each thing occurred."""
    return ", ".join(f"{count:,} {name}" for name, count in counter.items()) or "0"


def fill(document: Path, begin: str, end: str, lines: Sequence[str]) -> None:
    """Replace the lines between two marks of a document."""
    before, rest = document.read_text().split(begin)
    _, after = rest.split(end)
    document.write_text("\n".join([f"{before}{begin}", *lines, f"{end}{after}"]))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
