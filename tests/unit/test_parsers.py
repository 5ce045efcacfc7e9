"""The parsers of the probe: every family of replies, ambiguities, refusals, and robustness."""

from __future__ import annotations

import re
import time
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
import unit_help  # noqa: F401 - its settings of hypothesis
from format_table import NS, ROWS, Row
from hypothesis import example, given
from hypothesis import strategies as st
from reply_table import EXAMPLES, Example

from daytimed.probe import civil, parsers, zones
from daytimed.probe.civil import rfc3339
from daytimed.probe.parsers import Unreadable, parse
from daytimed.probe.reading import Reading

NOW = 1_795_348_800 * NS  # 2026-11-22 12:00:00 UTC
UTC_ZONE = zones.load_offsets("UTC")


def read(reply: bytes, now_ns: int = NOW, zone: str = "UTC") -> Reading:
    """Read a reply that must be readable."""
    found = parse(reply, now_ns, zones.load_offsets(zone))
    assert isinstance(found, Reading), found.reason
    return found


def refusal(reply: bytes) -> str:
    """Return the reason for refusing a reply that must be refused."""
    found = parse(reply, NOW, UTC_ZONE)
    assert isinstance(found, Unreadable), found.format
    return found.reason


# -- the table of known replies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", EXAMPLES, ids=lambda row: f"{row.family}-{row.source[:30]}")
def test_reply_of_the_world(row: Example) -> None:
    """Each reply of the table is read to its instant, zone and resolution, or refused."""
    found = parse(row.reply, row.now * NS, UTC_ZONE)
    if row.format is None:
        assert isinstance(found, Unreadable), (found.format, found.instant_ns)
        assert found.reason.isprintable()
        return
    assert isinstance(found, Reading), found.reason
    assert (row.format, row.zone) == (found.format, found.zone)
    assert row.instant == rfc3339(found.instant_ns, found.resolution_ns)
    assert Decimal(row.resolution or 0) * NS == found.resolution_ns
    assert row.noted == bool(found.notes), found.notes
    assert (row.health, row.leap) == (found.health, found.leap)
    assert Decimal(row.advance_ms or 0) * 1_000_000 == found.advance_ns


def test_every_family_has_examples_from_two_places() -> None:
    """Every family has examples from at least two sources, and every format has an example."""
    sources: dict[str, set[str]] = {}
    for row in EXAMPLES:
        sources.setdefault(row.family, set()).add(row.source)
    assert [] == [family for family, places in sources.items() if len(places) < 2]
    families = Counter(row.format for row in EXAMPLES)
    known = {*(row.format for row in ROWS if not row.format.startswith("strftime:")), "rfc2822", "windows", "numeric"}
    assert set() == known - set(families)


# -- our own formats -------------------------------------------------------------------------------------------------

#: A strftime pattern may leave out parts of the instant, so it cannot be read back.
OURS = [row for row in ROWS if not row.format.startswith("strftime:")]


@pytest.mark.parametrize("row", OURS, ids=lambda row: f"{row.format}-{row.zone}-{row.instant_ns}")
def test_reply_of_ours(row: Row) -> None:
    """The parser reads every format of daytimed back to the instant, within its resolution."""
    found = read(row.reply, row.instant_ns, row.zone)
    assert row.format == found.format
    assert found.instant_ns <= row.instant_ns < found.instant_ns + found.resolution_ns


@pytest.mark.parametrize(
    "pattern",
    ["%c", "%d/%b/%Y:%T %z", "%d.%m.%Y %H:%M:%S", "%A, %d %B %Y %T %z", "%F %R", "%s", "%D %r", "%I:%M:%S %P %Y/%m/%d"],
)
def test_patterns_of_ours(pattern: str) -> None:
    """Common strftime patterns with a date and a time can be read."""
    from daytimed.formats import strftime

    line = strftime(pattern, time.gmtime(NOW // NS), NOW // NS)
    assert NOW == read(line).instant_ns


@pytest.mark.parametrize(
    ("reply", "instant"),
    [
        # the zero value of Go's time.Time
        (b"0001-01-01 00:00:00 +0000 UTC", "0001-01-01T00:00:00Z"),
        (b"1 JAN 0001 00:00:00 UTC", "0001-01-01T00:00:00Z"),
        (b"Mon Jan  1 00:00:00 0001", "0001-01-01T00:00:00Z"),
        (b"9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
        (b"99999999999", "5138-11-16T09:46:39Z"),
        (b"\0\0\0\0\xff\xff\xff\xff", "2036-02-07T06:28:15Z"),
    ],
)
def test_far_instants(reply: bytes, instant: str) -> None:
    """Years far from now are read like any other."""
    assert instant == rfc3339(read(reply).instant_ns, NS)


# -- ambiguity -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "instant", "note"),
    [
        (
            b"12:00:00 11/10/2026",
            "2026-11-10T12:00:00Z",
            "day and month are ambiguous: assuming 2026-11-10, which is nearer than 2026-10-11",
        ),
        (
            b"12:00:00 10/12/2026",
            "2026-12-10T12:00:00Z",
            "day and month are ambiguous: assuming 2026-12-10, which is nearer than 2026-10-12",
        ),
        (
            b"12:00:00 26/11/22",
            "2026-11-22T12:00:00Z",
            "day and month are ambiguous: assuming 2026-11-22, which is nearer than 2022-11-26",
        ),
        (b"22 NOV 2026 20:00:00 CST", "2026-11-22T12:00:00Z", "the zone CST is ambiguous: assuming +08:00"),
        (b"22 NOV 2026 14:00:00 IST", "2026-11-22T12:00:00Z", "the zone IST is ambiguous: assuming +02:00"),
        (b"22 NOV 2026 12:00:00 ROME", "2026-11-22T12:00:00Z", "the zone ROME is unknown"),
        (b"Mon Nov 22 12:00:00 2026", "2026-11-22T12:00:00Z", "the weekday is wrong: 2026-11-22 is a Sunday"),
        (
            b"58996 26-11-22 12:00:00 50 0 0 031 UTC(NIST) *",
            "2026-11-22T12:00:00Z",
            "the day number is wrong: 2026-11-22 is 61366",
        ),
    ],
)
def test_ambiguous(reply: bytes, instant: str, note: str) -> None:
    """Of several possible meanings the nearest to now counts, with a note; contradictions get a note too."""
    found = read(reply)
    assert (instant, (note,)) == (rfc3339(found.instant_ns, found.resolution_ns), found.notes)


@pytest.mark.parametrize(
    "reply",
    [
        b"12:00:00 22/11/2026",
        b"12:00:00 11/22/2026",
        b"12:00:00 11/11/2026",
        b"12:00:00 10.11.2026",
        b"12:00:00 2026/10/11",
        b"22 NOV 26 12:00:00 UTC",
        # RFC 5322, section 4.3 defines these
        b"22 NOV 2026 06:00:00 CST",
        b"22 NOV 2026 04:00:00 PST",
    ],
)
def test_unambiguous(reply: bytes) -> None:
    """A reply with one meaning, or one that a standard defines, gets no note."""
    assert () == read(reply).notes


def test_hour_that_comes_twice() -> None:
    """When the assumed zone goes back, an hour that occurs twice is read as the nearer one, with a note."""
    for now, offset in ((1_793_511_000, "-04:00"), (1_793_514_600, "-05:00")):
        found = read(b"Sun Nov  1 01:30:00 2026", now * NS, "America/New_York")
        assert (now * NS, "assumed") == (found.instant_ns, found.zone)
        assert (f"the zone changes its offset in this hour: assuming {offset}",) == found.notes


def test_hour_that_never_comes() -> None:
    """A time that the assumed zone skips is read with one of the offsets around it."""
    found = read(b"Sun Mar  8 02:30:00 2026", 1_772_953_200 * NS, "America/New_York")
    assert abs(found.instant_ns - 1_772_953_200 * NS) <= 3600 * NS


@pytest.mark.parametrize(("now", "year"), [(NOW, 2026), (NOW - 60 * 31_556_952 * NS, 1926)])
def test_two_digits_of_a_year(now: int, year: int) -> None:
    """A two-digit year is the nearest year with these digits."""
    assert f"{year}-11-22T12:00:00Z" == rfc3339(read(b"22 NOV 26 12:00:00 UTC", now).instant_ns, NS)


def test_assumed_zone() -> None:
    """A reply without a zone is read in the assumed zone."""
    ctime = b"Sun Nov 22 12:00:00 2026\r\n"
    assert [NOW, NOW - 19_800 * NS, NOW + 10_800 * NS] == [
        read(ctime, NOW, zone).instant_ns for zone in ("UTC", "Asia/Kolkata", "-03:00")
    ]


@pytest.mark.parametrize(
    ("reply", "zone"),
    [
        (b"12:00:00 22.11.2026 UTC", "UTC"),
        (b"12:00:00 PM 11/22/2026 UTC", "UTC"),
        (b"2026-11-22 12:00:00  UTC", "UTC"),
        (b"2026-11-22 12:00:00\tUTC", "UTC"),
        (b"2026-11-22 12:00:00, UTC", "UTC"),
        (b"2026-11-22 12:00:00 [UTC]", "UTC"),
        (b"2026-11-22 12:00:00 utc", "UTC"),
        (b"Sunday, November 22, 2026 12:00:00-utc", "UTC"),
        (b"UTC 2026-11-22 12:00:00", "UTC"),
        (b"UTC: Sun Nov 22 12:00:00 2026", "UTC"),
        (b"2026-11-22 17:30:00 +5:30", "+05:30"),
        (b"2026-11-22 17:00:00 +5", "+05:00"),
        (b"22 NOV 2026 14:00:00 UTC +2", "+02:00"),
        (b"22 NOV 2026 07:00:00 GMT -5", "-05:00"),
    ],
)
def test_zone_however_it_is_written(reply: bytes, zone: str) -> None:
    """A zone named next to the time counts, and no zone is assumed."""
    found = read(reply, zone="Asia/Kolkata")
    assert (NOW, zone, ()) == (found.instant_ns, found.zone, found.notes)


@pytest.mark.parametrize("beside", ["America/New_York", "<+03>-3", "\u221205:00", "whatever"])
def test_unknown_text_is_noted(beside: str) -> None:
    """Unknown text after the time may be a zone, so it gets a note."""
    found = read(f"2026-11-22 12:00:00 {beside}".encode())
    assert (("assumed", (f"unknown text after the time: {beside}",))) == (found.zone, found.notes)


@pytest.mark.parametrize(
    "reply",
    [
        b"61366 26-11-22 12:00:00 00 0 0 1000.5 UTC(NIST) *",
        b"61366 26-11-22 12:00:00 00 0 0 -5.0 UTC(NIST) *",
        b"61366 26-11-22 12:00:00 00 0 0 UTC(NIST) *",
        b"61366 26-11-22 12:00:00 000 0 0 50.0 NIST *",
        b"61366 26-11-22 12:00:00 00 0 - * UTC(NIST) *",
        b"61366 2026-11-22 12:00:00",
    ],
)
def test_nearly_nist(reply: bytes) -> None:
    """A line that deviates from NIST's is still UTC, with a note."""
    found = read(reply, zone="Asia/Kolkata")
    assert ("nist", NOW, "UTC") == (found.format, found.instant_ns, found.zone)
    assert ("the codes after the time are not those of NIST",) == found.notes


def test_day_number_of_nist_determines_the_century() -> None:
    """A host whose own clock is unset does not read 2026 as 1926."""
    found = read(b"61366 26-11-22 12:00:00 00 0 0 50.0 UTC(NIST) *", 19 * 86400 * NS)
    assert (NOW, ()) == (found.instant_ns, found.notes)


def test_numbers_in_a_sentence() -> None:
    """A number among words is a time only if it is close to now."""
    assert [NOW, NOW, NOW + 500_000_000] == [
        read(reply).instant_ns for reply in (b"time: 1795348800\n", b"Welcome\r\n1795348800\r\n", b"now=1795348800.5")
    ]


def test_an_hour_wrong_is_not_cuba() -> None:
    """A clock that is an hour off does not pass as Cuba's zone of the same name."""
    assert NOW + 3600 * NS == read(b"22 NOV 2026 07:00:00 CST").instant_ns


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"", "it is empty"),
        (b" \r\n\0\0", "it is blank"),
        (b"hello\x1b[2J\xff", r"it contains no date with a time: hello\x1b[2J\xff"),
        (b"2026-02-29 12:00:00Z", "invalid date: 2026-02-29 12:00:00Z"),
        (b"2026-02-28T24:00:01Z", "invalid time: 2026-02-28T24:00:01Z"),
        (b"2026-11-22 13:00:00 AM", "invalid time: 2026-11-22 13:00:00 AM"),
        (b"2026-11-22T12:00:00+99:00", "invalid offset from UTC: +99:00"),
        (b"12:00:00 13/13/2026", "invalid date: 12:00:00 13/13/2026"),
        (b"12:00:00 22/11/226", "invalid date: 12:00:00 22/11/226"),
        (b"1795348800123456", None),
        (b"17953488001234", "it contains no date with a time: 17953488001234"),
        (
            b"2026-11-22T12:00:00Z 2026-11-22T12:00:01Z",
            "it contains different times: 2026-11-22T12:00:00Z 2026-11-22T12:00:01Z",
        ),
        (
            b"Sun Nov 22 12:00:00 2026, was 2026-11-21T12:00:00Z",
            "it contains different times: Sun Nov 22 12:00:00 2026, was 2026-11-21T12:00:00Z",
        ),
        (b"HTTP/1.1 400 Bad Request\r\nDate: Sun, 22 Nov 2026 12:00:00 GMT\r\n\r\n", "it is an HTTP response"),
        (b"9999-12-31 23:59:59 -1500", "the time is outside the years 1 to 9999: 9999-12-31 23:59:59 -1500"),
        (b"999999999999", "it contains no date with a time: 999999999999"),
        (b"0000-01-01 00:00:00 UTC", "the time is outside the years 1 to 9999: 0000-01-01 00:00:00 UTC"),
        (b"\xff" * 8, "it contains no date with a time: " + "\\xff" * 8),
        (b"0", "it contains no date with a time: 0"),
        (b"404", "it contains no date with a time: 404"),
        (b"20261122", "it contains no date with a time: 20261122"),
        (b"202611221200", "it contains no date with a time: 202611221200"),
        (b"550 error 123456789", "it contains no date with a time: 550 error 123456789"),
        (b"-ERR unknown 1234567890", "it contains no date with a time: -ERR unknown 1234567890"),
        (b"Hell\xff\0\0\0", "it contains no date with a time: Hell\\xff"),
        (b"x" * 3000, "it has 3000 bytes; a daytime reply has at most 2048"),
    ],
)
def test_refused(reply: bytes, reason: str | None) -> None:
    """A reply with no instant, an impossible one, or several is refused with the reason."""
    if reason is None:
        assert isinstance(parse(reply, NOW, UTC_ZONE), Reading)
    else:
        assert reason == refusal(reply)


def test_the_same_time_twice_is_one_time() -> None:
    """A reply that names the same instant twice is not a contradiction."""
    assert NOW == read(b"2026-11-22T12:00:00Z (Sun Nov 22 12:00:00 UTC 2026)").instant_ns


def test_wrap_of_rfc868() -> None:
    """The 32 bits of RFC 868 are read in the era nearest to now, so they work beyond 2036."""
    for now in (0, NOW, 2_085_978_496 * NS, 4_294_967_296 * NS):
        value = (now // NS + 2_208_988_800) & 0xFFFFFFFF
        assert now == read(value.to_bytes(4, "big"), now).instant_ns


# -- robustness ------------------------------------------------------------------------------------------------------

#: The patterns are slowest on repetitions of these. The benchmark measures the slowest one.
MISLEADING = [b"1", b"1:", b"12:11 ", b"1.1.", b"11/11/11 ", b"Sun Nov ", b"a. m. ", b"A"]
PIECES = [
    b"2026-11-22", b"12:00:00", b"Sun ", b"Nov ", b"22 ", b"2026 ", b"UTC", b"+0530", b"-", b" ", b"AM ", b"T", b"Z",
    b"61366 26-11-22 ", b"00 0 0 50.0 UTC(NIST) *", b"/", b".", b"\xbf\xc0\xc0\xfc ", b"\0", b"\n", b"99",
    b"1795348800",
]  # fmt: skip


@given(reply=st.one_of(st.binary(max_size=5000), st.lists(st.sampled_from(PIECES)).map(b"".join)))
@example(reply=b"0000-00-00 00:00:00")
@example(reply=b"9999-12-31 23:59:59.999999999999999999 -15:59")
@example(reply=b"00000 00-00-00 00:00:00 0 0 0 0 UTC(x)")
@example(reply=b"1:00 0001-1-1")
@example(reply="12:00:00 ٢٢/11/2026".encode())
def test_no_reply_makes_it_fail(reply: bytes) -> None:
    """Any bytes are read or refused, with a printable reason."""
    for zone in ("UTC", "local", "Europe/Berlin"):
        found = parse(reply, NOW, zones.load_offsets(zone))
        if isinstance(found, Unreadable):
            assert found.reason.isprintable()
        else:
            assert found.resolution_ns > 0
            assert re.fullmatch(r"UTC|assumed|[+-]\d\d:\d\d", found.zone)
            assert all(note.isprintable() for note in found.notes)
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", rfc3339(found.instant_ns, found.resolution_ns))


@given(reply=st.binary(max_size=10))
def test_rfc868_of_any_bytes(reply: bytes) -> None:
    """Four bytes that are not text are a second of the era nearest to now; no other bytes make the parser fail."""
    found = parse(reply, NOW, UTC_ZONE)
    if len(reply) == 4 and not reply.isascii():
        assert isinstance(found, Reading)
        seconds, rest = divmod(found.instant_ns, NS)
        assert (int.from_bytes(reply, "big"), 0) == ((seconds + 2_208_988_800) % 2**32, rest)
        assert abs(found.instant_ns - NOW) <= 2**31 * NS


@given(
    seconds=st.integers(0, 253_402_300_799), row=st.sampled_from(["sentence", "iso8601", "xinetd", "rfc867", "unix"])
)
def test_every_instant_comes_back(seconds: int, row: str) -> None:
    """Any second up to the year 9999 is read back from the formats that show all of it."""
    from daytimed.clock import UNKNOWN_CLOCK, load_zone
    from daytimed.formats import compile_format

    reply = compile_format(row, load_zone("UTC"), lambda: UNKNOWN_CLOCK)(seconds * NS)
    assert seconds * NS == read(reply, seconds * NS).instant_ns


def processor_s(reply: bytes) -> float:
    """Return the seconds of processor time that a reply takes: the best of several runs, free of noise."""
    taken = []
    for _ in range(7):
        begun = time.thread_time()
        parse(reply, NOW, UTC_ZONE)
        taken.append(time.thread_time() - begun)
    return min(taken)


@pytest.mark.parametrize("unit", [*PIECES, *MISLEADING])
def test_time_grows_no_faster_than_the_reply(unit: bytes) -> None:
    """No reply makes the patterns quadratic: one eight times as long takes about eight times as long."""
    parse(b"warm 1:00", NOW, UTC_ZONE)
    short, long = ((unit * size)[:size] for size in (parsers.LONGEST_REPLY // 8, parsers.LONGEST_REPLY))
    # a quadratic pattern would take 64 times as long; the noise of the machine is far below a factor of three
    assert processor_s(long) < 24 * processor_s(short)
    # and a longer reply is refused unread
    assert processor_s(unit * (1 << 20)) < processor_s(long) + processor_s(short)


# -- the calendar ----------------------------------------------------------------------------------------------------


@given(day=st.dates())
def test_days_of_the_calendar(day: date) -> None:
    """Days are counted like in Python."""
    assert day.toordinal() - date(1970, 1, 1).toordinal() == civil.days_from_civil(day.year, day.month, day.day)


@given(instant=st.integers(-62_135_596_800, 253_402_300_799))
def test_instants_are_written_as_python_writes_them(instant: int) -> None:
    """RFC 3339 works for every second of the years 1 to 9999."""
    expected = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=instant)).replace(tzinfo=None)
    assert f"{expected.isoformat()}Z" == rfc3339(instant * NS, NS)
    assert len(rfc3339(instant * NS + 123_456_789, 1000)) == 27
