"""The reports of the probe for programs: JSON, the line of a monitoring plugin, metrics."""

from __future__ import annotations

import json
import re

import pytest
import unit_help  # noqa: F401 - its settings of hypothesis
from hypothesis import given
from hypothesis import strategies as st

from daytimed import addresses
from daytimed.addresses import Address
from daytimed.probe import ranges, report, zones
from daytimed.probe.client import Answer
from daytimed.probe.tally import Tally
from daytimed.probe.verdict import Limits, Verdict, judge

NS = 1_000_000_000
NOW = 1_795_348_800 * NS  # 2026-11-22 12:00:00 UTC
GOOD = b"2026-11-22T12:00:00.000+00:00\r\n"
LIMITS = Limits(True, ranges.parse("1", True), ranges.parse("~:2"), ranges.parse("@3:4"), ranges.parse("5:"))
LOST = "connection refused"


def verdict(reply: bytes, reason: str | None = None, address: str = "localhost:6000", judged: bool = True) -> Verdict:
    answer = Answer(addresses.parse(address))
    answer.reply, answer.reason = reply, reason
    answer.connect_s, answer.total_s, answer.family = (None if reason else 0.1), 1 / 3, None if reason else "ipv4"
    answer.before_ns = answer.after_ns = NOW - 500_000
    tally = Tally(answer.address)
    tally.add(answer, zones.load_offsets("UTC"))
    return judge(tally, Limits(judged))


# -- JSON ------------------------------------------------------------------------------------------------------------

KEYS = "address family reply format instant resolution_s zone offset_s uncertainty_s connect_s total_s state reason"


def test_json_of_a_reply() -> None:
    """The object has the documented keys in order, on one line, and seconds are numbers."""
    line = report.as_json(verdict(GOOD))
    assert (KEYS.split(), 0) == (list(json.loads(line)), line.count("\n"))
    assert {
        "address": "tcp://localhost:6000", "family": "ipv4", "reply": GOOD.decode(), "format": "iso8601",
        "instant": "2026-11-22T12:00:00.000Z", "resolution_s": 0.001, "zone": "UTC", "offset_s": 0.001,
        "uncertainty_s": 0.0005, "connect_s": 0.1, "total_s": 0.333333333, "state": "OK", "reason": None,
    } == json.loads(line)  # fmt: skip


def test_json_of_a_failure() -> None:
    """Missing values are null."""
    found = json.loads(report.as_json(verdict(b"", LOST)))
    told = {"address": "tcp://localhost:6000", "reply": "", "total_s": 0.333333333, "state": "CRITICAL", "reason": LOST}
    assert dict.fromkeys(KEYS.split()) | told == found


@given(reply=st.binary(min_size=1))
def test_json_takes_any_reply(reply: bytes) -> None:
    """Whatever a server sends, the line is ASCII without control characters, and contains the reply."""
    line = report.as_json(verdict(reply))
    assert (True, True) == (line.isascii(), line.isprintable())
    assert reply.decode(errors="backslashreplace") == json.loads(line)["reply"]


def test_offset_of_thousands_of_years() -> None:
    """A clock in the year 1 has an offset like any other, in every output."""
    found = verdict(b"0001-01-01T00:00:00Z")
    assert -63_930_945_599.4945 == json.loads(report.as_json(found))["offset_s"]
    assert "offset=-6393094" in report.as_plugin_output([found], Limits(), 10.0)
    assert 'daytime_offset_seconds{address="tcp://localhost:6000"} -6393' in report.as_metrics([found])


# -- monitoring plugins ----------------------------------------------------------------------------------------------


def test_plugin_line() -> None:
    """The line has state, figures, server, and performance data with unit, limits, minimum and maximum."""
    expected = (
        "DAYTIME OK: offset +0.001000s +/- 0.000500s, iso8601 in 0.333333s from tcp://localhost:6000"
        " | time=0.333333s;@3:4;5:;0;10 offset=0.001000s;-1:1;~:2;;"
    )
    assert expected == report.as_plugin_output([verdict(GOOD)], LIMITS, 10.0)


def test_plugin_line_of_a_failure() -> None:
    """A failure is one line without performance data."""
    expected = f"DAYTIME CRITICAL: tcp://localhost:6000: {LOST}"
    assert expected == report.as_plugin_output([verdict(b"", LOST)], Limits(), 0.5)


def test_plugin_output_of_several() -> None:
    """For several servers, the first line has the worst state and all data; a line per server follows."""
    found = [verdict(GOOD), verdict(b"", LOST, "udp://[::1]:13"), verdict(GOOD, None, "unix:///run/it's=1")]
    lines = report.as_plugin_output(found, Limits(), 10.0).split("\n")
    good = "DAYTIME OK: offset +0.001000s +/- 0.000500s, iso8601 in 0.333333s from"
    assert [
        f"DAYTIME CRITICAL: 2 of 3 servers are OK; udp://[::1]:13: {LOST}"
        " | 'time localhost:6000'=0.333333s;;;0;10 'offset localhost:6000'=0.001000s;;;;"
        " 'time /run/it''s_1'=0.333333s;;;0;10 'offset /run/it''s_1'=0.001000s;;;;",
        f"{good} tcp://localhost:6000",
        f"DAYTIME CRITICAL: udp://[::1]:13: {LOST}",
        f"{good} unix:///run/it's=1",
    ] == lines


@given(reply=st.binary(min_size=1, max_size=80))
def test_no_reply_breaks_the_plugin_line(reply: bytes) -> None:
    """Whatever a server sends, the output is one line with one bar, and controls no terminal."""
    for judged in (True, False):
        line = report.as_plugin_output([verdict(reply, judged=judged)], Limits(judged), 10.0)
        assert (True, 1) == (line.isprintable(), line.count("|"))
        data = r"time=0\.333333s;;;0;10( offset=-?[\d.]+s;;;;)?"
        assert re.fullmatch(rf"DAYTIME (OK|WARNING|CRITICAL): .* \| {data}", line)


def test_plugin_error() -> None:
    """Wrong arguments give one line too."""
    assert r"DAYTIME UNKNOWN: a/b\n" == report.as_plugin_error("a|b\n")


# -- Prometheus ------------------------------------------------------------------------------------------------------


def test_metrics() -> None:
    """Each metric has one help and one type, and a sample per server with a known value, in base units."""
    lines = report.as_metrics([verdict(GOOD), verdict(b"", LOST, 'unix:///a"b\\c')]).split("\n")
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert (len(names), names) == (len(set(names)), [line.split()[2] for line in lines if line.startswith("# HELP")])
    assert [
        'daytime_up{address="tcp://localhost:6000"} 1',
        r'daytime_up{address="unix:///a\"b\\c"} 0',
        'daytime_state{address="tcp://localhost:6000"} 0',
        r'daytime_state{address="unix:///a\"b\\c"} 2',
        'daytime_offset_seconds{address="tcp://localhost:6000"} 0.001',
        'daytime_offset_uncertainty_seconds{address="tcp://localhost:6000"} 0.0005',
        'daytime_connect_seconds{address="tcp://localhost:6000"} 0.1',
        'daytime_response_seconds{address="tcp://localhost:6000"} 0.333333333',
        'daytime_time_seconds{address="tcp://localhost:6000"} 1795348800',
        'daytime_samples_sent{address="tcp://localhost:6000"} 1',
        r'daytime_samples_sent{address="unix:///a\"b\\c"} 1',
        'daytime_samples_answered{address="tcp://localhost:6000"} 1',
        r'daytime_samples_answered{address="unix:///a\"b\\c"} 0',
    ] == [line for line in lines if not line.startswith("#")]


@given(reply=st.binary(min_size=1), path=st.text(st.characters().filter(str.isprintable), min_size=1, max_size=20))
def test_nothing_breaks_the_metrics(reply: bytes, path: str) -> None:
    """Whatever a server sends, and whatever its path is, every line is valid and has the whole address."""
    address = f"unix:///{path.rstrip('/')}x"
    for line in report.as_metrics([verdict(reply, None, address)]).split("\n"):
        found = re.fullmatch(r'daytime_[a-z_]+\{address="((?:[^"\\\n]|\\["\\])*)"\} -?\d+(?:\.\d+)?', line)
        assert line.startswith(("# HELP daytime_", "# TYPE daytime_")) or found
        assert found is None or address == re.sub(r"\\(.)", r"\1", found[1])


def test_metrics_of_a_reply_that_cannot_be_read() -> None:
    """A server with an unreadable reply is not up, unless replies are not judged."""
    assert [0.0, 1.0] == [report._figures(verdict(b"hello", judged=judged))["daytime_up"] for judged in (True, False)]


@pytest.mark.parametrize("value", [0, 10, 1200, -300])
def test_whole_numbers_keep_their_zeros(value: int) -> None:
    """A whole number is written without a fraction, and keeps its trailing zeros."""
    made = verdict(GOOD)
    assert made.interval
    made.interval.low = made.interval.high = value * NS
    assert f'daytime_offset_seconds{{address="tcp://localhost:6000"}} {value}\n' in report.as_metrics([made])


def test_label_without_a_host() -> None:
    """An address without a host is named localhost; schemes other than tcp are part of the name."""
    assert ["localhost:6000", "udp:localhost:6000", "tcp4:a:1"] == [
        report._short(Address(scheme, host, port))
        for scheme, host, port in [("tcp", "", 6000), ("udp", "", 6000), ("tcp4", "a", 1)]
    ]


def test_no_exponents() -> None:
    """Performance data has no exponents, however small a limit is."""
    limits = Limits(True, ranges.parse("0.00001"), None, ranges.parse("1e-7:"))
    line = report.as_plugin_output([verdict(GOOD)], limits, 0.00005)
    assert line.endswith("time=0.333333s;0.0000001:;;0;0.00005 offset=0.001000s;0.00001;;;")
