"""
The examples of packaging/monitoring, as a test runs them.

What is run is what is shipped: in a copy, the path of the probe becomes that of the probe under test, and addresses and
folders become those of the test; nothing else is changed.
"""

from __future__ import annotations

import shlex
import stat
from pathlib import Path

from harness import DAYTIME_GET

EXAMPLES = Path(__file__).parents[2] / "packaging" / "monitoring"
INSTALLED = "/usr/bin/daytime-get"


def installed(folder: Path) -> str:
    """Return a path that is the probe under test."""
    path = folder / "bin" / "daytime-get"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'#!/bin/sh\nexec {shlex.join(DAYTIME_GET)} "$@"\n')
    path.chmod(0o755)
    return str(path)


def shipped(folder: Path, name: str, replacements: dict[str, str] | None = None, under: str = ".") -> Path:
    """Copy an example, with the probe under test and other replacements; each has to be there."""
    text = (EXAMPLES / name).read_text().replace(INSTALLED, installed(folder))
    for old, new in (replacements or {}).items():
        assert old in text, f"no {old!r} in {name}"
        text = text.replace(old, new)
    path = folder / under / Path(name).name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(stat.S_IMODE((EXAMPLES / name).stat().st_mode))
    return path
