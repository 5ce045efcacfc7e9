"""
The bytes of a reply: one pure function per format, from an instant to the bytes on the wire.

`compile_format` wraps a format in a one-second cache. The key is the second itself, so a stepped clock never yields a
stale time. Names of days and months are English in any locale.
"""

from __future__ import annotations

import re
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    # the probe loads this module for its tables and needs none of these
    from collections.abc import Callable

    from daytimed.clock import KernelClock, Zone

    Civil = time.struct_time
    Reply = Callable[[int], bytes]
    """From nanoseconds since 1970-01-01 UTC to the bytes of a reply."""

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip

#: Seconds from 1900-01-01 to 1970-01-01 UTC, RFC 868.
EPOCH_1900 = 2_208_988_800
#: The Modified Julian Date of 1970-01-01.
EPOCH_MJD = 40_587
NS = 1_000_000_000

STRFTIME = "strftime:"
LONGEST_STRFTIME = 512
#: The timekeeper in the `nist` format; only NIST may write UTC(NIST).
NIST_LABEL = "daytimed"


def sentence_parts(civil: Civil) -> tuple[bytes, bytes]:
    """Return the text before and after the fraction of the second in `sentence`, as Go prints a time."""
    head = f"The Date Time is: {civil.tm_year:04}-{civil.tm_mon:02}-{civil.tm_mday:02} {clock_time(civil)}"
    return head.encode(), f" {offset_digits(civil.tm_gmtoff)} {civil.tm_zone}\r\n".encode()


def fraction(nanoseconds: int) -> bytes:
    """Return the fraction of a second as Go prints it: no trailing zeros, empty for zero."""
    return (b".%09d" % nanoseconds).rstrip(b"0") if nanoseconds else b""


def offset_digits(seconds: int, separator: str = "") -> str:
    """Return an offset from UTC as +hhmm, or as +hh:mm with a separator; like Go, drop the seconds of an offset."""
    hours, minutes = divmod(abs(seconds) // 60, 60)
    return f"{'-' if seconds < 0 else '+'}{hours:02}{separator}{minutes:02}"


def rfc867(civil: Civil) -> bytes:
    """`Sunday, November 22, 2026 12:00:00-UTC`, the first form of RFC 867."""
    return (
        f"{DAYS[civil.tm_wday]}, {MONTHS[civil.tm_mon - 1]} {civil.tm_mday}, {civil.tm_year}"
        f" {clock_time(civil)}-{civil.tm_zone}\r\n"
    ).encode()


def smtp(civil: Civil) -> bytes:
    """`22 NOV 26 12:00:00 UTC`, the second form of RFC 867."""
    month = MONTHS[civil.tm_mon - 1][:3].upper()
    return f"{civil.tm_mday:02} {month} {civil.tm_year % 100:02} {clock_time(civil)} {civil.tm_zone}\r\n".encode()


def ctime(civil: Civil) -> bytes:
    """`Sun Nov 22 12:00:00 2026`, as the inetds send it."""
    month = MONTHS[civil.tm_mon - 1][:3]
    return f"{DAYS[civil.tm_wday][:3]} {month} {civil.tm_mday:2} {clock_time(civil)} {civil.tm_year}\r\n".encode()


def xinetd(civil: Civil) -> bytes:
    """`22 NOV 2026 12:00:00 UTC`, as xinetd sends it."""
    month = MONTHS[civil.tm_mon - 1][:3].upper()
    return f"{civil.tm_mday:02} {month} {civil.tm_year} {clock_time(civil)} {civil.tm_zone}\r\n".encode()


def iso8601(civil: Civil) -> bytes:
    """`2026-11-22T12:00:00+05:30`, RFC 3339."""
    date = f"{civil.tm_year:04}-{civil.tm_mon:02}-{civil.tm_mday:02}"
    return f"{date}T{clock_time(civil)}{offset_digits(civil.tm_gmtoff, ':')}\r\n".encode()


def unix(seconds: int) -> bytes:
    """`1795348800`."""
    return b"%d\r\n" % seconds


def rfc868(seconds: int) -> bytes:
    """Four bytes, big-endian: seconds since 1900-01-01 UTC, which wrap to 0 on 2036-02-07 (RFC 868)."""
    return ((seconds + EPOCH_1900) & 0xFFFFFFFF).to_bytes(4, "big")


def nist(seconds: int, zone: Zone, kernel: KernelClock) -> bytes:
    """
    The NIST daytime code: MJD, date and time in UTC, daylight-saving code, leap, health, advance, label, mark.

    The advance is 0.0: the reply is not sent early to compensate for network delay.
    """
    utc = time.gmtime(seconds)
    day = EPOCH_MJD + seconds // 86400
    date = f"{utc.tm_year % 100:02}-{utc.tm_mon:02}-{utc.tm_mday:02}"
    code = f"{daylight_code(seconds, zone):02} {kernel.leap} {kernel.health} 0.0 UTC({NIST_LABEL}) *"
    return f"\n{day} {date} {clock_time(utc)} {code} \n".encode()


def daylight_code(seconds: int, zone: Zone) -> int:
    """
    Return the daylight-saving field TT of the NIST code for a zone.

    0 means standard time, 50 daylight-saving time. In the month of a change the field counts the days down: to 1 on the
    day when daylight-saving time ends, to 51 on the day when it begins.
    """
    today = zone(seconds)
    daylight = today.tm_isdst > 0
    steady = 50 if daylight else 0
    days = -1
    while True:
        days += 1
        # at noon, any clock change of that day has happened
        noon = zone(seconds + days * 86400 + (12 - today.tm_hour) * 3600)
        if noon.tm_mon != today.tm_mon:
            return steady
        if (noon.tm_isdst > 0) != daylight:
            return days + 1 + (0 if daylight else 50)


def clock_time(civil: Civil) -> str:
    """Return `HH:MM:SS`."""
    return f"{civil.tm_hour:02}:{civil.tm_min:02}:{civil.tm_sec:02}"


#: The directives that strftime(3) takes from the locale, with their values in the C locale.
_ENGLISH: dict[str, Callable[[Civil], str]] = {
    "a": lambda civil: DAYS[civil.tm_wday][:3],
    "A": lambda civil: DAYS[civil.tm_wday],
    "b": lambda civil: MONTHS[civil.tm_mon - 1][:3],
    "h": lambda civil: MONTHS[civil.tm_mon - 1][:3],
    "B": lambda civil: MONTHS[civil.tm_mon - 1],
    "p": lambda civil: "AM" if civil.tm_hour < 12 else "PM",
    "P": lambda civil: "am" if civil.tm_hour < 12 else "pm",
    "c": lambda civil: ctime(civil).decode()[:-2],
    "x": lambda civil: f"{civil.tm_mon:02}/{civil.tm_mday:02}/{civil.tm_year % 100:02}",
    "X": clock_time,
    "r": lambda civil: f"{(civil.tm_hour - 1) % 12 + 1:02}{clock_time(civil)[2:]} {_ENGLISH['p'](civil)}",
    # Python's strftime takes these from the C library, whose zone can differ from the listener's
    "z": lambda civil: offset_digits(civil.tm_gmtoff),
    "Z": lambda civil: civil.tm_zone,
}
#: A directive with glibc's flags and width, strftime(3). It matches `%%` and all other directives too, to skip them in
#: full. Not compiled here: the probe would pay for that at each start.
_DIRECTIVE = r"(?s:%(?P<flags>[-_0^#]*)(?P<width>[0-9]{0,3})[EO]?(?P<name>[aAbhBpPcxXrzZs])|%[-_0^#+]*[0-9]*[EO]?.)"


def strftime(pattern: str, civil: Civil, seconds: int) -> bytes:
    """Format one second with a strftime(3) pattern and append a line end; names are those of the C locale."""

    def english(match: re.Match[str]) -> str:
        name = match["name"]
        if not name:
            return match[0]
        word = str(seconds) if name == "s" else _ENGLISH[name](civil)
        if "^" in match["flags"]:
            word = word.upper()
        elif "#" in match["flags"] and name in "aAbBhpZ":
            word = word.lower() if name in "pZ" else word.upper()
        zeros = "0" in match["flags"] or (name == "s" and not {"-", "_"} & set(match["flags"]))
        return word.rjust(int(match["width"] or 0), "0" if zeros else " ").replace("%", "%%")

    line = time.strftime(re.sub(_DIRECTIVE, english, pattern), civil)
    return line.encode(errors="surrogateescape")[:LONGEST_STRFTIME] + b"\r\n"


#: The formats that depend only on the calendar.
CALENDAR: dict[str, Callable[[Civil], bytes]] = {
    "rfc867": rfc867,
    "smtp": smtp,
    "ctime": ctime,
    "xinetd": xinetd,
    "iso8601": iso8601,
}
#: The formats that depend only on the second.
COUNTS: dict[str, Callable[[int], bytes]] = {"unix": unix, "rfc868": rfc868}

NAMES = ("sentence", *CALENDAR, *COUNTS, "nist")


def check_format(name: str) -> str:
    """
    Return the name unchanged if it is a format, or a `strftime:` pattern that can be served.

    Raises:
        ValueError: With the reason.
    """
    if name in NAMES:
        return name
    if not name.startswith(STRFTIME):
        raise ValueError(f"{name!r} is not a format; use one of {' '.join(NAMES)} or strftime:PATTERN")
    pattern = name[len(STRFTIME) :]
    if not pattern:
        raise ValueError("strftime: has no pattern; write, for example, strftime:%H:%M:%S")
    try:
        if len(pattern.encode()) > LONGEST_STRFTIME:
            raise ValueError(f"the pattern is longer than {LONGEST_STRFTIME} bytes")
        # a Wednesday in September has the longest names; for far too long a line the C library returns nothing
        if not 2 < len(strftime(pattern, time.gmtime(1_789_603_199), 1_789_603_199)) < LONGEST_STRFTIME + 2:
            raise ValueError(f"the reply would be empty or longer than {LONGEST_STRFTIME - 1} bytes")
    except ValueError as error:
        raise ValueError(f"{name[:40]!r} cannot be served: {error}") from None
    return name


def compile_format(name: str, zone: Zone, kernel: Callable[[], KernelClock]) -> Reply:
    """
    Return the function that renders the replies of one format in one zone.

    Args:
        name: A format that `check_format` accepts.
        zone: The zone of the calendar formats.
        kernel: Returns leap and health; only `nist` calls it, once a second.
    """
    if name == "sentence":
        return _compile_sentence(zone)
    if name in CALENDAR:
        calendar = CALENDAR[name]
        return _cache_second(lambda seconds: calendar(zone(seconds)))
    if name in COUNTS:
        return _cache_second(COUNTS[name])
    if name == "nist":
        return _cache_second(lambda seconds: nist(seconds, zone, kernel()))
    pattern = name[len(STRFTIME) :]
    return _cache_second(lambda seconds: strftime(pattern, zone(seconds), seconds))


def _cache_second(render: Callable[[int], bytes]) -> Reply:
    cached: int | None = None
    line = b""

    def reply(now_ns: int) -> bytes:
        nonlocal cached, line
        seconds = now_ns // NS
        if seconds != cached:
            line = render(seconds)
            cached = seconds
        return line

    return reply


def _compile_sentence(zone: Zone) -> Reply:
    # later than any value of time_ns()
    begin = 1 << 64
    head = tail = whole = b""

    def reply(now_ns: int) -> bytes:
        nonlocal begin, head, tail, whole
        nanoseconds = now_ns - begin
        if not 0 <= nanoseconds < NS:
            seconds, nanoseconds = divmod(now_ns, NS)
            head, tail = sentence_parts(zone(seconds))
            whole = head.replace(b"%", b"%%") + b".%09d" + tail.replace(b"%", b"%%")
            begin = seconds * NS
        # nine times in ten the last digit is not zero, and this path is faster
        return whole % nanoseconds if nanoseconds % 10 else head + fraction(nanoseconds) + tail

    return reply
