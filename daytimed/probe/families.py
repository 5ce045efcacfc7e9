"""
The families of replies that daytime servers send. A new family is a new row of `FAMILIES`.

The patterns work on bytes, because servers write national words in the code pages of their systems.
"""

from __future__ import annotations

import re
from functools import cache

from daytimed.formats import DAYS, MONTHS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Family = tuple[str, bytes, Callable[[], bytes]]
    """A name, a cheap pattern that must match first, and a function that returns the full pattern."""

# a lookahead for one byte is faster than trying each word
_WEEKDAY = (
    rb"(?:(?=[MTWFS])\b(?P<weekday>"
    + b"|".join(day[:3].encode() for day in DAYS)
    + rb")[a-z]{0,6}(?:(?P<comma>,)|\.)? {1,8})?"
)
_MONTH = (
    rb"(?=[JFMASOND])(?P<month>"
    + b"|".join(f"{month[:3]}(?:{month[3:]})?".encode() for month in MONTHS)
    + rb"|Sept)\b[.,]?"
)  # fmt: skip
_CLOCK = rb"(?P<hour>\d{1,2})[:.](?P<minute>\d\d)(?:[:.](?P<second>\d\d)(?:[.,](?P<fraction>\d{1,18}))?)?(?![\d:])"
#: A time of day as written in English.
_TIME = _CLOCK + rb"(?: ?(?P<half>[AP]\.?M\b\.?))?"
#: `-UTC`, ` +0530 IST`, `Z`, ` GMT+2`, ` (CET)`, `--03`: an offset, a name, or a name and an offset
_ZONE = (
    rb"(?:[ \t,]{0,4}-?(?P<offset>[+-]\d\d?(?::?\d\d)?)(?![\d:]))?"
    rb"(?:[ \t,]{0,4}-?[(\[]?(?P<zone>(?-i:[A-Z]{1,7})|utc|gmt|z)\b[)\]]?"
    rb"(?: ?(?P<shift>[+-]\d{1,2}(?::?\d\d)?)(?![\d:]))?)?"
)
_YEAR = rb"(?P<year>\d{4})(?!\d)"
_NUMBERS = rb"(?<!\d)(?P<one>\d{1,4})(?P<mark>[./-]) ?(?P<two>\d{1,2})(?P=mark) ?(?P<three>\d{1,4})(?!\d)\.?"

ANY_CLOCK = rb"\d[:.]\d\d"
_ANY_NUMBERS = rb"\d[./-] ?\d{1,2}[./-] ?\d"

#: The words for before and after noon, with the code pages in which systems write them: the AM and PM designators of
#: the national settings of Windows.
_HALVES = (
    ("am", "pm", "ascii"), ("a.m.", "p.m.", "ascii"), ("a. m.", "p. m.", "ascii"),
    ("오전", "오후", "cp949"), ("上午", "下午", "cp936"), ("上午", "下午", "cp950"), ("午前", "午後", "cp932"),
    ("πμ", "μμ", "cp1253"), ("π.μ.", "μ.μ.", "cp1253"), ("de.", "du.", "ascii"), ("fm", "em", "ascii"),
    ("vm.", "nm.", "ascii"), ("SA", "CH", "ascii"), ("PD", "MD", "ascii"),
)  # fmt: skip


def _bytes_of(word: str, page: str) -> tuple[bytes, ...]:
    return word.encode(page), word.encode()


@cache
def _afternoons() -> frozenset[bytes]:
    return frozenset(_bare(word) for _, after, page in _HALVES for word in _bytes_of(after, page))


def is_afternoon(half: bytes) -> bool:
    """Return whether a word, in any spelling, means after noon."""
    return _bare(half) in _afternoons()


def _bare(word: bytes) -> bytes:
    return word.lower().replace(b".", b"").replace(b" ", b"")


@cache
def _national_time() -> bytes:
    """Return the pattern of a time of day with a word of any language before or after it."""
    words = {each for *both, page in _HALVES for word in both for each in _bytes_of(word, page)}
    choice = b"|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    first = b"".join(re.escape(each) for each in sorted({word[:1].swapcase() + word[:1] for word in words}))
    before = rb"(?:(?=[" + first + rb"])(?P<before>" + choice + rb") ?)?"
    return before + _CLOCK + rb"(?: ?(?P<half>" + choice + rb"))?"


#: The families in the order of the search. A pattern that may match a part of another comes after it.
FAMILIES: tuple[Family, ...] = (
    # 61366 26-11-22 12:00:00 00 0 0 0.0 UTC(NIST) *
    (
        "nist", rb"\d{5} {1,8}\d{2,4}-\d",
        lambda: rb"(?<!\d)(?P<mjd>\d{5}) {1,8}(?P<year>\d{4}|\d\d)-(?P<month>\d\d)-(?P<day>\d\d) {1,8}" + _CLOCK
        + rb"(?P<code>[^\n]{0,64})",
    ),
    # 2026-11-22 12:00:00.123456789 +0530 IST    2026-11-22T12:00:00+05:30
    (
        "iso8601", ANY_CLOCK,
        lambda: rb"(?<![\d-])" + _YEAR + rb"-(?P<month>\d\d)-(?P<day>\d\d)(?:(?P<t>T)|[ ,]{1,8})" + _TIME + _ZONE
        # Go's name for a zone without a name
        + rb"(?: (?P<nameless>[+-]\d\d(?:\d\d)?)(?!\d))?",
    ),
    # 22 NOV 26 12:00:00 UTC    22 NOV 2026 12:00:00 UTC    Sun, 22 Nov 2026 12:00:00 +0000
    # Sunday, 22-Nov-26 12:00:00 GMT    22/Nov/2026:12:00:00 +0000
    (
        "dated", _MONTH,
        lambda: _WEEKDAY + rb"(?<![\d:-])(?P<day>\d{1,2})(?:(?P<dash>-)|(?P<slash>/)|[. ]{1,8})" + _MONTH
        + rb"[ /-]{1,8}(?P<year>\d{4}|\d\d),?(?:[ T]{1,8}|:)" + _TIME + _ZONE,
    ),
    # Sunday, November 22, 2026 12:00:00-UTC    Mon, Mar 7, 2005, 11:02:03-UTC
    (
        "rfc867", _MONTH,
        lambda: _WEEKDAY + _MONTH + rb" {1,8}(?P<day>\d{1,2})(?:st|nd|rd|th)?,? {1,8}" + _YEAR
        + rb",? {1,8}" + _TIME + _ZONE + rb"(?P<summer>-?DST)?",
    ),
    # Sun Nov 22 12:00:00 2026    Sun Nov 22 12:00:00 PM UTC 2026
    (
        "ctime", _MONTH,
        lambda: _WEEKDAY + _MONTH + rb" {1,8}(?P<day>\d{1,2}),? {1,8}" + _TIME
        + rb"(?: {1,8}(?P<named>(?-i:[A-Z]{1,7})|[+-]\d\d(?::?\d\d)?))? {1,8}" + _YEAR + _ZONE,
    ),
    # *12:00:00.123 UTC Sun Nov 22 2026
    (
        "cisco", _MONTH,
        lambda: rb"(?<![\d:])" + _TIME + _ZONE + rb" {1,8}" + _WEEKDAY + _MONTH
        + rb" {1,8}(?P<day>\d{1,2}),? {1,8}" + _YEAR,
    ),
    # 12:00:00 PM 11/22/2026    12:00:00 22.11.2026    12.00.00 22/11/2026    2:00:00 2026-11-22
    ("windows", _ANY_NUMBERS, lambda: rb"(?<![\d:])" + _national_time() + rb" {1,8}" + _NUMBERS + _ZONE),
    # 2026/11/22 12:00:00    22.11.26, 12:00
    ("numeric", _ANY_NUMBERS, lambda: _NUMBERS + rb",?[ T]{1,8}" + _national_time() + _ZONE),
    # 20261122T120000Z
    (
        "iso8601", rb"\dT\d",
        lambda: rb"(?<!\d)(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)(?P<t>T)"
        rb"(?P<hour>\d\d)(?P<minute>\d\d)(?:(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,18}))?)?(?!\d)" + _ZONE,
    ),
    # 1795348800    1795348800.123456
    ("unix", rb"\d", lambda: rb"(?<![\d.,:/+-])(?P<unix>\d{1,19})(?:\.(?P<fraction>\d{1,18}))?(?![\d:/-])"),
)  # fmt: skip
