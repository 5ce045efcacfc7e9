"""
Zones as offsets from UTC: the possible meanings of a zone in a reply, and the zone assumed for a reply without one.

Civil seconds are a date and a time of day counted as if they were UTC: seconds since 1970-01-01 00:00.
"""

from __future__ import annotations

import re
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Offsets = Callable[[int], tuple[int, ...]]
    """From civil seconds to the possible offsets from UTC, in seconds: two where the zone changes its offset."""

_HOUR = 3600

#: The hours from UTC of zone names: those of RFC 5322, section 4.3, the alphabetic ones of the IANA database, and the
#: German ones. Of several meanings the first is that of RFC 5322, or else the most common one. Cuba's CST and CDT are
#: left out: a clock that is off by the hour of daylight-saving time would pass as a Cuban one.
NAMES: dict[str, tuple[float, ...]] = {
    "ACDT": (10.5,), "ACST": (9.5,), "ADT": (-3,), "AEDT": (11,), "AEST": (10,), "AKDT": (-8,), "AKST": (-9,),
    "AST": (-4,), "AWST": (8,), "BST": (1,), "CAT": (2,), "CDT": (-5,), "CEST": (2,), "CET": (1,), "CHST": (10,),
    "CST": (-6, 8), "EAT": (3,), "EDT": (-4,), "EEST": (3,), "EET": (2,), "EST": (-5,), "GMT": (0,), "HDT": (-9,),
    "HKT": (8,), "HST": (-10,), "IDT": (3,), "IST": (5.5, 2, 1), "JST": (9,), "KST": (9,), "MDT": (-6,), "MEST": (2,),
    "MESZ": (2,), "MET": (1,), "MEZ": (1,), "MSK": (3,), "MST": (-7,), "NDT": (-2.5,), "NST": (-3.5,), "NZDT": (13,),
    "NZST": (12,), "PDT": (-7,), "PKT": (5,), "PST": (-8, 8), "SAST": (2,), "SST": (-11,), "UT": (0,), "UTC": (0,),
    "WAT": (1,), "WEST": (1,), "WET": (0,), "WIB": (7,), "WIT": (9,), "WITA": (8,), "Z": (0,),
}  # fmt: skip


def offsets_of_name(name: str) -> tuple[int, ...]:
    """Return the offsets from UTC, in seconds, that a name may mean; none if it is unknown."""
    return tuple(round(hours * _HOUR) for hours in NAMES.get(name.upper(), ()))


def parse_digits(text: str) -> int | None:
    """Return the seconds of an offset written `+hh`, `+hhmm`, `+hh:mm`, `+h` or `+h:mm`, or None if it is invalid."""
    match = re.fullmatch(r"([+-])(?:(\d\d)(?::?(\d\d))?|(\d)(?::(\d\d))?)", text, re.ASCII)
    if match is None:
        return None
    hours, minutes = int(match[2] or match[4]), int(match[3] or match[5] or 0)
    # the farthest ever are -15:56:08, in Manila before 1845, and +15:13:42, in Alaska before 1867
    if hours > 15 or minutes > 59:
        return None
    return (hours * _HOUR + minutes * 60) * (-1 if match[1] == "-" else 1)


def load_offsets(name: str) -> Offsets:
    """
    Return the offsets of an assumed zone.

    Args:
        name: `local` (TZ or /etc/localtime), `UTC`, an offset as `+hh:mm`, or a name of the IANA database.

    Raises:
        ValueError: With the reason.
    """
    if name == "local":
        return lambda civil: _offsets_at(civil, _local_offset)
    if name.upper() == "UTC":
        return lambda civil: (0,)
    if name[:1] in {"+", "-"}:
        fixed = parse_digits(name)
        if fixed is None:
            raise ValueError(f"{name!r} is not an offset from UTC; use +hh:mm")
        return lambda civil: (fixed,)
    return _load_iana(name)


def _local_offset(seconds: int) -> int:
    return time.localtime(seconds).tm_gmtoff


def _load_iana(name: str) -> Offsets:
    # not for runs with the local zone
    from datetime import UTC, datetime
    from zoneinfo import ZoneInfo

    try:
        zone = ZoneInfo(name)
    except (OSError, ValueError, LookupError):
        raise ValueError(f"{name!r} is not a zone; use local, UTC, +hh:mm or a name like Europe/Berlin") from None

    def offset(seconds: int) -> int:
        away = datetime.fromtimestamp(seconds, UTC).astimezone(zone).utcoffset()
        return round(away.total_seconds()) if away else 0

    return lambda civil: _offsets_at(civil, offset)


def _offsets_at(civil: int, offset: Callable[[int], int]) -> tuple[int, ...]:
    """Return the offsets that are possible at a civil time, given a function from instants to offsets."""
    try:
        around = {offset(civil - 86400), offset(civil + 86400)}
        # a clock that goes forward skips times; one of these is read with either offset
        return tuple(sorted(each for each in around if offset(civil - each) == each)) or tuple(sorted(around))
    except (OverflowError, ValueError, OSError):
        return (0,)
