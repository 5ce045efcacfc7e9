"""Zones and the kernel clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from forbid import run_without
from format_table import AUTUMN_AFTER, AUTUMN_BEFORE, SPRING_AFTER, SPRING_BEFORE
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from daytimed import clock
from daytimed.clock import STA_DEL, STA_INS, STA_UNSYNC, KernelClock

ZONES = ("UTC", "America/New_York", "Europe/Berlin", "Asia/Kolkata", "America/Sao_Paulo", "Australia/Lord_Howe")


@pytest.fixture
def own_tz(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Let a test set TZ, and restore the zone of the C library afterwards."""
    yield monkeypatch
    monkeypatch.undo()
    time.tzset()


# -- zones -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (SPRING_BEFORE, (2026, 3, 8, 1, 59, 59, 6, 67, 0, "EST", -18_000)),
        (SPRING_AFTER, (2026, 3, 8, 3, 0, 0, 6, 67, 1, "EDT", -14_400)),
        (AUTUMN_BEFORE, (2026, 11, 1, 1, 59, 59, 6, 305, 1, "EDT", -14_400)),
        (AUTUMN_AFTER, (2026, 11, 1, 1, 0, 0, 6, 305, 0, "EST", -18_000)),
    ],
)
def test_change_of_the_clock(seconds: int, expected: tuple[object, ...]) -> None:
    """A zone changes its offset, name and daylight flag in the exact second of the change."""
    civil = clock.load_zone("America/New_York")(seconds)
    assert expected == (*civil, civil.tm_zone, civil.tm_gmtoff)


def test_utc() -> None:
    """UTC has the name UTC and the offset 0."""
    civil = clock.load_zone("UTC")(0)
    assert (1970, 1, 1, 0, 0, 0, 3, 1, "UTC", 0) == (*civil[:8], civil.tm_zone, civil.tm_gmtoff)
    assert civil.tm_isdst <= 0


@given(seconds=st.integers(0, 2**33), zone=st.sampled_from(ZONES))
def test_zone_agrees_with_the_standard_library(seconds: int, zone: str) -> None:
    """A zone returns the civil time, name and offset that zoneinfo returns."""
    civil = clock.load_zone(zone)(seconds)
    moment = datetime.fromtimestamp(seconds, ZoneInfo(zone))
    expected = (*moment.timetuple()[:8], moment.tzname(), moment.strftime("%z"))
    sign, rest = ("-", -civil.tm_gmtoff) if civil.tm_gmtoff < 0 else ("+", civil.tm_gmtoff)
    assert expected == (*civil[:8], civil.tm_zone, f"{sign}{rest // 3600:02}{rest // 60 % 60:02}")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seconds=st.integers(0, 2**32), zone=st.sampled_from(ZONES))
@example(seconds=SPRING_BEFORE, zone="America/New_York")
@example(seconds=SPRING_AFTER, zone="America/New_York")
@example(seconds=AUTUMN_BEFORE, zone="America/New_York")
@example(seconds=AUTUMN_AFTER, zone="America/New_York")
def test_local_zone_is_the_named_one(own_tz: pytest.MonkeyPatch, seconds: int, zone: str) -> None:
    """`local` with TZ=X equals X in every field: the C library and zoneinfo agree."""
    own_tz.setenv("TZ", zone)
    clock.read_local_zone()
    local, named = (clock.load_zone(each)(seconds) for each in ("local", zone))
    expected = (*named[:8], named.tm_isdst > 0, named.tm_zone, named.tm_gmtoff)
    assert expected == (*local[:8], local.tm_isdst > 0, local.tm_zone, local.tm_gmtoff)


def test_local_zone_is_that_of_the_last_look(own_tz: pytest.MonkeyPatch) -> None:
    """With TZ set, the local zone changes when it is reread, and only then."""
    own_tz.setenv("TZ", "UTC")
    local, seen = clock.load_zone("local"), []
    for name in ("Asia/Kolkata", "America/New_York"):
        own_tz.setenv("TZ", name)
        clock.load_zone("local")
        seen.append(local(0).tm_zone)
        clock.read_local_zone()
        seen.append(local(0).tm_zone)
    assert ["IST", "IST", "EST"] == seen[1:]


@pytest.mark.parametrize(
    "name",
    ["", "Local", "utc+1", "Europe/Berln", "America", "../etc/passwd", "/etc/localtime", "zone.tab", "a\0b", "\udcff"],
)
def test_unknown_zones_are_refused(name: str) -> None:
    """An unknown zone is rejected in one sentence that states which names are valid."""
    with pytest.raises(ValueError) as caught:
        clock.load_zone(name)
    assert (
        f"{name!r} is not a time zone on this system; "
        "use local, UTC or an IANA name such as Europe/Berlin (package tzdata)" == str(caught.value)
    )


@given(name=st.text(max_size=300))
def test_garbage_raises_nothing_but_value_error(name: str) -> None:
    """Any text is a zone or raises a ValueError, and no other error."""
    try:
        civil = clock.load_zone(name)(0)
    except ValueError:
        return
    assert (1969, 1970)[civil.tm_gmtoff >= 0] == civil.tm_year


# -- the kernel's clock ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "maxerror_us", "expected"),
    [
        (0, 0, KernelClock(0, 0)),
        (0, 999_999, KernelClock(0, 0)),
        (0, 1_000_000, KernelClock(0, 1)),
        (0, 4_999_999, KernelClock(0, 1)),
        (0, 5_000_000, KernelClock(0, 3)),
        (0, 16_000_000, KernelClock(0, 3)),
        (STA_UNSYNC, 0, KernelClock(0, 3)),
        (STA_INS, 0, KernelClock(1, 0)),
        (STA_DEL, 0, KernelClock(2, 0)),
        (STA_INS | STA_UNSYNC, 0, KernelClock(1, 3)),
        (STA_DEL, 2_000_000, KernelClock(2, 1)),
        (0x2001, 1000, KernelClock(0, 0)),
    ],
)
def test_judgement_of_the_kernel_clock(status: int, maxerror_us: int, expected: KernelClock) -> None:
    """Leap and health follow from the status bits and the maximum error."""
    assert expected == clock.judge_kernel_clock(status, maxerror_us)


def test_kernel_clock_is_read() -> None:
    """The kernel clock can be read and yields digits of the NIST code."""
    try:
        leap, health = clock.read_kernel_clock()
    except PermissionError:
        pytest.skip("adjtimex is not permitted here, as in some containers that build packages")
    assert (True, True) == (leap in {0, 1, 2}, health in {0, 1, 3})


def test_forbidden_question_is_an_unknown_clock() -> None:
    """Where the system forbids adjtimex (ProtectClock=yes), reading raises EPERM, and asking returns: error unknown."""
    script = """if True:
        import errno
        from daytimed import clock
        print(*clock.ask_kernel_clock())
        try:
            clock.read_kernel_clock()
        except OSError as error:
            print(errno.errorcode[error.errno])
    """
    assert "0 3\nEPERM\n" == run_without("NO_CLOCK", script)
