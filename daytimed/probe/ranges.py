"""
The ranges of monitoring plugins: how a limit is written, and when a measured interval is beyond it.

    10      0 to 10            10:     10 or more
    ~:10    10 or less         10:20   10 to 20
    @10:20  not 10 to 20

A value outside the range alerts; with @ in front, a value inside, ends included. Monitoring Plugins Development
Guidelines, "Threshold and Ranges".
"""

from __future__ import annotations

import re

_INFINITY = float("inf")


def decimal(value: float) -> str:
    """Return a number without an exponent, as performance data requires."""
    text = f"{value:.9f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


class Range:
    """The values that are good or, if `inverted`, the values that alert."""

    __slots__ = ("end", "inverted", "start")

    def __init__(self, start: float, end: float, inverted: bool = False) -> None:
        self.start = start
        self.end = end
        self.inverted = inverted

    def __str__(self) -> str:
        start = "~" if self.start == -_INFINITY else decimal(self.start)
        end = "" if self.end == _INFINITY else decimal(self.end)
        written = end if start == "0" and end else f"{start}:{end}"
        return f"@{written}" if self.inverted else written

    @property
    def said(self) -> str:
        """Where a value that alerts lies, for a message."""
        return f"inside {str(self)[1:]}" if self.inverted else f"beyond {self}"

    def is_beyond(self, low: float, high: float) -> bool:
        """Return whether every value from `low` to `high` alerts."""
        if self.inverted:
            return self.start <= low and high <= self.end
        return high < self.start or low > self.end


def _number(text: str) -> float:
    if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]{1,2})?", text):
        raise ValueError
    number = float(text)
    # the digits may number hundreds
    if abs(number) == _INFINITY:
        raise ValueError
    return number


def parse(text: str, symmetric: bool = False) -> Range:
    """
    Read a range.

    Args:
        text: The range as a person wrote it.
        symmetric: A bare number N means -N to N, as for the offsets of check_time and check_ntp_time.

    Raises:
        ValueError: With the reason.
    """
    inverted = text.startswith("@")
    start, colon, end = text.removeprefix("@").rpartition(":")
    try:
        low = -_INFINITY if start == "~" else _number(start or "0")
        high = _number(end) if end or not colon else _INFINITY
        if not colon and symmetric:
            low = -high
        if not low <= high:
            raise ValueError
    except ValueError:
        raise ValueError(f"{text!r} is not a range; use N, N:, ~:N, N:M or @N:M, the smaller number first") from None
    return Range(low, high, inverted)
