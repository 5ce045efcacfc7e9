"""The command line of the probe: its arguments, output and exit codes."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from unit_help import OS_TEXT, caught_errors, read_to_end, reset, stream_server

from daytimed import __version__
from daytimed.probe import arguments, cli, survey

REPLY = b"The Date Time is: 2026-11-22 12:00:00.123456789 +0530 IST\r\n"
SHOWN = REPLY.replace(b"\r\n", b"\n")
LOOPBACK = "127.0.0.1"
NO_HOST = "is not a host; give a port with -p, and a whole address without -H"
NO_ZONE = "is not a zone; use local, UTC, +hh:mm or a name like Europe/Berlin"
NO_RANGE = "is not a range; use N, N:, ~:N, N:M or @N:M, the smaller number first"
SEE_HELP = "; see daytime-get --help\n"

Capture = pytest.CaptureFixture[bytes]


@contextlib.contextmanager
def server(*replies: bytes | None) -> Iterator[str]:
    """Serve one client per reply, with a reset for None; yield the port."""

    def handler(reply: bytes | None) -> object:
        return reset if reply is None else lambda client: client.sendall(reply)

    sock = socket.create_server((LOOPBACK, 0))
    with stream_server(sock, *map(handler, replies)):  # type: ignore[arg-type]
        yield str(sock.getsockname()[1])


def run(capture: Capture, *arguments: str) -> tuple[int, bytes, str]:
    """Return exit code, standard output and standard error."""
    code = cli.main(arguments)
    out, err = capture.readouterr()
    return code, out, err.decode()


def refused_port() -> str:
    with socket.create_server((LOOPBACK, 0)) as sock:
        return str(sock.getsockname()[1])


# -- output ----------------------------------------------------------------------------------------------------------


def test_text(capfdbinary: Capture) -> None:
    """The default output is the reply as text, with nothing on standard error."""
    with server(REPLY) as port:
        assert (0, SHOWN, "") == run(capfdbinary, f"{LOOPBACK}:{port}")


def test_text_is_safe(capfdbinary: Capture) -> None:
    """Characters that would control a terminal are shown as escapes."""
    with server(b"\x1b[2J\xff\n") as port:
        assert (0, b"\\x1b[2J\\xff\n", "") == run(capfdbinary, "--any", f"{LOOPBACK}:{port}")


def test_raw(capfdbinary: Capture) -> None:
    """Raw output is the reply, byte for byte, and nothing more."""
    everything = bytes(range(256))
    with server(everything) as port:
        assert (0, everything, "") == run(capfdbinary, "-o", "raw", f"{LOOPBACK}:{port}")


def test_json(capfdbinary: Capture) -> None:
    """JSON is one object per line, for failures too, with nothing on standard error."""
    with server(REPLY) as good, server(None) as bad:
        code, out, err = run(capfdbinary, "-o", "json", f"{LOOPBACK}:{good}", f"{LOOPBACK}:{bad}")
    found = [json.loads(line) for line in out.splitlines()]
    assert (2, ["OK", "CRITICAL"], "") == (code, [each["state"] for each in found], err)
    assert [REPLY.decode(), ""] == [each["reply"] for each in found]


def test_quiet(capfdbinary: Capture) -> None:
    """Quiet prints nothing, whatever happens, and leaves the exit status."""
    with server(REPLY, None) as port:
        assert (0, b"", "") == run(capfdbinary, "-q", f"{LOOPBACK}:{port}")
        assert (2, b"", "") == run(capfdbinary, "-q", f"{LOOPBACK}:{port}")


def test_several_addresses(capfdbinary: Capture) -> None:
    """Several addresses are rows of a table, in the given order, and the worst one decides."""
    with server(b"first\n") as first, server(None) as reset, server(b"last\n") as last:
        code, out, err = run(capfdbinary, "--any", *[f"{LOOPBACK}:{port}" for port in (first, reset, last)])
    lines = out.decode().splitlines()
    assert (2, "", 4) == (code, err, len(lines))
    assert ["STATE", "OK", "CRITICAL", "OK"] == [line.split()[0] for line in lines]
    assert ["REPLY", "first", "the server reset the connection", "last"] == [
        line[lines[0].index("REPLY") :] for line in lines
    ]


def test_failure(capfdbinary: Capture) -> None:
    """A failure is one line on standard error with address and reason, and exit status 2."""
    port = refused_port()
    expected = f"daytime-get: tcp://{LOOPBACK}:{port}: connection refused; nothing listens there\n"
    assert (2, b"", expected) == run(capfdbinary, f"{LOOPBACK}:{port}")


def test_failure_shows_what_came(capfdbinary: Capture) -> None:
    """The part of a reply that came before a failure is printed too."""
    with server(b"0123456789") as port:
        code, out, err = run(capfdbinary, "--max-bytes", "4", f"{LOOPBACK}:{port}")
    expected = f"daytime-get: tcp://{LOOPBACK}:{port}: the reply is longer than 4 bytes; see --max-bytes\n"
    assert (2, b"0123\n", expected) == (code, out, err)


def test_timeout(capfdbinary: Capture) -> None:
    """The probe waits for the given timeout."""
    with socket.create_server((LOOPBACK, 0)) as sock:
        address = f"tcp://{LOOPBACK}:{sock.getsockname()[1]}"
        expected = (2, b"", f"daytime-get: {address}: no reply within 0.5 s\n")
        assert expected == run(capfdbinary, "-t", "0.5", address)


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_version(flag: str, capfdbinary: Capture) -> None:
    """The version is that of the package."""
    assert (0, f"daytime-get {__version__}\n".encode(), "") == run(capfdbinary, flag)


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help(flag: str, capfdbinary: Capture) -> None:
    """The help fits 24 lines of 80 columns, and has every flag and no other."""
    code, out, err = run(capfdbinary, flag)
    lines = out.decode().splitlines()
    assert (0, "", True) == (code, err, len(lines) <= 24)
    assert [] == [line for line in lines if len(line) > 80]
    flags = {flag for action in arguments.make_parser()._actions for flag in action.option_strings}
    # where a flag has a short and a long name, the help has the short one
    told = {action.option_strings[0] for action in arguments.make_parser()._actions if action.option_strings}
    shown = set(re.findall(r"(?<![\w-])--?[a-zA-Z0-9](?!:)[a-z-]*", "\n".join(lines[: lines.index("Examples:")])))
    assert set() == (told - {"-V", "-h"}) - shown
    assert set() == shown - flags


# -- arguments -------------------------------------------------------------------------------------------------------


def asked(*words: str) -> list[str]:
    """Return the addresses that the probe would ask."""
    return [str(each) for each in arguments.addresses_of(arguments.parse(list(words)))]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["tcp://localhost:6000"]),
        (["-p", "13"], ["tcp://localhost:13"]),
        (["-p", "daytime"], ["tcp://localhost:daytime"]),
        (["-H", "time.example"], ["tcp://time.example:6000"]),
        (["-H", "::1", "-p", "13"], ["tcp://[::1]:13"]),
        (["time.example"], ["tcp://time.example:6000"]),
        (["-p", "13", "time.example", "other.example:37"], ["tcp://time.example:13", "tcp://other.example:37"]),
        (["[::1]", "udp://[::1]:37"], ["tcp://[::1]:6000", "udp://[::1]:37"]),
        (["unix:///run/x"], ["unix:///run/x"]),
        (["one", "-H", "two"], ["tcp://one:6000", "tcp://two:6000"]),
        (["-4", "one", "udp://two"], ["tcp4://one:6000", "udp4://two:6000"]),
        (["-6", "-H", "one"], ["tcp6://one:6000"]),
        (["-4", "tcp4://one"], ["tcp4://one:6000"]),
        (["-p", "0"], ["tcp://localhost:0"]),
        (["one", "two:6000", "tcp://one:6000", "-H", "one"], ["tcp://one:6000", "tcp://two:6000"]),
    ],
)
def test_addresses(arguments: list[str], expected: list[str]) -> None:
    """Addresses, host, port and family together give the servers to ask."""
    assert expected == asked(*arguments)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([":"], "argument ADDRESS: ':' has no port after the colon; write a number or a service name such as daytime"),
        ([""], "argument ADDRESS: the address is empty; write HOST:PORT, :PORT, PORT, [V6]:PORT or unix:///PATH"),
        (["-H", ""], f"argument -H: '' {NO_HOST}"),
        (["-H", "a/b"], f"argument -H: 'a/b' {NO_HOST}"),
        (["-H", "tcp://a"], f"argument -H: 'tcp://a' {NO_HOST}"),
        (["-4", "tcp6://x"], "argument -4: tcp6://x:6000 is not IPv4"),
        (["-6", "udp4://x"], "argument -6: udp4://x:6000 is not IPv6"),
        (["-4", "unix:///x"], "argument -4: unix:///x is not IPv4"),
        (["-4", "[::1]"], "argument -4: 'tcp4://[::1]:6000' combines an IPv4 scheme with an IPv6 address; use tcp6://"),
        (["-4", "-6"], "argument -6: not allowed with argument -4"),
        (["-p", "65536"], "argument -p/--port: '65536' is not a port; use a number up to 65535 or a service name"),
        (["-p", ""], "argument -p/--port: '' is not a port; use a number up to 65535 or a service name"),
        (["-p", "a:b"], "argument -p/--port: 'a:b' is not a port; use a number up to 65535 or a service name"),
        (["-p", "//x"], "argument -p/--port: '//x' is not a port; use a number up to 65535 or a service name"),
        (["-t", "0"], "argument -t/--timeout: '0' is not a number of seconds above 0 and up to one day"),
        (["-t-1"], "argument -t/--timeout: '-1' is not a number of seconds above 0 and up to one day"),
        (["-t", "nan"], "argument -t/--timeout: 'nan' is not a number of seconds above 0 and up to one day"),
        (["-t", "inf"], "argument -t/--timeout: 'inf' is not a number of seconds above 0 and up to one day"),
        (["-t", "86401"], "argument -t/--timeout: '86401' is not a number of seconds above 0 and up to one day"),
        (["-t", "soon"], "argument -t/--timeout: 'soon' is not a number of seconds above 0 and up to one day"),
        (["--max-bytes", "0"], "argument --max-bytes: '0' is not a whole number above 0"),
        (["--max-bytes", "1e3"], "argument --max-bytes: '1e3' is not a whole number above 0"),
        (["--max-bytes", "\u0661"], "argument --max-bytes: '\u0661' is not a whole number above 0"),
        (["--send", "\\q"], "argument --send: \\q is not an escape; use \\r \\n \\t \\0 \\\\ or \\xHH"),
        (["--send", "\\x4"], "argument --send: \\x is not an escape; use \\r \\n \\t \\0 \\\\ or \\xHH"),
        (["--send", "x\\"], "argument --send: \\ is not an escape; use \\r \\n \\t \\0 \\\\ or \\xHH"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
        (["--time", "1"], "unrecognized arguments: --time; did you mean --timeout?"),
        (["--host=x"], "unrecognized arguments: --host=x; did you mean --hostname?"),
        (["-zone", "UTC"], "unrecognized arguments: -zone; did you mean --zone?"),
        (["--udp"], "unrecognized arguments: --udp; use an address such as udp://HOST:PORT"),
        (["-j", "localhost"], "unrecognized arguments: -j; use -o json"),
        (
            ["udp:6000"],
            "argument ADDRESS: 'udp:6000' has no // after the scheme; did you mean udp://:6000? For a host named udp, "
            "write tcp://udp:6000",
        ),
        (["-n", "x"], "argument -n/--count: 'x' is not a whole number up to 1000"),
        (["-n", "1001"], "argument -n/--count: '1001' is not a whole number up to 1000"),
        (["-i", "0"], "argument -i/--interval: '0' is not a number of seconds above 0 and up to one day"),
        (["-z", "Mars/Utopia"], f"argument -z: 'Mars/Utopia' {NO_ZONE}"),
        (["-z", "+25"], "argument -z: '+25' is not an offset from UTC; use +hh:mm"),
        (["-z", "../../etc/passwd"], f"argument -z: '../../etc/passwd' {NO_ZONE}"),
        (["-w", "5:1"], f"argument -w/--warning: '5:1' {NO_RANGE}"),
        (["-C", "x"], f"argument -C/--response-critical: 'x' {NO_RANGE}"),
        (["-w", "1", "--any"], "-w and -c cannot be used with --any, --send or -o raw, which judge no reply"),
        (["-c", "1", "-o", "raw"], "-w and -c cannot be used with --any, --send or -o raw, which judge no reply"),
        (["-n", "0", "one", "two"], "-n 0 asks only one server; give one address"),
        (["-n", "0", "-o", "nagios"], None),
        (["-n", "0", "-o", "prometheus"], "-n 0 never ends, and -o prometheus prints at the end; give a count"),
        (["-n", "20", "-i", "1"], "20 samples take 19.9 s, too long for -t 10"),
    ],
)  # fmt: skip
def test_wrong_arguments(arguments: list[str], expected: str | None, capfdbinary: Capture) -> None:
    """Wrong arguments give UNKNOWN and one line: on standard error, or as plugin output."""
    if expected is None:
        reason = "-n 0 never ends, and -o nagios prints at the end; give a count"
        assert (3, f"DAYTIME UNKNOWN: {reason}{SEE_HELP}".encode(), "") == run(capfdbinary, *arguments)
        return
    assert (3, b"", f"daytime-get: {expected}{SEE_HELP}") == run(capfdbinary, *arguments)


def test_wrong_local_zone(monkeypatch: pytest.MonkeyPatch, capfdbinary: Capture) -> None:
    """A TZ that names no zone is UNKNOWN, unless no reply is judged by it."""
    monkeypatch.setenv("TZ", "Europe/Berlln")
    code, out, err = run(capfdbinary, "localhost")
    assert (3, b"", 1) == (code, out, err.count("\n"))
    assert err.startswith("daytime-get: TZ: 'Europe/Berlln' is not a time zone on this system; ")
    with server(REPLY, REPLY) as port:
        assert (0, b"", "") == run(capfdbinary, "-q", "-z", "UTC", "-w", "1e9", "-c", "1e9", f"{LOOPBACK}:{port}")
        assert (0, REPLY, "") == run(capfdbinary, "-o", "raw", f"{LOOPBACK}:{port}")


WORDS = [flag for action in arguments.make_parser()._actions for flag in action.option_strings]
WORDS += ["--", "-", "0", "5", "-1:5", "@4:5", "-05:00", "UTC", "json", "nagios", "a:13", "udp://[::1]:13"]


@given(words=st.lists(st.sampled_from(WORDS) | OS_TEXT, max_size=6))
@example(words=["-o", "nagios", "a|b\n", "--x"])
@example(words=["-z--"])
@example(words=["--max-bytes=--"])
@example(words=["-o--", "-4"])
def test_any_words_are_a_question_or_one_sentence(words: list[str]) -> None:
    """Any command line is accepted, or is refused with exit status 3 and one printable line."""
    try:
        options = arguments.parse(words)
        if options.shown is None:
            arguments.survey_of(options, len(arguments.addresses_of(options)))
            assert [] not in [value for name, value in vars(options).items() if name != "addresses"]
    except arguments.UsageError:
        with caught_errors() as told, caught_errors(1) as printed:
            assert cli.main(words) == 3
            line = told() + printed()
        assert re.fullmatch(r"(daytime-get|DAYTIME UNKNOWN): [^\n]+; see daytime-get --help\n", line)
        assert line[:-1].isprintable()


def test_wrong_output_form(capfdbinary: Capture) -> None:
    """An unknown output is a wrong argument."""
    code, out, err = run(capfdbinary, "-o", "xml")
    assert (3, b"", True) == (code, out, err.startswith("daytime-get: argument -o/--output: invalid choice: 'xml'"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", b""),
        ("plain", b"plain"),
        (r"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"),
        (r"\t\0\\", b"\t\0\\"),
        (r"\x00\xff\x4A\x4a", b"\x00\xffJJ"),
        (r"\\x41", b"\\x41"),
        ("\u00e9", "\u00e9".encode()),
        ("\udcff", b"\xff"),
        ("line\nbreak", b"line\nbreak"),
    ],
)
def test_escapes(text: str, expected: bytes) -> None:
    """Text is sent as UTF-8 with its escapes replaced; other bytes of the command line are sent unchanged."""
    assert expected == arguments._unescape(text)


@given(data=st.binary())
def test_every_byte_can_be_sent(data: bytes) -> None:
    """All bytes can be written as escapes."""
    assert data == arguments._unescape("".join(f"\\x{byte:02x}" for byte in data))


@given(text=OS_TEXT | st.text())
def test_text_is_sent_or_refused(text: str) -> None:
    """Only a wrong escape is refused; text without a backslash is sent unchanged."""
    try:
        sent = arguments._unescape(text)
    except argparse.ArgumentTypeError:
        assert "\\" in text
    else:
        assert "\\" in text or os.fsencode(text) == sent


@pytest.mark.parametrize(
    "words",
    [
        ["-w", "-1:5", "-z", "-03:00"],
        ["-w-1:5", "-z-03:00"],
        ["--warning", "-1:5", "--zone", "-03:00"],
        ["--warning=-1:5", "--zone=-03:00"],
        ["-qw", "-1:5", "-vz", "-03:00"],
    ],
    ids=" ".join,
)
def test_values_that_begin_with_a_minus(words: list[str]) -> None:
    """A range or an offset from UTC may be negative, whatever the spelling of its option."""
    options = arguments.parse([*words, "-4", "host"])
    assert ("-1:5", "-03:00", "4", ["host"]) == (
        str(options.warning), options.zone, options.family, options.addresses
    )  # fmt: skip


def test_addresses_and_options_in_any_order() -> None:
    """Options may stand between addresses."""
    options = arguments.parse(["one", "-q", "two", "-t", "3", "three"])
    assert (["one", "two", "three"], True, 3.0) == (options.addresses, options.quiet, options.timeout)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-o", "nagios"], True),
        (["-onagios", "-x"], True),
        (["-qo", "nagios"], True),
        (["-o=nagios"], True),
        (["--output", "nagios"], True),
        (["--output=nagios"], True),
        (["nagios", "-o", "text"], False),
        (["-H", "nagios"], False),
        ([], False),
    ],
)
def test_monitoring_systems_are_recognised(words: list[str], expected: bool) -> None:
    """A request for plugin output is recognised even if other arguments are wrong."""
    assert expected == arguments.wants_plugin(words)


def test_request_is_sent(capfdbinary: Capture) -> None:
    """`--send` writes its text before it reads the reply, so that an HTTP server can be asked."""
    seen = []

    def answer(client: socket.socket) -> None:
        seen.append(client.recv(1000))
        client.sendall(b"HTTP/1.0 200 OK\r\n\r\nhello")

    sock = socket.create_server((LOOPBACK, 0))
    with stream_server(sock, answer):
        address = f"{LOOPBACK}:{sock.getsockname()[1]}"
        found = run(capfdbinary, "-o", "raw", "--send", r"GET / HTTP/1.0\r\n\r\n", address)
    assert ((0, b"HTTP/1.0 200 OK\r\n\r\nhello", ""), [b"GET / HTTP/1.0\r\n\r\n"]) == (found, seen)


# -- as a program ----------------------------------------------------------------------------------------------------


PROBE = (sys.executable, "-m", "daytimed.probe")


def shell(redirection: str, *words: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a shell, for redirections that Python does not have."""
    return subprocess.run(
        ["sh", "-c", f'"$@" {redirection}', "sh", *words], capture_output=True, check=False, timeout=60
    )


def program(redirection: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run the probe in a shell."""
    return shell(redirection, *PROBE, *arguments)


def test_program() -> None:
    """The package runs as a program, with the exit status of the probe."""
    with server(REPLY, None) as port:
        good, bad = program("", f"{LOOPBACK}:{port}"), program("", f"{LOOPBACK}:{port}")
    assert (0, SHOWN, b"") == (good.returncode, good.stdout, good.stderr)
    assert (2, b"") == (bad.returncode, bad.stdout)


def test_terminal_of_another_encoding() -> None:
    """Characters that the encoding of the output lacks are shown as escapes."""
    with server("\u6642\n".encode()) as port:
        done = subprocess.run(
            [sys.executable, "-m", "daytimed.probe", "--any", f"{LOOPBACK}:{port}"],
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
            capture_output=True,
            check=False,
        )
    assert (0, b"\\u6642\n", b"") == (done.returncode, done.stdout, done.stderr)


WRITING = [
    *(["-o", output] for output in arguments.OUTPUTS),
    ["-n", "3"],
    ["-o", "nagios", "-n", "x"],
    ["--help"],
    ["-V"],
]


@pytest.mark.parametrize("words", WRITING, ids=" ".join)
def test_full_disk(words: list[str]) -> None:
    """If the output cannot be written, the state is UNKNOWN, and one line gives the reason."""
    with server(*[REPLY] * 3) as port:
        done = program(">/dev/full", *words, f"{LOOPBACK}:{port}")
    expected = b"daytime-get: standard output: cannot write: No space left on device\n"
    assert (3, expected) == (done.returncode, done.stderr)


@pytest.mark.parametrize("words", WRITING, ids=" ".join)
def test_closed_output(words: list[str]) -> None:
    """Without standard output the state is UNKNOWN; standard error has the reason, except for plugin errors."""
    with server(REPLY) as port:
        done = program(">&-", *words, f"{LOOPBACK}:{port}")
    expected = b"daytime-get: standard output is closed; use -q to get only the exit status\n"
    assert (3, b"" if "x" in words else expected) == (done.returncode, done.stderr)


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_standard_error_that_cannot_be_written(redirection: str) -> None:
    """The exit status is correct even if standard error cannot be written."""
    port = refused_port()
    failed, wrong = program(redirection, f"{LOOPBACK}:{port}"), program(redirection, "-p", ":")
    assert [2, 3] == [failed.returncode, wrong.returncode]


@contextlib.contextmanager
def leaving_reader(kind: str) -> Iterator[int]:
    """Yield a standard output that nobody reads."""
    if kind == "pipe":
        reading, writing = os.pipe()
        os.close(reading)
        yield writing
        os.close(writing)
        return
    ours, its = socket.socketpair()
    with its:
        ours.close()
        yield its.fileno()


TAKING = [
    [],
    ["-v"],
    ["-n", "3"],
    ["-n", "0", "-i", "0.01"],
    ["-n", "0", "-o", "json", "-i", "0.01"],
    ["-n", "5", "-i", "0.05"],
    ["-n", "3", "-o", "raw"],
    ["-o", "json"],
    ["-o", "nagios"],
    ["-o", "prometheus"],
]


@pytest.mark.parametrize("kind", ["pipe", "socket"])
@pytest.mark.parametrize("words", TAKING, ids=" ".join)
def test_exit_status_does_not_depend_on_the_reader(words: list[str], kind: str) -> None:
    """Without a reader the exit status is that of the servers, for any output and number of samples and servers."""
    port = refused_port()
    for hosts in (1,) if "0" in words else (1, 2):
        command = [*PROBE, *words, *[f"127.0.0.{host}:{port}" for host in range(1, hosts + 1)]]
        with leaving_reader(kind) as out:
            done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, check=False, timeout=60)
        assert done.returncode == 2
        assert b"cannot write" not in done.stderr


@pytest.mark.parametrize("parent", [signal.SIG_IGN, signal.SIG_DFL])
@pytest.mark.parametrize(("second", "expected"), [(REPLY, 0), (None, 2)])
def test_reader_that_goes_away(second: bytes | None, expected: int, parent: signal.Handlers) -> None:
    """A reader that leaves, such as head, causes no error, and the exit status is still that of the servers."""
    with server(second) as port, leaving_reader("pipe") as out:
        done = subprocess.run(
            [*PROBE, f"{LOOPBACK}:{port}"], stdout=out, stderr=subprocess.PIPE, check=False, timeout=60,
            preexec_fn=lambda: signal.signal(signal.SIGPIPE, parent),
        )  # fmt: skip
    complaint = b"" if second else f"daytime-get: tcp://{LOOPBACK}:{port}: the server reset the connection\n".encode()
    assert (expected, complaint) == (done.returncode, done.stderr)


def test_reader_that_goes_away_in_the_middle_of_a_table() -> None:
    """A reader that takes the first line of a long table changes nothing about the exit status."""
    dead = refused_port()
    words = [f"127.0.{high}.{low}:{dead}" for high in range(2, 6) for low in range(1, 200)]
    with subprocess.Popen([*PROBE, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.read(10) == b"STATE     "
        process.stdout.close()
        assert process.wait(60) == 2


def test_slow_reader_of_a_pipe_that_does_not_block() -> None:
    """If the parent has set O_NONBLOCK on the pipe, a slow reader still gets everything."""
    reply = b"x" * 300_000
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with server(reply) as port, open(reading, "rb") as reader:
        process = subprocess.Popen([*PROBE, "-o", "raw", f"{LOOPBACK}:{port}"], stdout=writing)
        os.close(writing)
        assert (reader.read(), process.wait(60)) == (reply, 0)


def test_reader_of_samples_that_goes_away() -> None:
    """A run without an end stops when its reader leaves, with the state of its samples."""
    reading, writing = os.pipe()
    with server(*[REPLY] * 50) as port:
        words = ["--any", "-n", "0", "-i", "0.001", f"{LOOPBACK}:{port}"]
        process = subprocess.Popen([*PROBE, *words], stdout=writing, stderr=subprocess.PIPE)
        os.close(writing)
        os.read(reading, 1)
        os.close(reading)
        _, err = process.communicate(timeout=60)
    assert (0, b"") == (process.returncode, err)


@pytest.mark.parametrize("redirection", ["", "2>&-", "2>/dev/full"])
@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("RuntimeError('broken')", b"RuntimeError: broken\n"),
        ("MemoryError", b"daytime-get: this host is out of memory\n"),
        ("OSError(24, 'Too many open files')", b"daytime-get: cannot start: [Errno 24] Too many open files\n"),
        ("SystemExit(1)", b"SystemExit: 1\n"),
    ],
)
def test_a_crash_of_the_probe_is_unknown(error: str, told: bytes, redirection: str) -> None:
    """After any exception the exit status is 3, not the 1 of Python, which would be WARNING."""
    script = f"""
import sys
from daytimed.probe import __main__, arguments
def fail(*_):
    raise {error}
arguments.parse = fail
sys.exit(__main__.main())
"""
    done = shell(redirection, sys.executable, "-c", script)
    assert (3, b"") == (done.returncode, done.stdout)
    assert redirection or done.stderr.endswith(told)


def test_fewer_threads_than_servers(monkeypatch: pytest.MonkeyPatch, capfdbinary: Capture) -> None:
    """If no thread can be started, the servers are asked one after the other."""

    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with server(b"first\n") as first, server(b"last\n") as last, monkeypatch.context() as patch:
        # the servers of the test have their threads already
        patch.setattr(survey, "start_new_thread", fail)
        code, out, _ = run(capfdbinary, "--any", "-o", "raw", f"{LOOPBACK}:{first}", f"{LOOPBACK}:{last}")
    assert (0, b"first\nlast\n") == (code, out)


def test_interrupt() -> None:
    """Ctrl-C ends the probe with UNKNOWN and one line, not with a traceback."""
    with socket.create_server((LOOPBACK, 0)) as sock:
        process = subprocess.Popen(
            [sys.executable, "-m", "daytimed.probe", f"{LOOPBACK}:{sock.getsockname()[1]}"], stderr=subprocess.PIPE
        )
        client, _ = sock.accept()
        with client, process:
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
    assert (3, b"daytime-get: interrupted\n") == (process.returncode, err)


def test_unix_socket(tmp_path: Path, capfdbinary: Capture) -> None:
    """A unix socket is an address like any other."""
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(f"{tmp_path}/socket")
    sock.listen()
    seen = []

    def answer(client: socket.socket) -> None:
        client.sendall(REPLY)
        client.shutdown(socket.SHUT_WR)
        seen.append(read_to_end(client))

    with stream_server(sock, answer):
        assert (0, SHOWN, "") == run(capfdbinary, f"unix://{tmp_path}/socket")
    assert [b""] == seen
