"""The character set of the reader, and that no byte of any output controls a terminal."""

from __future__ import annotations

import itertools
import json
import os
import pty
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipe import drain, open_pipe
from recorders import Losses
from unit_help import stream_server

from daytimed import charset
from daytimed.charset import printable
from daytimed.log.log import Log
from daytimed.log.sinks import stream_sink

NO_LOCALE = dict.fromkeys(("LC_ALL", "LC_CTYPE", "LANG", "PYTHONUTF8", "PYTHONIOENCODING"), "")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, False),
        ({"LANG": "C"}, False),
        ({"LANG": "POSIX"}, False),
        ({"LANG": "C.UTF-8"}, True),
        ({"LANG": "de_DE.utf8"}, True),
        ({"LANG": "de_DE.UTF-8@euro"}, True),
        ({"LANG": "en_US.ISO-8859-1"}, False),
        ({"LANG": "ja_JP.EUC-JP"}, False),
        ({"LANG": "ja_JP.SJIS"}, False),
        ({"LC_ALL": "C", "LC_CTYPE": "de_DE.UTF-8", "LANG": "de_DE.UTF-8"}, False),
        ({"LC_ALL": "", "LC_CTYPE": "de_DE.UTF-8", "LANG": "C"}, True),
        ({"LC_CTYPE": "de_DE.ISO-8859-1", "LANG": "de_DE.UTF-8"}, False),
        # set by Python, PEP 538
        ({"LC_CTYPE": "C.UTF-8", "LANG": "C"}, False),
        ({"LC_CTYPE": "C.UTF-8"}, False),
        ({"LC_CTYPE": "C.UTF-8", "LANG": "de_DE.UTF-8"}, True),
    ],
    ids=str,
)
def test_locale(environ: Mapping[str, str], expected: bool) -> None:
    """The reader expects UTF-8 if the locale says so; LC_ALL comes before LC_CTYPE, and that before LANG."""
    assert charset.is_utf8(environ) is expected


@given(text=st.text())
def test_other_readers_get_ascii(text: str) -> None:
    """Printable text has no byte outside printable ASCII for a reader who does not expect UTF-8."""
    assert all(0x20 <= byte < 0x7F for byte in charset.encode(printable(text), utf8=False))


@given(text=st.text())
def test_readers_of_utf8_get_it(text: str) -> None:
    """For others the same text is UTF-8 without control characters."""
    assert charset.encode(printable(text), utf8=True).decode().isprintable()


# -- programs --------------------------------------------------------------------------------------------------------

#: C0, DEL, C1 as a byte and in UTF-8, bidirectional controls, line separators, a surrogate, combining characters, and
#: characters whose bytes in UTF-8, EUC-JP, SJIS and UTF-16 are controls of 8-bit terminals.
HOSTILE = (
    bytes(range(256))
    + "\x9b2J \u202e\u2066\u200b \u2028\u2029 e\u0301\u0301 \u011b\u6642\u5b1b\ufeff \U000e0041".encode()
    + b"\xed\xa0\x80 \x1b]0;x\x07\x1b[2J"
)
REPLIES = (b"2026-11-22 12:00:00 UTC " + HOSTILE, HOSTILE, b"Mon, 22 Nov 2026 12:00:00 ZZZZ " + HOSTILE[128:])
LOCALES: list[dict[str, str]] = [
    {},
    {"LC_ALL": "C"},
    {"LC_ALL": "POSIX"},
    {"LANG": "C"},
    {"LC_ALL": "en_US.ISO-8859-1"},
    {"LC_ALL": "ja_JP.EUC-JP"},
    {"LC_ALL": "ja_JP.SJIS"},
    {"LC_ALL": "C", "PYTHONUTF8": "1"},
    {"LC_ALL": "C", "PYTHONIOENCODING": "utf-8"},
    {"LC_ALL": "C", "PYTHONIOENCODING": "latin-1"},
    {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "latin-1"},
    {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "utf-16"},
    {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "iso2022_jp"},
    {"LC_ALL": "C.UTF-8"},
    {"LANG": "C.UTF-8", "PYTHONUTF8": "0"},
]
OUTPUTS = [
    ["--any"],
    ["-v"],
    ["-v", "--any", "-n", "2"],
    ["-n", "2"],
    ["-o", "json"],
    ["-o", "json", "--any"],
    ["-o", "nagios"],
    ["-o", "prometheus"],
    ["-z", "\x9b\u011b"],
    ["-o", "nagios", "-H", "\u011b\x9b", "-p", "\x1b"],
]


def environment(locale: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in ({**os.environ, **NO_LOCALE, "TERM": "dumb", **locale}).items() if value}


def assert_harmless(data: bytes, locale: Mapping[str, str]) -> None:
    """Check that no terminal of this locale finds a control character except newline and tab."""
    if "C.UTF-8" in locale.values():
        assert [each for each in data.decode() if not each.isprintable() and each not in "\n\t"] == []
    else:
        assert re.search(rb"[^\n\t -~]", data) is None, data


def ask(words: list[str], locale: Mapping[str, str], run: Callable[[list[str], dict[str, str]], bytes]) -> bytes:
    """Return all that the probe writes about one server and about two."""

    def answer(client: socket.socket) -> None:
        client.sendall(next(replies))

    replies = itertools.cycle(REPLIES)
    sock = socket.create_server(("", 0))
    written = b""
    with stream_server(sock, *[answer] * 8):
        port = sock.getsockname()[1]
        for hosts in (["127.0.0.1"], ["127.0.0.1", "127.0.0.2", "127.0.0.3"]):
            command = [sys.executable, "-m", "daytimed.probe", *words, *[f"{host}:{port}" for host in hosts]]
            written += run(command, environment(locale))
    return written


def piped(command: list[str], env: dict[str, str]) -> bytes:
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=60)
    return done.stdout


def on_terminal(command: list[str], env: dict[str, str]) -> bytes:
    """Run a command on a terminal of its own; return what it writes there, without the terminal's carriage returns."""
    ours, its = pty.openpty()
    process = subprocess.Popen(command, env=env, stdin=its, stdout=its, stderr=its)
    os.close(its)
    written = b""
    try:
        while part := os.read(ours, 65536):
            written += part
    except OSError:
        # EIO: the other side is closed
        pass
    process.wait(60)
    os.close(ours)
    return written.replace(b"\r\n", b"\n")


CASES = [(locale, words) for locale in LOCALES for words in OUTPUTS[:2] + OUTPUTS[-1:]]
CASES += [(locale, words) for locale in ({"LC_ALL": "C"}, {"LC_ALL": "C.UTF-8"}) for words in OUTPUTS[2:-1]]


@pytest.mark.parametrize(("locale", "words"), CASES, ids=str)
def test_no_byte_of_a_server_controls_a_terminal(locale: dict[str, str], words: list[str]) -> None:
    """In every locale and output, for one server and for several, no control character is written."""
    written = ask(words, locale, piped)
    assert written
    assert_harmless(written, locale)


@pytest.mark.parametrize("locale", LOCALES[:1] + LOCALES[-2:], ids=str)
def test_raw_output_is_escaped_on_a_terminal(locale: dict[str, str]) -> None:
    """Raw output is the bytes of the reply, but not on a terminal."""
    written = ask(["-o", "raw"], locale, on_terminal)
    assert b"2026-11-22 12:00:00 UTC " in written
    assert_harmless(written, locale)
    assert HOSTILE in ask(["-o", "raw"], locale, piped)


def test_json_of_hostile_bytes_can_be_read_back() -> None:
    """Every line of JSON is an object in ASCII."""
    for line in ask(["-o", "json"], {"LC_ALL": "C"}, piped).splitlines():
        assert isinstance(json.loads(line), dict)


# -- the daemon ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("locale", "expected"), [("C", rb"z\u011b\x9b"), ("C.UTF-8", "z\u011b\\x9b".encode())])
def test_console_of_the_daemon(locale: str, expected: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names from the configuration are escaped on a console that does not expect UTF-8."""
    monkeypatch.setenv("LC_ALL", locale)
    with open_pipe() as (reading, writing):
        log = Log(stream_sink(writing), "console", "debug", Losses())
        assert log.event("listener_closed", listener="z\u011b\x9b", address="tcp://:6000")
        line = drain(reading)
    assert expected in line
    assert b"\x9b" not in line.replace("\u011b".encode(), b"")


def test_errors_of_the_daemon() -> None:
    """The words of an error are escaped too, in any locale that is not UTF-8."""
    words = [sys.executable, "-m", "daytimed", "-l", "\u011b\x9b://x"]
    for locale in LOCALES:
        assert_harmless(piped(words, environment(locale)), locale)
