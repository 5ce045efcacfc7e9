"""The pictures of the benchmark."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
from judgement import Estimate
from picture import THEMES, Panel, draw

#: As many as in a whole run.
BARS = {f"daytimed, {number}": Estimate(18.0 + number**3, 17.0, 20.0 + number**3, True) for number in range(16)}
STEPS = (1, 2, 4, 8, 16, 64)
PANELS = [
    Panel(what, figure, {name: {step: Estimate(step, 0.9 * step, 1.2 * step, True) for step in STEPS} for name in "ab"})
    for figure in ("CPU", "PSS")
    for what in ("workers", "listeners", "clients")
]


@pytest.mark.parametrize("theme", THEMES)
def test_a_whole_picture(tmp_path: Path, theme: str) -> None:
    """It is small and its text is text; the same figures make the same file."""
    for name in ("one", "two"):
        draw(tmp_path / name, "the title", BARS, "daytimed", PANELS, THEMES[theme])
    one, two = ((tmp_path / name).read_bytes() for name in ("one", "two"))
    assert one == two
    assert len(one) < 60_000
    texts = {each.text for each in ElementTree.fromstring(one).iter() if each.text}
    assert {"the title", *BARS, "workers", "listeners", "clients", "CPU", "PSS", "1,018.0 (cut)"} <= texts
