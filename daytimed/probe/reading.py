"""
A reading: the instant that the fields of a reply name, once a pattern of the families has found them.

Of several possible meanings, the one nearest to now counts, and a note says so.
"""

from __future__ import annotations

import re

from daytimed.charset import printable
from daytimed.formats import DAYS, EPOCH_MJD, MONTHS, NS
from daytimed.probe import zones
from daytimed.probe.civil import days_from_civil, is_date
from daytimed.probe.families import is_afternoon

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from daytimed.probe.zones import Offsets

    Date = tuple[int, int, int]

_DAY = 86400
_DIGITS = frozenset("0123456789")
#: A number that shares its line, or has an unusual length, counts as Unix seconds only if it is this close to now.
_NEAR_NS = 366 * _DAY * NS


class Reading:
    """The meaning of a reply."""

    __slots__ = ("advance_ns", "format", "health", "instant_ns", "leap", "notes", "resolution_ns", "zone")

    def __init__(self, name: str, instant_ns: int, resolution_ns: int, zone: str, notes: tuple[str, ...] = ()) -> None:
        self.format = name
        """A format of daytimed, or `rfc2822`, `windows`, `numeric` or `cisco`."""
        self.instant_ns = instant_ns
        """Nanoseconds since 1970-01-01 UTC."""
        self.resolution_ns = resolution_ns
        """The server read its clock at the instant or up to this much later: servers truncate, they do not round."""
        self.zone = zone
        """`UTC`, `+hh:mm` or `assumed`."""
        self.notes = notes
        """How ambiguities were resolved, and which parts of the reply contradict each other or are unknown."""
        self.advance_ns = 0
        """NIST: how long before the instant the server sent the reply."""
        self.health: int | None = None
        self.leap: int | None = None


class RefusedError(Exception):
    """The reply names no usable instant; the message is the reason."""


def quote(text: bytes) -> str:
    """Return the beginning of a text in printable characters, for a message."""
    quoted = printable(text[:64].decode(errors="backslashreplace"))
    return f"{quoted}..." if len(text) > 64 else quoted


def read(name: str, match: re.Match[bytes], text: bytes, now_ns: int, zone: Offsets) -> Reading | None:
    """
    Read the match of a family's pattern.

    Args:
        name: The family.
        match: The match of its pattern.
        text: The text around the match.
        now_ns: The instant that resolves ambiguities; nanoseconds since 1970-01-01 UTC.
        zone: Assumed if the reply names none.

    Returns:
        The reading, or None for a number that is not a time.

    Raises:
        RefusedError: The match is an impossible date, time or offset.
    """
    found = {key: value.decode("latin-1") for key, value in match.groupdict().items() if value}
    if name == "unix":
        return _read_unix(found, text, match[0], now_ns)
    clock = _seconds_of_day(found, match)
    dates = list(_dates(found, now_ns))
    if not dates:
        raise RefusedError(f"invalid date: {quote(match[0])}")
    if name == "nist":
        return _read_nist(found, dates, clock, now_ns)
    notes: list[str] = []
    named = _offsets(found, text, match, notes)
    seconds, date, offset = _nearest(dates, clock, (lambda _: named) if named else zone, now_ns)
    notes += _ambiguities(found, dates, date, named or zone(seconds + offset), offset)
    weekday = found.get("weekday")
    right = DAYS[(days_from_civil(*date) + 3) % 7]
    if weekday and weekday.lower() != right[:3].lower():
        notes.append(f"the weekday is wrong: {_written(date)} is a {right}")
    fraction = found.get("fraction", "")[:9]
    resolution = NS // 10 ** len(fraction) if "second" in found else 60 * NS
    instant = seconds * NS + int(fraction.ljust(9, "0"))
    zone_name = "assumed" if named is None else _digits(offset) if offset else "UTC"
    return Reading(_specific(name, found), instant, resolution, zone_name, tuple(notes))


def _nearest(dates: list[Date], clock: int, zone: Offsets, now_ns: int) -> tuple[int, Date, int]:
    """Return the possible second that is nearest to now, with its date and offset from UTC."""
    readings = []
    for date in dates:
        civil = days_from_civil(*date) * _DAY + clock
        for offset in zone(civil):
            readings.append((abs((civil - offset) * NS - now_ns), civil - offset, date, offset))
    return min(readings)[1:]


def _read_unix(found: dict[str, str], text: bytes, words: bytes, now_ns: int) -> Reading | None:
    """Read a number as Unix time; return None if it is unlikely to be one."""
    digits = found["unix"]
    fraction = found.get("fraction", "")[:9]
    if len(digits) in {13, 16, 19}:
        # milliseconds, microseconds, nanoseconds
        digits, fraction = digits[:10], digits[10:]
    instant = int(digits) * NS + int(fraction.ljust(9, "0"))
    is_whole_line = words.strip() in {line.strip() for line in text.splitlines()}
    if not (is_whole_line and 9 <= len(digits) <= 11) and abs(instant - now_ns) > _NEAR_NS:
        return None
    return Reading("unix", instant, NS // 10 ** len(fraction), "UTC")


def _read_nist(found: dict[str, str], dates: list[Date], clock: int, now_ns: int) -> Reading:
    """Read the fields of a NIST line: day number, date, time (UTC), DST, leap second, health, advance, label, mark."""
    # the day number determines the century
    numbered = [date for date in dates if days_from_civil(*date) + EPOCH_MJD == int(found["mjd"])]
    seconds, date, _ = _nearest(numbered or dates, clock, lambda _: (0,), now_ns)
    notes = []
    if not numbered:
        notes.append(f"the day number is wrong: {_written(date)} is {days_from_civil(*date) + EPOCH_MJD}")
    reading = Reading("nist", seconds * NS, NS, "UTC")
    _, leap, health, advance, label, *_ = [*found.get("code", "").split(), "", "", "", "", ""]
    if not label.startswith("UTC") or not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{0,3})?", advance):
        notes.append("the codes after the time are not those of NIST")
    else:
        reading.advance_ns = round(float(advance) * 1_000_000)
    reading.leap = int(leap) if leap in _DIGITS else None
    # old lines have the signed correction DUT1 where newer ones have the health
    reading.health = int(health) if health in _DIGITS else None
    reading.notes = tuple(notes)
    return reading


def _specific(name: str, found: dict[str, str]) -> str:
    """Return the name of the format, for families that cover several."""
    if name == "iso8601":
        if "offset" in found and ("zone" in found or "nameless" in found):
            return "sentence"
        # RFC 3339 allows a blank instead of the T, but requires an offset
        return name if "t" in found or "offset" in found else "numeric"
    if name == "dated":
        if "weekday" in found:
            # date(1) writes no comma
            return "rfc2822" if "comma" in found or "dash" in found else "ctime"
        if "slash" in found:
            return "numeric"
        return "xinetd" if len(found["year"]) == 4 else "smtp"
    return name


def _seconds_of_day(found: dict[str, str], match: re.Match[bytes]) -> int:
    hour, minute, second = int(found["hour"]), int(found["minute"]), int(found.get("second", 0))
    half = found.get("half") or found.get("before")
    afternoon = half is not None and is_afternoon(half.encode("latin-1"))
    if half is not None and hour <= 12:
        hour = hour % 12 + 12 * afternoon
    elif half is not None and not afternoon:
        raise RefusedError(f"invalid time: {quote(match[0])}")
    # 60 is a leap second in RFC 3339; POSIX counts it as the second after it
    if hour > 23 or minute > 59 or second > 60:
        raise RefusedError(f"invalid time: {quote(match[0])}")
    return hour * 3600 + minute * 60 + second


def _dates(found: dict[str, str], now_ns: int) -> Iterator[Date]:
    """Return every possible date, the likeliest order of day and month first."""
    if "one" in found:
        first, second, third = found["one"], found["two"], found["three"]
        if len(first) > 2:
            orders = [(first, second, third)]
        else:
            orders = [(third, second, first)]
            # dates with dots are never American
            if found["mark"] != ".":
                orders.append((third, first, second))
            if len(third) <= 2 and found["mark"] != ".":
                orders.append((first, second, third))
    else:
        month = found["month"]
        if not month.isdigit():
            month = str(1 + [each[:3].lower() for each in MONTHS].index(month[:3].lower()))
        orders = [(found["year"], month, found["day"])]
    for year, month, day in orders:
        for whole in _years(year, now_ns):
            date = (whole, int(month), int(day))
            if is_date(*date):
                yield date


def _years(year: str, now_ns: int) -> tuple[int, ...]:
    if len(year) == 4:
        return (int(year),)
    if len(year) != 2:
        return ()
    century = (1970 + now_ns // NS // 31_556_952) // 100 * 100
    return (century + int(year), century - 100 + int(year), century + 100 + int(year))


def _offsets(found: dict[str, str], text: bytes, match: re.Match[bytes], notes: list[str]) -> tuple[int, ...] | None:
    """Return the offsets from UTC that the reply may mean, or None if it names no known zone."""
    digits = found.get("offset")
    name = found.get("zone") or ""
    if named := found.get("named"):
        digits, name = (named, "") if named[0] in "+-" else (None, named)
    name = name.upper()
    if digits is None and name in {"UTC", "GMT"} and "shift" in found:
        digits = found["shift"]
    if digits is not None:
        offset = zones.parse_digits(digits)
        if offset is None:
            raise RefusedError(f"invalid offset from UTC: {digits}")
        return (offset,)
    if not name:
        return _offsets_beside(text, match, notes)
    offsets = zones.offsets_of_name(name)
    if not offsets:
        notes.append(f"the zone {name} is unknown")
        return None
    if "summer" in found:
        # Cisco IOS names the standard time and adds DST
        offsets = tuple(each + 3600 for each in offsets)
    return offsets


#: The names with several meanings for which RFC 5322, section 4.3, defines one.
_SETTLED = frozenset({"CST", "CDT", "PST"})


def _offsets_beside(text: bytes, match: re.Match[bytes], notes: list[str]) -> tuple[int, ...] | None:
    """Find UTC or GMT elsewhere on the line of the match; note text after it that may be a zone."""
    line_start = text.rfind(b"\n", 0, match.start()) + 1
    before, after = text[line_start : match.start()], text[match.end() :].partition(b"\n")[0].strip()
    if re.search(rb"(?i)\b(?:UTC|GMT)\b(?! ?[+-]\d)", before + b" " + after):
        return (0,)
    if after[:1].isalnum() or after[:1] in {b"+", b"-", b"<", b"[", b"("} or after[:1] >= b"\x80":
        notes.append(f"unknown text after the time: {quote(after)}")
    return None


def _ambiguities(
    found: dict[str, str], dates: list[Date], date: Date, offsets: tuple[int, ...], offset: int
) -> Iterator[str]:
    others = sorted({_written(each) for each in dates if each[0] // 100 == date[0] // 100} - {_written(date)})
    if others:
        yield f"day and month are ambiguous: assuming {_written(date)}, which is nearer than {' or '.join(others)}"
    name = found.get("named") or found.get("zone")
    if len(offsets) > 1 and not (name in _SETTLED and offset == offsets[0]):
        reason = f"the zone {name} is ambiguous" if name else "the zone changes its offset in this hour"
        yield f"{reason}: assuming {_digits(offset)}"


def _written(date: Date) -> str:
    return f"{date[0]:04}-{date[1]:02}-{date[2]:02}"


def _digits(offset: int) -> str:
    hours, minutes = divmod(abs(offset) // 60, 60)
    return f"{'-' if offset < 0 else '+'}{hours:02}:{minutes:02}"
