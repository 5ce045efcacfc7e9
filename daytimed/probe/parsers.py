"""
From the bytes of a reply to the instant that it names: pure functions, for every daytime server there is known to be.

RFC 867 leaves the line to the server, so each family of replies has a pattern of its own, and the first that is found
anywhere in the reply, whatever stands around it, decides. What can be read in two ways is read as what is nearest to
now, and `notes` says so. Nothing here raises, and a long reply is refused unread, so that no reply takes long.

Patterns are compiled when it is their turn: most runs need one.
"""

from __future__ import annotations

import re

from daytimed.addresses import printable
from daytimed.formats import DAYS, EPOCH_1900, EPOCH_MJD, MONTHS, NS
from daytimed.probe import zones
from daytimed.probe.civil import days_from_civil, is_date
from daytimed.probe.families import ANY_CLOCK, FAMILIES, is_afternoon

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from daytimed.probe.families import Family
    from daytimed.probe.zones import Offsets

    Date = tuple[int, int, int]

#: More than any line with a banner around it; beyond it the reply is something else.
LONGEST_REPLY = 2048
_DAY = 86400
_DIGITS = frozenset("0123456789")
#: A number somewhere in a reply, or an odd one, is a count of seconds only if it is not farther from now.
_NEAR_NS = 366 * _DAY * NS
#: The instants that RFC 3339 can write.
_FIRST_NS, _END_NS = -62_135_596_800 * NS, 253_402_300_800 * NS


class Reading:
    """What a reply says."""

    __slots__ = ("advance_ns", "format", "health", "instant_ns", "leap", "notes", "resolution_ns", "zone")

    def __init__(self, name: str, instant_ns: int, resolution_ns: int, zone: str, notes: tuple[str, ...] = ()) -> None:
        self.format = name
        """A format of daytimed, or `rfc2822`, `windows`, `numeric` or `cisco`."""
        self.instant_ns = instant_ns
        """Nanoseconds since 1970-01-01 UTC."""
        self.resolution_ns = resolution_ns
        """The clock was read at the instant or up to this much later: servers cut, they do not round."""
        self.zone = zone
        """`UTC`, `+hh:mm` or `assumed`."""
        self.notes = notes
        """How what is ambiguous was read, and what does not fit."""
        self.advance_ns = 0
        """NIST: how much earlier than the instant the reply was sent."""
        self.health: int | None = None
        self.leap: int | None = None


class Unreadable:
    """A reply that names no instant."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason


class _RefusedError(Exception):
    """Ends the reading, with the reason."""


def parse(reply: bytes, now_ns: int, zone: Offsets) -> Reading | Unreadable:
    """
    Find the instant that a reply names.

    Args:
        reply: The whole reply.
        now_ns: What is ambiguous is read as what is nearest to this; nanoseconds since 1970-01-01 UTC.
        zone: Assumed where the reply names none.

    Returns:
        A `Reading`, or an `Unreadable` with the reason. Never raises.
    """
    if len(reply) > LONGEST_REPLY:
        return Unreadable(f"{len(reply)} bytes are no daytime reply; one has at most {LONGEST_REPLY}")
    try:
        reading = _parse_binary(reply, now_ns) or _parse_text(reply, now_ns, zone)
    except _RefusedError as error:
        return Unreadable(str(error))
    if not _FIRST_NS <= reading.instant_ns < _END_NS:
        return Unreadable(f"it is not between the years 1 and 9999: {_shown(reply.strip())}")
    return reading


# -- binary ----------------------------------------------------------------------------------------------------------


def _parse_binary(reply: bytes, now_ns: int) -> Reading | None:
    """RFC 868: four bytes, or the eight of servers that send a `long`, on either side of which the value stands."""
    if len(reply) not in {4, 8} or all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in reply):
        return None
    if len(reply) == 4 or reply[4:] == b"\0\0\0\0":
        return _read_rfc868(int.from_bytes(reply[:4], "big"), now_ns)
    if reply[:4] != b"\0\0\0\0":
        return None
    value = int.from_bytes(reply[4:], "big")
    since_1900 = _read_rfc868(value, now_ns)
    # there are servers of Unix time in 64 bits, too
    since_1970 = Reading("unix", value * NS, NS, "UTC")
    return min(since_1900, since_1970, key=lambda reading: abs(reading.instant_ns - now_ns))


def _read_rfc868(value: int, now_ns: int) -> Reading:
    # 32 bits begin again every 136 years
    seconds = value - EPOCH_1900
    turns = round((now_ns // NS - seconds) / (1 << 32))
    return Reading("rfc868", (seconds + (turns << 32)) * NS, NS, "UTC")


# -- text ------------------------------------------------------------------------------------------------------------


def _parse_text(reply: bytes, now_ns: int, zone: Offsets) -> Reading:
    text = reply.lstrip(b"\0 \t\r\n").partition(b"\0")[0].rstrip()
    if not text:
        raise _RefusedError("there is nothing in it but blanks" if reply else "there is nothing in it")
    # no-break spaces, which newer Windows puts before AM and PM
    text = text.replace(b"\xe2\x80\xaf", b" ").replace(b"\xc2\xa0", b" ")
    if text.startswith(b"HTTP/"):
        raise _RefusedError("that is a web server")
    found = None
    rest = text
    for family in FAMILIES:
        # most replies are one family and nothing else that could be a time; if there is, it must not be another one
        if found is not None and not re.search(ANY_CLOCK, rest):
            break
        reading, rest = _search(family, rest, now_ns, zone)
        if found is not None and reading is not None and found.instant_ns != reading.instant_ns:
            raise _RefusedError(f"there are different times in it: {_shown(text)}")
        found = found or reading
    if found is not None:
        return found
    raise _RefusedError(f"there is no date with a time in it: {_shown(text)}")


def _search(family: Family, text: bytes, now_ns: int, zone: Offsets) -> tuple[Reading | None, bytes]:
    """Return what one family finds, and the text without that."""
    name, mark, make = family
    found = None
    words = b""
    if not re.search(mark, text, re.IGNORECASE):
        return None, text
    pattern = make()
    for match in re.finditer(pattern, text, re.IGNORECASE):
        if match[0] == words:
            continue
        words = match[0]
        reading = _read(name, match, text, now_ns, zone)
        if reading is None:
            continue
        if found is not None and found.instant_ns != reading.instant_ns:
            raise _RefusedError(f"there are different times in it: {_shown(text)}")
        found = reading
    return found, re.sub(pattern, b" ", text, flags=re.IGNORECASE) if found else text


def _shown(text: bytes) -> str:
    shown = printable(text[:64].decode(errors="backslashreplace"))
    return f"{shown}..." if len(text) > 64 else shown


def _read(name: str, match: re.Match[bytes], text: bytes, now_ns: int, zone: Offsets) -> Reading | None:
    found = {key: value.decode("latin-1") for key, value in match.groupdict().items() if value}
    if name == "unix":
        return _read_unix(found, text, match[0], now_ns)
    clock = _seconds_of_day(found, match)
    dates = list(_dates(found, now_ns))
    if not dates:
        raise _RefusedError(f"there is no such date: {_shown(match[0])}")
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
    """Return the second that is nearest to now, of all that can be meant, with its date and offset from UTC."""
    readings = []
    for date in dates:
        civil = days_from_civil(*date) * _DAY + clock
        for offset in zone(civil):
            readings.append((abs((civil - offset) * NS - now_ns), civil - offset, date, offset))
    return min(readings)[1:]


def _read_unix(found: dict[str, str], text: bytes, words: bytes, now_ns: int) -> Reading | None:
    """Read a number, unless it is one of the many that are none of Unix seconds."""
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
    """Read day number, date and time, which is UTC, daylight-saving time, leap second, health, advance, label, mark."""
    # the day number tells the century, too
    numbered = [date for date in dates if days_from_civil(*date) + EPOCH_MJD == int(found["mjd"])]
    seconds, date, _ = _nearest(numbered or dates, clock, lambda _: (0,), now_ns)
    notes = []
    if not numbered:
        notes.append(f"the day number is wrong: {_written(date)} is {days_from_civil(*date) + EPOCH_MJD}")
    reading = Reading("nist", seconds * NS, NS, "UTC")
    _, leap, health, advance, label, *_ = [*found.get("code", "").split(), "", "", "", "", ""]
    if not label.startswith("UTC") or not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{0,3})?", advance):
        notes.append("the code behind the time is not that of NIST")
    else:
        reading.advance_ns = round(float(advance) * 1_000_000)
    reading.leap = int(leap) if leap in _DIGITS else None
    # old lines have the correction DUT1, with a sign, in the place of the health
    reading.health = int(health) if health in _DIGITS else None
    reading.notes = tuple(notes)
    return reading


def _specific(name: str, found: dict[str, str]) -> str:
    """Return the format of a family that has several."""
    if name == "iso8601":
        if "offset" in found and ("zone" in found or "nameless" in found):
            return "sentence"
        # RFC 3339 lets a blank stand for the T, but not an offset be missing
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
        raise _RefusedError(f"there is no such time: {_shown(match[0])}")
    # RFC 3339 has 60 for a leap second, which POSIX counts as the second after it
    if hour > 23 or minute > 59 or second > 60:
        raise _RefusedError(f"there is no such time: {_shown(match[0])}")
    return hour * 3600 + minute * 60 + second


def _dates(found: dict[str, str], now_ns: int) -> Iterator[Date]:
    """Return every date that can be meant, the likeliest order of day and month first."""
    if "one" in found:
        first, second, third = found["one"], found["two"], found["three"]
        if len(first) > 2:
            orders = [(first, second, third)]
        else:
            orders = [(third, second, first)]
            # points are never American
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
    """Return the offsets from UTC that the reply can mean, or None if it names no zone that is known."""
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
            raise _RefusedError(f"there is no such offset from UTC: {digits}")
        return (offset,)
    if not name:
        return _offsets_beside(text, match, notes)
    offsets = zones.offsets_of_name(name)
    if not offsets:
        notes.append(f"the zone {name} is not known")
        return None
    if "summer" in found:
        # Cisco IOS: the name of the standard time, and that it is not
        offsets = tuple(each + 3600 for each in offsets)
    return offsets


#: Of the names with several meanings, those that RFC 5322, section 4.3, gives one.
_SETTLED = frozenset({"CST", "CDT", "PST"})


def _offsets_beside(text: bytes, match: re.Match[bytes], notes: list[str]) -> tuple[int, ...] | None:
    """Return what stands for a zone where none was expected; note what might."""
    line_start = text.rfind(b"\n", 0, match.start()) + 1
    before, after = text[line_start : match.start()], text[match.end() :].partition(b"\n")[0].strip()
    if re.search(rb"(?i)\b(?:UTC|GMT)\b(?! ?[+-]\d)", before + b" " + after):
        return (0,)
    if after[:1].isalnum() or after[:1] in {b"+", b"-", b"<", b"[", b"("} or after[:1] >= b"\x80":
        notes.append(f"what follows the time is not understood: {_shown(after)}")
    return None


def _ambiguities(
    found: dict[str, str], dates: list[Date], date: Date, offsets: tuple[int, ...], offset: int
) -> Iterator[str]:
    others = sorted({_written(each) for each in dates if each[0] // 100 == date[0] // 100} - {_written(date)})
    if others:
        yield f"day and month are ambiguous: read as {_written(date)}, which is nearer than {' or '.join(others)}"
    name = found.get("named") or found.get("zone")
    if len(offsets) > 1 and not (name in _SETTLED and offset == offsets[0]):
        yield f"the zone is ambiguous: {name or 'its clock is changed in that hour'}, read as {_digits(offset)}"


def _written(date: Date) -> str:
    return f"{date[0]:04}-{date[1]:02}-{date[2]:02}"


def _digits(offset: int) -> str:
    hours, minutes = divmod(abs(offset) // 60, 60)
    return f"{'-' if offset < 0 else '+'}{hours:02}:{minutes:02}"
