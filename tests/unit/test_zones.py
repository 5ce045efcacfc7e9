"""Offsets from UTC: names, digits, and assumed zones."""

from __future__ import annotations

import time
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from daytimed.probe import zones

HOUR = 3600


def civil(year: int, month: int, day: int, hour: int, minute: int = 0) -> int:
    return int(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp())


def test_names_of_the_database() -> None:
    """Every abbreviation in current use in the IANA database is known, with all its offsets."""
    missing = set()
    for key in zoneinfo.available_timezones():
        zone = zoneinfo.ZoneInfo(key)
        for month in (1, 7):
            there = datetime(2026, month, 15, tzinfo=UTC).astimezone(zone)
            name, away = there.tzname() or "", there.utcoffset()
            assert away is not None
            if name.isalpha() and not key.startswith(("Etc/", "Factory")) and key != "localtime":
                offset = round(away.total_seconds())
                # Cuba's would let a clock pass that is off by an hour
                if offset not in zones.offsets_of_name(name) and key not in {"America/Havana", "Cuba"}:
                    missing.add((name, offset / HOUR, key))
    assert missing == set()


@pytest.mark.parametrize(
    ("name", "hours"),
    [("UT", 0), ("GMT", 0), ("EST", -5), ("EDT", -4), ("CST", -6), ("CDT", -5), ("MST", -7), ("MDT", -6), ("PST", -8),
     ("PDT", -7), ("Z", 0)],
)  # fmt: skip
def test_names_of_rfc5322(name: str, hours: int) -> None:
    """The meaning that RFC 5322, section 4.3, gives to a name comes first."""
    assert zones.offsets_of_name(name)[0] == hours * HOUR


def test_names_that_are_not_known() -> None:
    """An unknown name has no offset; the case of a known one does not matter."""
    assert (zones.offsets_of_name("ROME"), zones.offsets_of_name("cest")) == ((), (2 * HOUR,))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("+05:30", 19800), ("+5:30", 19800), ("+:12", None), ("+0:5:3:0", None),
      ("-0330", -12600), ("+02", 7200), ("-3", -10800), ("+00:00", 0), ("+1545", 56700), ("+16", None),
     ("+0560", None), ("0530", None), ("", None), ("+", None), ("+5:3", None), ("+123", None), ("+٢٢", None)],
)  # fmt: skip
def test_digits(text: str, seconds: int | None) -> None:
    """An offset is a sign and one, two or four digits, and no farther from UTC than any zone was."""
    assert zones.parse_digits(text) == seconds


@pytest.fixture(params=["local", "America/New_York"])
def new_york(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[zones.Offsets]:
    """New York, as the local zone and by name."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "America/New_York")
        time.tzset()
        yield zones.load_offsets(request.param)
    time.tzset()


def test_changes_of_the_clock(new_york: zones.Offsets) -> None:
    """A time has one offset; an hour that is repeated or skipped has two."""
    assert new_york(civil(2026, 1, 15, 12)) == (-5 * HOUR,)
    assert new_york(civil(2026, 7, 15, 12)) == (-4 * HOUR,)
    assert new_york(civil(2026, 3, 8, 1, 59)) == (-5 * HOUR,)
    assert new_york(civil(2026, 3, 8, 3)) == (-4 * HOUR,)
    assert new_york(civil(2026, 3, 8, 2, 30)) == (-5 * HOUR, -4 * HOUR)
    assert new_york(civil(2026, 11, 1, 0, 59)) == (-4 * HOUR,)
    assert new_york(civil(2026, 11, 1, 1, 30)) == (-5 * HOUR, -4 * HOUR)
    assert new_york(civil(2026, 11, 1, 2)) == (-5 * HOUR,)


def test_far_years(new_york: zones.Offsets) -> None:
    """Years far from now have an offset too."""
    for year in (1, 1900, 9999):
        assert all(abs(each) <= 6 * HOUR for each in new_york(civil(year, 6, 1, 12)))


def test_fixed_zones() -> None:
    """UTC and a fixed offset never change."""
    assert [zones.load_offsets(name)(0) for name in ("UTC", "+05:30", "-03")] == [(0,), (19800,), (-10800,)]


@pytest.mark.parametrize("name", ["", "Nowhere", "../etc/passwd", "/etc/localtime", "+99", "-", "Europe", "\0"])
def test_unknown_zones(name: str) -> None:
    """An unknown zone is refused; the message names the possible ones."""
    with pytest.raises(ValueError, match=r"use \+hh:mm|use local, UTC, \+hh:mm or a name like Europe/Berlin"):
        zones.load_offsets(name)
