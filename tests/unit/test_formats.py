"""The bytes of every format."""

from __future__ import annotations

import locale
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import format_table
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from unit_help import NS

from daytimed import clock, formats
from daytimed.clock import KernelClock, Zone

GOOD_CLOCK = KernelClock(leap=0, health=0)
ZONES = ("UTC", "America/New_York", "Asia/Kolkata", "America/Sao_Paulo", "Australia/Lord_Howe")
#: From 1970 to 2106, the range in which every format is defined.
SECONDS = st.integers(0, 2**32 + 10_000)
INSTANTS = st.integers(0, (2**32 + 10_000) * NS)


def compiled(name: str, zone: str) -> formats.Reply:
    return formats.compile_format(name, clock.load_zone(zone), lambda: GOOD_CLOCK)


def uncached(name: str, zone: Zone, now_ns: int) -> bytes:
    """Render a reply without the cache."""
    seconds, nanoseconds = divmod(now_ns, NS)
    if name == "sentence":
        head, tail = formats.sentence_parts(zone(seconds))
        return head + formats.fraction(nanoseconds) + tail
    if name in formats.CALENDAR:
        return formats.CALENDAR[name](zone(seconds))
    if name in formats.COUNTS:
        return formats.COUNTS[name](seconds)
    if name == "nist":
        return formats.nist(seconds, zone, GOOD_CLOCK)
    return formats.strftime(name.removeprefix("strftime:"), zone(seconds), seconds)


# -- the bytes of every format ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", format_table.ROWS, ids=lambda row: f"{row.format}-{row.zone}-{row.instant_ns}")
def test_bytes_of_the_table(row: format_table.Row) -> None:
    """A compiled format produces exactly the bytes of its example."""
    assert row.reply == compiled(row.format, row.zone)(row.instant_ns)


def test_table_has_every_format() -> None:
    """Every format has an example."""
    assert {*formats.NAMES, "strftime"} == {row.format.partition(":")[0] for row in format_table.ROWS}


def test_names_are_those_of_the_design() -> None:
    """The names of the formats, which are an interface, have not changed."""
    expected = {"sentence", "rfc867", "smtp", "ctime", "xinetd", "iso8601", "unix", "nist", "rfc868"}
    assert expected == set(formats.NAMES)


@pytest.mark.parametrize("name", [name for name in formats.NAMES if name != "sentence"])
def test_fraction_belongs_to_the_sentence_alone(name: str) -> None:
    """In every other format, the first and the last nanosecond of a second give the same reply."""
    start = format_table.DESIGN_UTC * NS
    assert compiled(name, "UTC")(start) == compiled(name, "UTC")(start + NS - 1)


@pytest.mark.parametrize(
    ("nanoseconds", "expected"),
    [
        (0, b""),
        (1, b".000000001"),
        (10, b".00000001"),
        (100_000_000, b".1"),
        (120_000_000, b".12"),
        (999_999_999, b".999999999"),
        (999_000_000, b".999"),
    ],
)
def test_fraction_has_no_trailing_zeros(nanoseconds: int, expected: bytes) -> None:
    """The fraction looks as Go prints it."""
    assert expected == formats.fraction(nanoseconds)


@given(nanoseconds=st.integers(0, NS - 1))
@example(nanoseconds=0)
def test_fraction_parses_back(nanoseconds: int) -> None:
    """The sentence keeps every nanosecond and adds no zero."""
    reply = compiled("sentence", "UTC")(format_table.DESIGN_UTC * NS + nanoseconds)
    time_of_day = reply.split()[5].decode()
    digits = time_of_day.partition(".")[2]
    assert nanoseconds == int(digits.ljust(9, "0") or "0")
    assert not digits.endswith("0")


@given(seconds=SECONDS, zone=st.sampled_from(ZONES))
def test_sentence_states_the_instant(seconds: int, zone: str) -> None:
    """Date, time and offset of the sentence are enough to recover the instant."""
    words = compiled("sentence", zone)(seconds * NS).decode().split()
    assert seconds == int(datetime.strptime(" ".join(words[4:7]), "%Y-%m-%d %H:%M:%S %z").timestamp())


@pytest.mark.parametrize("now_ns", [-1, -NS // 2, -NS, -NS - 1])
def test_first_sentence_may_be_of_a_second_before_1970(now_ns: int) -> None:
    """The first reply of a worker is right for any instant: the cache starts empty."""
    assert compiled("sentence", "UTC")(now_ns) == uncached("sentence", clock.load_zone("UTC"), now_ns)


@given(seconds=SECONDS, zone=st.sampled_from(ZONES))
def test_iso8601_parses_back(seconds: int, zone: str) -> None:
    """The standard library parses an ISO 8601 reply back to its second."""
    reply = compiled("iso8601", zone)(seconds * NS).decode()
    assert seconds == int(datetime.fromisoformat(reply.removesuffix("\r\n")).timestamp())


@given(seconds=SECONDS)
def test_rfc868_decodes_modulo_its_range(seconds: int) -> None:
    """The four bytes are the lowest 32 bits of the seconds since 1900."""
    since_1900 = seconds + int((datetime(1970, 1, 1, tzinfo=UTC) - datetime(1900, 1, 1, tzinfo=UTC)).total_seconds())
    reply = compiled("rfc868", "UTC")(seconds * NS)
    assert (4, since_1900 % 2**32) == (len(reply), int.from_bytes(reply, "big"))


@given(seconds=SECONDS, zone=st.sampled_from(ZONES))
def test_ctime_parses_back(seconds: int, zone: str) -> None:
    """A ctime reply has 26 bytes, and strptime parses it back to the civil time of its zone."""
    reply = compiled("ctime", zone)(seconds * NS)
    civil = datetime.fromtimestamp(seconds, ZoneInfo(zone))
    read = time.strptime(reply.decode(), "%a %b %d %H:%M:%S %Y\r\n")
    assert (26, civil.timetuple()[:8]) == (len(reply), read[:8])


@given(seconds=SECONDS)
def test_unix_parses_back(seconds: int) -> None:
    """The reply is the decimal number of seconds and a line end."""
    assert f"{seconds}\r\n".encode() == compiled("unix", "UTC")(seconds * NS)


@pytest.mark.parametrize(
    ("seconds", "plain", "separated"),
    [
        (0, "+0000", "+00:00"),
        (19_800, "+0530", "+05:30"),
        (-10_800, "-0300", "-03:00"),
        (-12_600, "-0330", "-03:30"),
        (50_400, "+1400", "+14:00"),
        (20_700, "+0545", "+05:45"),
        (1_172, "+0019", "+00:19"),
        (-17_762, "-0456", "-04:56"),
    ],
)
def test_offset_digits(seconds: int, plain: str, separated: str) -> None:
    """An offset has a sign, hours and minutes; its seconds are truncated towards zero."""
    assert (plain, separated) == (formats.offset_digits(seconds), formats.offset_digits(seconds, ":"))


# -- the one-second cache --------------------------------------------------------------------------------------------


@given(
    instants=st.lists(INSTANTS, min_size=1, max_size=12),
    steps=st.lists(st.sampled_from([-3600 * NS, -NS, -1, 0, 1, NS - 1, NS, 86400 * NS]), max_size=12),
    name=st.sampled_from([*formats.NAMES, "strftime:%c %z %Z %s"]),
    zone=st.sampled_from(ZONES),
)
def test_stepped_clock_never_shows_a_stale_time(instants: list[int], steps: list[int], name: str, zone: str) -> None:
    """After any step, forward or back, a reply shows the current instant."""
    for step in steps:
        instants.append(max(0, instants[-1] + step))
    reply, civil = compiled(name, zone), clock.load_zone(zone)
    assert [uncached(name, civil, each) for each in instants] == [reply(each) for each in instants]


def test_second_is_rendered_once() -> None:
    """The zone is called once a second, for any number of replies."""
    asked: list[int] = []
    utc = clock.load_zone("UTC")

    def counting(seconds: int) -> time.struct_time:
        asked.append(seconds)
        return utc(seconds)

    for name in ("sentence", "ctime"):
        reply = formats.compile_format(name, counting, lambda: GOOD_CLOCK)
        for nanoseconds in (0, 1, NS - 1, NS):
            reply(5 * NS + nanoseconds)
    assert [5, 6, 5, 6] == asked


def test_kernel_is_asked_once_a_second_by_nist_alone() -> None:
    """Only `nist` reads the kernel clock, once a second."""
    asked: list[str] = []

    def kernel_for(name: str) -> Callable[[], KernelClock]:
        def ask() -> KernelClock:
            asked.append(name)
            return GOOD_CLOCK

        return ask

    for name in formats.NAMES:
        reply = formats.compile_format(name, clock.load_zone("UTC"), kernel_for(name))
        for now in (0, 1, NS - 1, NS):
            reply(now)
    assert ["nist", "nist"] == asked


# -- nist ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leap", [0, 1, 2])
@pytest.mark.parametrize("health", [0, 1, 3])
def test_nist_states_leap_and_health(leap: int, health: int) -> None:
    """The leap second and the health of the kernel clock are in their fields."""
    reply = formats.nist(format_table.DESIGN_UTC, clock.load_zone("UTC"), KernelClock(leap, health))
    assert f"\n61366 26-11-22 12:00:00 00 {leap} {health} 0.0 UTC(daytimed) * \n".encode() == reply


@given(seconds=SECONDS, zone=st.sampled_from(ZONES))
def test_nist_states_the_day_in_utc(seconds: int, zone: str) -> None:
    """The Modified Julian Date and the date are in UTC, in any zone of the listener."""
    fields = formats.nist(seconds, clock.load_zone(zone), GOOD_CLOCK).decode().split()
    days = (datetime.fromtimestamp(seconds, UTC).date() - date(1858, 11, 17)).days
    assert [str(days), *time.strftime("%y-%m-%d %H:%M:%S", time.gmtime(seconds)).split()] == fields[:3]


def at(zone: str, text: str, fold: int = 0) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp())


@pytest.mark.parametrize(
    ("zone", "local", "fold", "expected"),
    [
        ("America/New_York", "2025-02-28 23:59:59", 0, 0),
        ("America/New_York", "2025-03-01 00:00:00", 0, 59),
        ("America/New_York", "2025-03-08 23:59:59", 0, 52),
        ("America/New_York", "2025-03-09 00:00:00", 0, 51),
        ("America/New_York", "2025-03-09 01:59:59", 0, 51),
        ("America/New_York", "2025-03-09 03:00:00", 0, 50),
        ("America/New_York", "2025-03-31 12:00:00", 0, 50),
        ("America/New_York", "2025-10-31 23:59:59", 0, 50),
        ("America/New_York", "2025-11-01 00:00:00", 0, 2),
        ("America/New_York", "2025-11-02 00:00:00", 0, 1),
        ("America/New_York", "2025-11-02 01:59:59", 0, 1),
        ("America/New_York", "2025-11-02 01:00:00", 1, 0),
        ("America/New_York", "2025-11-30 12:00:00", 0, 0),
        ("Europe/Berlin", "2026-03-01 00:00:00", 0, 79),
        ("Europe/Berlin", "2026-10-01 00:00:00", 0, 25),
        ("Europe/Berlin", "2026-10-25 02:59:59", 0, 1),
        ("Europe/Berlin", "2026-10-31 23:59:59", 0, 0),
        ("Asia/Kolkata", "2026-03-08 12:00:00", 0, 0),
        ("UTC", "2026-07-01 12:00:00", 0, 0),
    ],
)
def test_daylight_code(zone: str, local: str, fold: int, expected: int) -> None:
    """In the month of a change, the code counts down: to 1 at the end of daylight-saving time, to 51 at its start."""
    assert expected == formats.daylight_code(at(zone, local, fold), clock.load_zone(zone))


@given(day=st.dates(date(2007, 1, 1), date(2037, 12, 31)), hour=st.integers(0, 23))
def test_daylight_code_names_the_day_of_the_change(day: date, hour: int) -> None:
    """A counting code points at the day of the change; 0 and 50 state which time the rest of the month has."""
    zone = ZoneInfo("America/New_York")
    seconds = int(datetime(day.year, day.month, day.day, hour, tzinfo=zone).timestamp())
    # by way of the timestamp: an hour that the clock skips becomes a valid one
    daylight = bool(datetime.fromtimestamp(seconds, zone).dst())
    code = formats.daylight_code(seconds, clock.load_zone("America/New_York"))

    def is_daylight(that: date) -> bool:
        return bool(datetime(that.year, that.month, that.day, tzinfo=zone).dst())

    if code in (0, 50):
        rest_of_month = [each for each in (day + timedelta(days) for days in range(1, 31)) if each.month == day.month]
        assert (50 if daylight else 0) == code
        assert [] == [each for each in rest_of_month if is_daylight(each) != daylight]
    else:
        change = day + timedelta(code % 50 - 1)
        assert (change.month, code > 50, code < 50) == (
            day.month,
            is_daylight(change + timedelta(1)),
            is_daylight(change),
        )


# -- strftime --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("directive", ["%Es", "%Os", "%-s", "%_s", "%12s"])
def test_seconds_are_those_of_the_instant_whatever_the_modifier(directive: str) -> None:
    """`%s` with any flag, width or modifier is the second of the instant, not one in the zone of this process."""
    reply = compiled(f"strftime:{directive}", "Asia/Kolkata")(format_table.DESIGN_UTC * NS)
    assert b"1795348800" == reply.strip().lstrip(b"0")


@pytest.mark.parametrize("width", ["", "1", "12"])
@pytest.mark.parametrize("flag", ["", "-", "_", "0", "^", "#"])
def test_flags_and_widths_are_those_of_the_c_library(flag: str, width: str) -> None:
    """Names have the case and the padding of the C library in the C locale, which is the default here."""
    # glibc keeps %P in lower case with every flag
    names = "aAbBhpcxXr" if flag in ("^", "#") else "aAbBhpcxXrP"
    seconds = format_table.SINGLE_DIGIT
    expected = {name: time.strftime(f"<%{flag}{width}{name}>", time.gmtime(seconds)) for name in names}
    # Python 3.13 ignores the flags of %Z, glibc does not
    zone = "gmt" if flag == "#" else "GMT"
    expected["Z"] = f"<{zone.rjust(int(width or 0), '0' if flag == '0' else ' ')}>"
    found = {name: formats.strftime(f"<%{flag}{width}{name}>", time.gmtime(seconds), seconds) for name in expected}
    assert expected == {name: reply.decode().removesuffix("\r\n") for name, reply in found.items()}


def test_sign_of_percent_in_a_zone_name_stays_one() -> None:
    """A substituted value is never interpreted as a directive."""
    odd = time.struct_time((2026, 11, 22, 12, 0, 0, 6, 326, 0, "%Y%%", 0))
    assert b"%Y%%|2026\r\n" == formats.strftime("%Z|%Y", odd, 0)


def test_longest_reply_is_cut() -> None:
    """A line that a long zone name extends is cut to 512 bytes and a line end."""
    odd = time.struct_time((2026, 11, 22, 12, 0, 0, 6, 326, 0, "Z" * 600, 0))
    assert b"Z" * 512 + b"\r\n" == formats.strftime("%Z", odd, 0)


@given(text=st.text(st.one_of(st.sampled_from("%%%^EO-_0#aAbBcxXprzZsdHMSY 5"), st.characters()), max_size=20))
@example(text="%0%z10z")
def test_served_patterns_are_lines(text: str) -> None:
    """Any pattern is rejected in a printable line, or always produces a line of at most 514 bytes."""
    try:
        name = formats.check_format(f"strftime:{text}")
    except ValueError as error:
        assert str(error).isprintable()
        return
    replies = [compiled(name, zone)(row.instant_ns) for row in format_table.CTIME for zone in ZONES]
    assert [] == [reply for reply in replies if not reply.endswith(b"\r\n") or not 2 < len(reply) <= 514]


# -- check_format ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*formats.NAMES, "strftime:%H", "strftime: ", "strftime:" + "a" * 511])
def test_good_formats_pass(name: str) -> None:
    """A format that can be served is returned unchanged."""
    assert name == formats.check_format(name)


NO_FORMAT = "is not a format; use one of sentence rfc867 smtp ctime xinetd iso8601 unix rfc868 nist or strftime:PATTERN"
TOO_LONG_LINE = "cannot be served: the reply would be empty or longer than 511 bytes"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", f"'' {NO_FORMAT}"),
        ("Sentence", f"'Sentence' {NO_FORMAT}"),
        ("strftime", f"'strftime' {NO_FORMAT}"),
        ("strftime:", "strftime: has no pattern; write, for example, strftime:%H:%M:%S"),
        ("strftime:" + "a" * 512, f"'strftime:{'a' * 31}' {TOO_LONG_LINE}"),
        (
            "strftime:" + "a" * 513,
            f"'strftime:{'a' * 31}' cannot be served: the pattern is longer than 512 bytes",
        ),
        (
            "strftime:" + "\u00e9" * 257,
            f"'strftime:{chr(0xE9) * 31}' cannot be served: the pattern is longer than 512 bytes",
        ),
        ("strftime:%600d", f"'strftime:%600d' {TOO_LONG_LINE}"),
        ("strftime:%999999d", f"'strftime:%999999d' {TOO_LONG_LINE}"),
        ("strftime:" + "%A" * 60, f"'strftime:{'%A' * 15}%' {TOO_LONG_LINE}"),
    ],
    ids=lambda value: value[:30],
)
def test_bad_formats_are_refused(name: str, expected: str) -> None:
    """A format that cannot be served is rejected with the reason."""
    with pytest.raises(ValueError) as caught:
        formats.check_format(name)
    assert expected == str(caught.value)


def test_longest_name_decides() -> None:
    """A pattern passes only if it fits on a Wednesday in September, on any day of the check."""
    fits, fits_not = "strftime:" + "%A" * 56 + "1234567", "strftime:" + "%A" * 56 + "12345678"
    assert fits == formats.check_format(fits)
    with pytest.raises(ValueError, match="longer than 511 bytes"):
        formats.check_format(fits_not)


def test_bytes_that_are_no_text_are_refused() -> None:
    """A pattern with bytes that are not UTF-8 is rejected, not sent."""
    with pytest.raises(ValueError, match="cannot be served"):
        formats.check_format("strftime:\udcff%H")


def test_pattern_with_a_nul_is_never_cut() -> None:
    """A NUL does not truncate a reply: the pattern is rejected or, from Python 3.14, served in full."""
    name = "strftime:a\0b"
    try:
        formats.check_format(name)
    except ValueError as error:
        assert "'strftime:a\\x00b' cannot be served: embedded null character" == str(error)
    else:
        assert b"a\0b\r\n" == compiled(name, "UTC")(0)


# -- English in any locale -------------------------------------------------------------------------------------------

FOREIGN_LOCALES = ("de_DE.UTF-8", "fr_FR.UTF-8", "de_DE.utf8", "fr_FR.utf8")


@pytest.fixture
def foreign_locale() -> Iterator[str]:
    before = locale.setlocale(locale.LC_ALL)
    for name in FOREIGN_LOCALES:
        try:
            locale.setlocale(locale.LC_ALL, name)
        except locale.Error:
            continue
        break
    else:
        pytest.skip(f"none of {' '.join(FOREIGN_LOCALES)} is installed")
    yield name
    locale.setlocale(locale.LC_ALL, before)


def test_names_are_english_in_any_locale(foreign_locale: str) -> None:
    """In a locale with other names of days, every reply has the bytes of the table."""
    assert time.strftime("%A", time.gmtime(format_table.SINGLE_DIGIT)) != "Thursday", foreign_locale
    replies = [compiled(row.format, row.zone)(row.instant_ns) for row in format_table.ROWS]
    assert [row.reply for row in format_table.ROWS] == replies
