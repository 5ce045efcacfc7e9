"""A parser of plugin output by the Monitoring Plugins Development Guidelines (section "Performance data")."""

from __future__ import annotations

import re
from typing import NamedTuple

from harness import DAYTIME_GET, run

STATES = {"OK": 0, "WARNING": 1, "CRITICAL": 2, "UNKNOWN": 3}
_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?"
_RANGE = rf"@?(?:(?:~|{_NUMBER}):(?:{_NUMBER})?|{_NUMBER})"
_LABEL = r"(?:'(?P<quoted>[^'=|]+)'|(?P<bare>[^'=|\s]+))"
_VALUE = rf"(?P<value>{_NUMBER})s"
_LIMITS = rf"(?:;(?P<warn>{_RANGE})?(?:;(?P<crit>{_RANGE})?(?:;(?P<min>{_NUMBER})?(?:;(?P<max>{_NUMBER})?)?)?)?)?"
_FIGURE = re.compile(rf"{_LABEL}={_VALUE}{_LIMITS}")
_OUTPUT = re.compile(r"DAYTIME (OK|WARNING|CRITICAL|UNKNOWN): ([^|\n]*[^|\s])(?: \| ([^|\n]+))?((?:\n[^|\n]+)*)\n")


class Figure(NamedTuple):
    """One of the figures after the bar."""

    value: float
    warn: str | None
    crit: str | None
    min: float | None
    max: float | None


def figures_of(text: str) -> dict[str, Figure]:
    """Read performance data in seconds; fail on anything that the guidelines do not allow."""
    figures: dict[str, Figure] = {}
    while text:
        match = _FIGURE.match(text)
        assert match, text
        label = match["quoted"] or match["bare"]
        assert label not in figures
        least, most = (None if match[key] is None else float(match[key]) for key in ("min", "max"))
        figures[label] = Figure(float(match["value"]), match["warn"], match["crit"], least, most)
        rest = text[match.end() :]
        assert not rest or (rest.startswith(" ") and rest.strip()), text
        text = rest[1:]
    return figures


def plugin(*arguments: str) -> tuple[str, str, dict[str, Figure]]:
    """Run the probe as a plugin; check its exit status and form, and return state, text and figures."""
    done = run(*DAYTIME_GET, "-o", "nagios", *arguments)
    assert done.stderr == b""
    match = _OUTPUT.fullmatch(done.stdout.decode())
    assert match, done.stdout.decode()
    state, text, figures, more = match.groups()
    assert done.returncode == STATES[state]
    assert (text + more.replace("\n", "")).isprintable()
    return state, text + more, figures_of(figures or "")
