"""The Gregorian calendar: dates and day numbers, for every year that a reply can name."""

from __future__ import annotations

_NS = 1_000_000_000


def days_from_civil(year: int, month: int, day: int) -> int:
    """Return the days from 1970-01-01 to a date."""
    # years begin in March, so that the leap day is the last day
    year -= month <= 2
    days_of_months = (153 * ((month + 9) % 12) + 2) // 5
    return year * 365 + year // 4 - year // 100 + year // 400 + days_of_months + day - 719_469


def civil_from_days(days: int) -> tuple[int, int, int]:
    """Return the date that is a number of days after 1970-01-01."""
    # begin at or below the year, then step up
    year = 1970 + days // (366 if days >= 0 else 365)
    while days_from_civil(year + 1, 1, 1) <= days:
        year += 1
    month = 12
    while days_from_civil(year, month, 1) > days:
        month -= 1
    return year, month, days - days_from_civil(year, month, 1) + 1


def is_date(year: int, month: int, day: int) -> bool:
    """Return whether the date exists."""
    return 1 <= month <= 12 and civil_from_days(days_from_civil(year, month, day)) == (year, month, day)


def rfc3339(instant_ns: int, resolution_ns: int) -> str:
    """Return an instant in UTC, as in RFC 3339, with the digits that the resolution allows."""
    seconds, fraction = divmod(instant_ns, _NS)
    days, clock = divmod(seconds, 86400)
    year, month, day = civil_from_days(days)
    # resolutions are powers of ten
    digits = len(str(_NS // resolution_ns)) - 1 if resolution_ns < _NS else 0
    part = f".{fraction:09}"[: digits + 1] if digits else ""
    return f"{year:04}-{month:02}-{day:02}T{clock // 3600:02}:{clock // 60 % 60:02}:{clock % 60:02}{part}Z"
