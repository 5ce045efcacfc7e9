"""The probe as a monitoring plugin: its output by the guidelines, and its states beside those of other plugins."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable

import pytest
from harness import DAYTIME_GET, needs, program, run, serving
from plugins import STATES, Figure, figures_of, plugin
from servers import Place, Reply, refusing, saying, silence, stream_server


def mute() -> contextlib.AbstractContextManager[Place]:
    """Run a server that accepts and sends nothing."""
    return stream_server(silence)


def rfc868(ahead_s: int) -> Reply:
    return lambda: (int(time.time()) + 2_208_988_800 + ahead_s).to_bytes(4, "big")


def test_the_parser_of_performance_data_is_strict() -> None:
    """It reads the examples of the guidelines, and refuses anything they do not allow."""
    assert figures_of("time=0.1s;1;~:5;0;10 'offset a b'=-1.5s;@1:2;3: n=2s;;;;") == {
        "time": Figure(0.1, "1", "~:5", 0, 10),
        "offset a b": Figure(-1.5, "@1:2", "3:", None, None),
        "n": Figure(2, None, None, None, None),
    }
    wrongs = ["a", "a=", "a=+1s", "a=1e-5s", "a=1sec", "a=1,5s", "a=1s;2;3;4;5;6", "a=1s;x", "a b=1s", "a=1s  b=2s"]
    for wrong in wrongs:
        with pytest.raises(AssertionError):
            figures_of(wrong)


def test_plugin_output_keeps_to_the_guidelines() -> None:
    """OK and WARNING have one line, the state as a word and exit status, and figures in the documented form."""
    with serving() as daemon:
        asked = ("-H", "127.0.0.1", "-p", str(daemon.port()))
        state, text, figures = plugin(*asked, "-w", "1", "-c", "-5:5", "-W", "2", "-C", "~:4", "-t", "7")
        assert (state, "\n" in text) == ("OK", False)
        assert list(figures) == ["time", "offset"]
        taken, offset = figures.values()
        assert (taken.warn, taken.crit, taken.min, taken.max) == ("2", "~:4", 0, 7)
        assert 0 < taken.value < 7
        assert (offset.warn, offset.crit, offset.min, offset.max) == ("-1:1", "-5:5", None, None)
        assert abs(offset.value) < 1

        state, text, figures = plugin(*asked, "-W", "@0:10")
        assert (state, "\n" in text) == ("WARNING", False)
        assert figures["time"].warn in {"@0:10", "@10"}
        # small limits are written without an exponent too
        assert plugin(*asked, "-W", "0.00001")[2]["time"].warn == "0.00001"


@pytest.mark.parametrize("server", [refusing, mute])
def test_plugin_output_without_a_reply(server: Callable[[], contextlib.AbstractContextManager[Place]]) -> None:
    """A refusing or silent server is CRITICAL, with one line and no figures."""
    with server() as address:
        state, text, figures = plugin("-t", "0.5", address)
    assert (state, "\n" in text, figures) == ("CRITICAL", False, {})


def test_plugin_output_of_wrong_arguments() -> None:
    """Wrong arguments are UNKNOWN on standard output, where a monitoring system reads it."""
    for wrong in (["-t", "soon"], ["-w", "5:1"], ["--nonsense"], ["host:port:"]):
        state, text, figures = plugin(*wrong)
        assert (state, "\n" in text, figures) == ("UNKNOWN", False, {})


@needs("icinga2")
def test_icinga_reads_the_same_figures() -> None:
    """Icinga's own parser of performance data finds the same values, units and limits as ours."""
    with serving() as daemon:
        done = run(*DAYTIME_GET, "-o", "nagios", "-W", "2", "-C", "4", f"127.0.0.1:{daemon.port()}")
    figures = done.stdout.decode().partition(" | ")[2].strip()
    script = "[" + ",".join(f"parse_performance_data({json.dumps(figure)})" for figure in figures.split(" ")) + "]"
    shown = run(program("icinga2"), "console", "--eval", f"Json.encode({script}.map(f => "
                "[f.label, f.value, f.unit, f.warn, f.crit, f.min, f.max]))")  # fmt: skip
    theirs = json.loads(json.loads(shown.stdout))
    ours = figures_of(figures)
    assert [row[:3] for row in theirs] == [[label, ours[label].value, "seconds"] for label in ours]
    assert theirs[0][3:] == [2, 4, 0, 10]


@needs("check_tcp")
def test_check_tcp_agrees() -> None:
    """For a server that is up, refuses or is silent, check_tcp has the same state."""
    with serving() as daemon, refusing() as refused, mute() as silent:
        for port, code in ((daemon.port(), 0), (refused.port, 2), (silent.port, 2)):
            asked = ("-H", "127.0.0.1", "-p", str(port), "-t", "1")
            theirs = run(program("check_tcp"), *asked, "-e", "The Date Time is: ", "-M", "crit")
            ours = plugin(*asked)
            assert (theirs.returncode, STATES[ours[0]]) == (code, code)
            if code == 0:
                # our parser also reads their figures
                assert list(figures_of(theirs.stdout.decode().strip().partition("|")[2])) == ["time"]


@needs("check_time")
def test_check_time_agrees() -> None:
    """
    For the binary time (RFC 868), check_time has the same state with the same options and limits.

    Without limits, check_time reports a missing server as UNKNOWN; daytime-get always reports CRITICAL.
    """
    limits = ("-w", "2", "-c", "5", "-W", "1", "-C", "2")
    with serving("-f", "rfc868") as daemon, refusing() as refused, mute() as silent:
        for port, code in ((daemon.port(), 0), (refused.port, 2), (silent.port, 2)):
            asked = ("-H", "127.0.0.1", "-p", str(port), "-t", "1")
            assert run(program("check_time"), *asked, *limits).returncode == code
            assert STATES[plugin(*asked, *limits)[0]] == code
        assert run(program("check_time"), "-H", "127.0.0.1", "-p", str(refused.port)).returncode == 3
    for ahead_s, code in ((4, 1), (9, 2)):
        with stream_server(saying(rfc868(ahead_s))) as server:
            asked = ("-H", "127.0.0.1", "-p", str(server.port), "-t", "5")
            assert run(program("check_time"), *asked, *limits).returncode == code
            assert STATES[plugin(*asked, *limits)[0]] == code
