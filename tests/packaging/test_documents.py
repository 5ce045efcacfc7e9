"""README.md and the shipped configuration match the code; test_manuals.py does the same for the manual pages."""

from __future__ import annotations

import re
from pathlib import Path

from daytimed import clock, formats
from daytimed.clock import KernelClock
from daytimed.config.toml import commented_example

PROJECT = Path(__file__).parents[2]
README = (PROJECT / "README.md").read_text()

#: The instant of the replies that the README shows: 2026-11-22 12:00:00.123456789 UTC.
SHOWN_AT_NS = 1_795_348_800_123_456_789


def test_the_shipped_configuration_is_made_from_the_table() -> None:
    """Every key has its default and a line of help; `commented_example()` writes the file."""
    assert (PROJECT / "packaging/daytimed.toml").read_text() == commented_example()


def test_the_readme_shows_every_format() -> None:
    """The table has every format and no other, each with the reply that it makes."""
    rows = dict(re.findall(r"^\| `([\w:]+)`(?: \(default\))? \| `?([^`|\n]*)", README, re.MULTILINE))
    assert [*rows] == [*formats.NAMES, "strftime:PATTERN"]
    for name in {*formats.NAMES} - {"rfc868"}:
        reply = formats.compile_format(name, clock.load_zone("UTC"), lambda: KernelClock(leap=0, health=0))
        assert rows[name] == reply(SHOWN_AT_NS).decode().strip(), name


def test_the_readme_is_short() -> None:
    """A newcomer reads it in one sitting, in a terminal too: the reference is in the manual pages."""
    lines = README.splitlines()
    assert len(lines) <= 220
    before, figures, after = re.split(r"<!-- (?:figures: made by make bench|end of the figures) -->\n", README)
    assert [] == [line for line in (before + after).splitlines() if len(line) > 120 and not line.startswith("|")]
    assert figures.count("\n| ") == 1 + 6


def test_the_readme_has_few_relative_links() -> None:
    """Installed without the source, it must not lead nowhere: it links to documents and the pictures of the figures."""
    links = {link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link}
    assert links <= {"SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", "tests/bench/README.md"}
