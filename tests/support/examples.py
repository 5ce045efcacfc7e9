"""
The examples of packaging/monitoring, prepared for a test.

Tests run copies of the shipped files. A copy replaces only the path of the probe with that of the probe under test, and
addresses and folders with those of the test.
"""

from __future__ import annotations

import shlex
import stat
from pathlib import Path

from harness import DAYTIME_GET

EXAMPLES = Path(__file__).parents[2] / "packaging" / "monitoring"
INSTALLED = "/usr/bin/daytime-get"


def installed(folder: Path) -> str:
    """Return the path of a program that runs the probe under test; write it once."""
    path = folder / "bin" / "daytime-get"
    # a shell that has just started may not have read it yet: if it found the file empty, it would exit with 0
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\nexec {shlex.join(DAYTIME_GET)} "$@"\n')
        path.chmod(0o755)
    return str(path)


def shipped(folder: Path, name: str, replacements: dict[str, str] | None = None, under: str = ".") -> Path:
    """Copy an example, with the probe under test and other replacements; the example must contain each of them."""
    text = (EXAMPLES / name).read_text().replace(INSTALLED, installed(folder))
    for old, new in (replacements or {}).items():
        assert old in text, f"no {old!r} in {name}"
        text = text.replace(old, new)
    path = folder / under / Path(name).name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(stat.S_IMODE((EXAMPLES / name).stat().st_mode))
    return path
