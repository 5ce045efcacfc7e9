"""
Parsers of replies: they find the instant that the bytes of a reply name, for every known daytime server.

RFC 867 leaves the format to the server, so each family of replies has its own pattern. The first pattern found anywhere
in the reply decides, whatever surrounds it. The functions are pure and do not raise. A long reply is refused unread, so
no reply takes long.

A pattern is compiled only when its turn comes: most runs need one.
"""

from __future__ import annotations

import re

from daytimed.formats import EPOCH_1900, NS
from daytimed.probe.families import ANY_CLOCK, FAMILIES
from daytimed.probe.reading import Reading, RefusedError, quote, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from daytimed.probe.families import Family
    from daytimed.probe.zones import Offsets

#: More than any line with a banner around it. A longer reply is something else.
LONGEST_REPLY = 2048
#: The range of RFC 3339: the years 1 to 9999.
_FIRST_NS, _END_NS = -62_135_596_800 * NS, 253_402_300_800 * NS


class Unreadable:
    """A reply that names no instant, with the reason."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason


def parse(reply: bytes, now_ns: int, zone: Offsets, dropped: int = 0) -> Reading | Unreadable:
    """
    Find the instant that a reply names.

    Args:
        reply: The reply.
        now_ns: Ambiguities are resolved to the instant nearest to this; nanoseconds since 1970-01-01 UTC.
        zone: Assumed if the reply names none.
        dropped: How many bytes followed that were not kept.

    Returns:
        A `Reading`, or an `Unreadable` with the reason. Never raises.
    """
    size = len(reply) + dropped
    if size > LONGEST_REPLY:
        return Unreadable(f"it has {size} bytes; a daytime reply has at most {LONGEST_REPLY}")
    try:
        reading = _parse_binary(reply, now_ns) or _parse_text(reply, now_ns, zone)
    except RefusedError as error:
        return Unreadable(str(error))
    if not _FIRST_NS <= reading.instant_ns < _END_NS:
        return Unreadable(f"the time is outside the years 1 to 9999: {quote(reply.strip())}")
    return reading


# -- binary ----------------------------------------------------------------------------------------------------------


def _parse_binary(reply: bytes, now_ns: int) -> Reading | None:
    """Read RFC 868: four bytes, or eight from servers that send a `long`, with the value in either half."""
    if len(reply) not in {4, 8} or all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in reply):
        return None
    if len(reply) == 4 or reply[4:] == b"\0\0\0\0":
        return _read_rfc868(int.from_bytes(reply[:4], "big"), now_ns)
    if reply[:4] != b"\0\0\0\0":
        return None
    value = int.from_bytes(reply[4:], "big")
    since_1900 = _read_rfc868(value, now_ns)
    # some servers send Unix time in 64 bits
    since_1970 = Reading("unix", value * NS, NS, "UTC")
    return min(since_1900, since_1970, key=lambda reading: abs(reading.instant_ns - now_ns))


def _read_rfc868(value: int, now_ns: int) -> Reading:
    # 32 bits wrap every 136 years
    seconds = value - EPOCH_1900
    turns = round((now_ns // NS - seconds) / (1 << 32))
    return Reading("rfc868", (seconds + (turns << 32)) * NS, NS, "UTC")


# -- text ------------------------------------------------------------------------------------------------------------


def _parse_text(reply: bytes, now_ns: int, zone: Offsets) -> Reading:
    text = reply.lstrip(b"\0 \t\r\n").partition(b"\0")[0].rstrip()
    if not text:
        raise RefusedError("it is blank" if reply else "it is empty")
    # newer versions of Windows put no-break spaces before AM and PM
    text = text.replace(b"\xe2\x80\xaf", b" ").replace(b"\xc2\xa0", b" ")
    if text.startswith(b"HTTP/"):
        raise RefusedError("it is an HTTP response")
    found = None
    rest = text
    for family in FAMILIES:
        # most replies match one family and have no other time; if the rest may be a time, it must be the same one
        if found is not None and not re.search(ANY_CLOCK, rest):
            break
        reading, rest = _search(family, rest, now_ns, zone)
        if found is not None and reading is not None and found.instant_ns != reading.instant_ns:
            raise RefusedError(f"it contains different times: {quote(text)}")
        found = found or reading
    if found is not None:
        return found
    raise RefusedError(f"it contains no date with a time: {quote(text)}")


def _search(family: Family, text: bytes, now_ns: int, zone: Offsets) -> tuple[Reading | None, bytes]:
    """Return the reading of one family, if any, and the text without it."""
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
        reading = read(name, match, text, now_ns, zone)
        if reading is None:
            continue
        if found is not None and found.instant_ns != reading.instant_ns:
            raise RefusedError(f"it contains different times: {quote(text)}")
        found = reading
    return found, re.sub(pattern, b" ", text, flags=re.IGNORECASE) if found else text
