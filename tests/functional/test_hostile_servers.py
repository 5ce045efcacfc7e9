"""Hostile and broken servers: daytime-get ends in time, uses little memory, and reports what happened."""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from harness import DAYTIME_GET, DEADLINE_S, run
from servers import Behaviour, reset, saying, silence, stream_server

OUTPUTS = ("text", "json", "nagios", "prometheus")
#: The timeout of the probe, and the slack for a busy machine to start and end it.
TIMEOUT_S = 0.5
SLACK_S = DEADLINE_S / 3
#: How much memory a run may take beyond a good one, with the longest reply (1 MiB by default).
MOST_MEMORY = 16 << 20

#: Runs a command under an alarm and writes its peak memory to a file. A direct child of the tests would count their
#: memory too, because it shares that until it executes the command.
_MEASURE = """
import os, signal, sys
child = os.fork()
if not child:
    signal.alarm(int(sys.argv[2]))
    os.execvp(sys.argv[3], sys.argv[3:])
_, status, usage = os.wait4(child, 0)
with open(sys.argv[1], "w") as file:
    file.write(str(usage.ru_maxrss * 1024))
sys.exit(min(os.waitstatus_to_exitcode(status) % 256, 255))
"""


class Run(NamedTuple):
    """One run of the probe."""

    output: str
    code: int
    out: str
    err: str
    memory: int
    elapsed_s: float


def measured(output: str, folder: Path, *arguments: str) -> Run:
    """Run the probe, and measure its time and memory."""
    figure = folder / f"memory-{output}"
    measure = (sys.executable, "-I", "-S", "-c", _MEASURE, str(figure), str(int(DEADLINE_S / 2)))
    begun = time.monotonic()
    done = run(*measure, *DAYTIME_GET, "-o", output, *arguments)
    elapsed_s = time.monotonic() - begun
    out, err = done.stdout.decode(), done.stderr.decode()
    return Run(output, done.returncode, out, err, int(figure.read_text()), elapsed_s)


def measured_all(folder: Path, *arguments: str) -> list[Run]:
    """Run the probe once for each output, all in parallel."""
    with ThreadPoolExecutor(len(OUTPUTS)) as pool:
        return list(pool.map(lambda output: measured(output, folder, *arguments), OUTPUTS))


# -- servers ---------------------------------------------------------------------------------------------------------


def line() -> bytes:
    """Return a good reply."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC\r\n", time.gmtime()).encode()


def half_a_line(client: socket.socket) -> None:
    client.sendall(line()[:10])
    silence(client)


def one_line_and_no_end(client: socket.socket) -> None:
    client.sendall(line())
    silence(client)


def trickle(gap_s: float) -> Behaviour:
    """Send one byte after the other until the client closes."""

    def behave(client: socket.socket) -> None:
        client.sendall(b"x")
        while not select.select([client], [], [], gap_s)[0]:
            client.sendall(b"x")

    return behave


def endless(unit: bytes) -> Behaviour:
    def behave(client: socket.socket) -> None:
        while True:
            client.sendall(unit * (65536 // len(unit)))

    return behave


def gigabyte(client: socket.socket) -> None:
    chunk = b"0" * (1 << 20)
    for _ in range(1024):
        client.sendall(chunk)


def much_and_no_end(client: socket.socket) -> None:
    client.sendall(b"x" * (1 << 20))
    silence(client)


NO_END = rf"\d+ bytes? but no end of file within {TIMEOUT_S} s"
TOO_LONG = r"the reply is longer than 1048576 bytes; see --max-bytes"
RESET = "the server reset the connection"
UNREADABLE = "cannot read the reply: .+"
#: Every byte value, without anything like a time.
ALL_BYTES = bytes(range(256))
#: Controls for terminals and for plugin output. The reason quotes the beginning.
CONTROLS = (
    b"|'x'=1;2;3\x1b]0;owned\x07\x1b[2J\x9b31m\xc2\x9b2J\xe2\x80\xae\x08\x7f\n\n| y=2\x0b\x0c\x85\xe2\x80\xa8OK\r\0|\n"
)

#: Servers that the probe waits for until its timeout, and the reason it gives.
WAITS: dict[str, tuple[Behaviour, str]] = {
    "silence": (silence, rf"no reply within {TIMEOUT_S} s"),
    "half a line, then silence": (half_a_line, NO_END),
    "a whole line, and no end": (one_line_and_no_end, NO_END),
    "a byte a second": (trickle(1.0), NO_END),
    "a trickle that never ends": (trickle(0.02), NO_END),
}
#: Servers that fail before the timeout, and the reason.
FAULTS: dict[str, tuple[Behaviour, str]] = {
    "an endless stream": (endless(b"x"), TOO_LONG),
    "an endless stream of lines": (endless(b"2026-11-22 12:00:00 UTC\r\n"), TOO_LONG),
    "an endless stream of escapes": (endless(b"\x1b[2J"), TOO_LONG),
    "an endless stream of NUL": (endless(b"\0"), TOO_LONG),
    "an endless stream of no text": (endless(b"\xff"), TOO_LONG),
    "1 GiB": (gigabyte, TOO_LONG),
    "a reset before": (reset(), RESET),
    "a reset in the middle": (reset(b"2026-11-22 12:"), RESET),
    "a reset after": (reset(b"2026-11-22 12:00:00 UTC\r\n"), RESET),
    "a reset after much": (reset(b"x" * 300_000), RESET),
    "every byte": (saying(ALL_BYTES), UNREADABLE),
    "escapes": (saying(CONTROLS), UNREADABLE),
    "no text": (saying(b"\xff\xfe\xc3\x28\xed\xa0\x80\xf0\x9f"), UNREADABLE),
    "NUL": (saying(b"\0" * 1000), UNREADABLE),
    "the longest reply": (saying(b"| \x1b\xff\n" * 209_715 + b"|"), UNREADABLE),
    "half a line": (saying(b"Sun Nov 22 12:0"), UNREADABLE),
    "no such time": (saying(b"2026-13-32 25:61:61 UTC\r\n"), UNREADABLE),
}


# -- checks of every run ---------------------------------------------------------------------------------------------

#: Unknown figures are left out; without any, the bar is left out too.
PERFORMANCE = re.compile(r"time=\d+\.\d+s;;;0;[\d.]+( offset=-?\d+\.\d+s;;;;)?")
METRIC = re.compile(r'(# (HELP|TYPE) daytime_\w+ .+|daytime_\w+\{address="[^"\n]+"\} -?\d+(\.\d+)?)')


def assert_clean(done: Run) -> None:
    """Check that the output controls no terminal and is valid for the program that reads it."""
    for text in (done.out, done.err):
        assert [each for each in text if not each.isprintable() and each not in "\n\t"] == []
    assert "Traceback" not in done.err
    if done.output == "nagios":
        assert (done.out.count("\n"), done.out[-1:], done.err) == (1, "\n", "")
        _, bar, data = done.out.rstrip("\n").partition("|")
        assert not bar or PERFORMANCE.fullmatch(data.strip()), done.out
    elif done.output == "prometheus":
        assert [each for each in done.out.splitlines() if not METRIC.fullmatch(each)] == []
        assert done.err == ""
    elif done.output == "json":
        assert (done.out.count("\n"), done.err) == (1, "")


def assert_critical(done: Run, address: str, reason: str) -> None:
    """Check that a run is CRITICAL, with the reason in the outputs that have one."""
    assert done.code == 2, done
    assert_clean(done)
    if done.output == "text":
        assert re.fullmatch(f"daytime-get: {re.escape(address)}: {reason}\n", done.err), done.err
    elif done.output == "json":
        found = json.loads(done.out)
        assert (found["address"], found["state"], found["offset_s"]) == (address, "CRITICAL", None)
        assert re.fullmatch(reason, found["reason"], re.DOTALL), found["reason"]
        assert "within" not in reason or found["total_s"] < TIMEOUT_S + SLACK_S
    elif done.output == "nagios":
        assert re.match(f"DAYTIME CRITICAL: {re.escape(address)}: {reason}( \\| |\n)", done.out), done.out
    else:
        assert f'daytime_up{{address="{address}"}} 0\n' in done.out
        assert f'daytime_state{{address="{address}"}} 2\n' in done.out
        assert "daytime_offset_seconds" not in done.out


def assert_bounded(runs: Sequence[Run], good: dict[str, int], timeout_s: float = TIMEOUT_S) -> None:
    """Check that all runs ended in time and took little more memory than a good run."""
    assert max(done.elapsed_s for done in runs) < timeout_s + SLACK_S
    more = {done.output: done.memory - good[done.output] for done in runs}
    assert max(more.values()) <= MOST_MEMORY, more


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """The memory of a good run, for each output."""
    with stream_server(saying(line)) as address:
        runs = measured_all(tmp_path_factory.mktemp("good"), address)
    assert [done.code for done in runs] == [0] * len(runs)
    for done in runs:
        assert_clean(done)
    return {done.output: done.memory for done in runs}


@pytest.mark.parametrize("fault", [*WAITS, *FAULTS])
def test_streams(fault: str, good: dict[str, int], tmp_path: Path) -> None:
    """The probe ends in time with little memory, is CRITICAL, and reports what happened."""
    behave, reason = {**WAITS, **FAULTS}[fault]
    with stream_server(behave) as address:
        runs = measured_all(tmp_path, "-t", str(TIMEOUT_S if fault in WAITS else SLACK_S), address)
    for done in runs:
        assert_critical(done, address, reason)
    assert_bounded(runs, good)


def test_a_time_among_controls_is_read_and_shown_safely(good: dict[str, int], tmp_path: Path) -> None:
    """With escapes, bars, line ends and NUL around a good line, the time is right and the output safe."""
    # text after NUL is ignored
    with stream_server(saying(lambda: b"|\x1b[2J\n| " + line() + b"\x07\xff|\n" + CONTROLS)) as address:
        runs = measured_all(tmp_path, "-v", "-w", "5", address)
    for done in runs:
        assert done.code == 0, done
        data = done._replace(out=done.out.replace("=-5:5;", "=;").replace("s;-5:5;;;", "s;;;;"))
        assert_clean(data)
    assert_bounded(runs, good)


def test_controls_in_each_of_many_samples(tmp_path: Path) -> None:
    """The lines of the samples are as safe as a single reply."""
    with stream_server(saying(CONTROLS)) as address:
        for done in measured_all(tmp_path, "-n", "2", address):
            assert done.code == 2, done
            assert_clean(done)


def test_notes_on_an_odd_reply_are_safe(tmp_path: Path) -> None:
    """The notes on a good but odd reply keep to the rules of the output too."""
    odd = b"Mon, 22 Nov 2026 12:00:00 ZZZZZZZ |\x1b[2J|\n"
    with stream_server(saying(odd)) as address:
        for done in measured_all(tmp_path, "-z", "UTC", address):
            assert done.code == 0, done
            assert_clean(done)


def test_a_server_that_has_closed_its_reading_side_is_good(tmp_path: Path) -> None:
    """A server that shuts down its reading side and replies is OK."""

    def deaf(client: socket.socket) -> None:
        client.shutdown(socket.SHUT_RD)
        client.sendall(line())

    with stream_server(deaf) as address:
        for done in measured_all(tmp_path, address):
            assert done.code == 0, done
            assert_clean(done)


def test_many_samples_share_the_deadline(good: dict[str, int], tmp_path: Path) -> None:
    """A silent or trickling server gets one deadline for all samples, not one for each."""
    for behave in (silence, trickle(0.02)):
        with stream_server(behave) as address:
            runs = measured_all(tmp_path, "-t", "1.2", "-n", "5", address)
        for done in runs:
            assert done.code == 2
            assert_clean(done)
        assert_bounded(runs, good, 1.2)


def test_a_sample_has_the_time_that_is_left(tmp_path: Path) -> None:
    """A server that is silent after its first reply is WARNING; a hanging question gets half of the remaining time."""
    served: list[socket.socket] = []

    def once(client: socket.socket) -> None:
        served.append(client)
        (saying(line) if len(served) == 1 else silence)(client)

    with stream_server(once) as address:
        done = measured("json", tmp_path, "-t", "2", "-n", "3", address)
    found = json.loads(done.out)
    assert (done.code, found["state"], len(served)) == (1, "WARNING", 3)
    waited = re.search(r"no reply within ([\d.]+) s", found["reason"])
    assert waited, found["reason"]
    # 3 samples in a second: the second one begins after a third of a second
    assert float(waited[1]) <= 0.834


def test_a_connection_that_is_never_accepted(good: dict[str, int], tmp_path: Path) -> None:
    """A server with a full backlog gives no connection within the timeout."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        place = listener.getsockname()
        # more than fit; the rest keep trying
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(place)
        address = f"tcp://127.0.0.1:{place[1]}"
        runs = measured_all(tmp_path, "-t", str(TIMEOUT_S), address)
    for done in runs:
        assert_critical(done, address, rf"no connection within {TIMEOUT_S} s")
    assert_bounded(runs, good)


def test_a_unix_connection_that_is_never_accepted(good: dict[str, int], tmp_path: Path) -> None:
    """A full backlog of a unix socket, where the kernel does not let clients wait, has the same reason."""
    path = tmp_path / "socket"
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(path))
        listener.listen(0)
        refused = False
        while not refused:
            filler = stack.enter_context(socket.socket(socket.AF_UNIX))
            filler.setblocking(False)
            refused = filler.connect_ex(str(path)) != 0
        runs = measured_all(tmp_path, "-t", str(TIMEOUT_S), f"unix://{path}")
    for done in runs:
        assert_critical(done, f"unix://{path}", rf"no connection within {TIMEOUT_S} s")
    assert_bounded(runs, good)


@pytest.mark.parametrize("fault", ["half a line, then silence", "an endless stream", "escapes"])
def test_unix_streams(fault: str, good: dict[str, int], tmp_path: Path) -> None:
    """A server on a unix socket is not trusted either."""
    behave, reason = {**WAITS, **FAULTS}[fault]
    with stream_server(behave, path=tmp_path / "socket") as address:
        runs = measured_all(tmp_path, "-t", str(TIMEOUT_S if fault in WAITS else SLACK_S), address)
    for done in runs:
        assert_critical(done, address, reason)
    assert_bounded(runs, good)


# -- datagrams -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def datagrams(reply: bytes | None, elsewhere: bool = False) -> Iterator[str]:
    """Serve every datagram with the same reply, with none, or from another port."""
    with (
        socket.socket(type=socket.SOCK_DGRAM) as server,
        socket.socket(type=socket.SOCK_DGRAM) as other,
        socket.socket(type=socket.SOCK_DGRAM) as ending,
    ):
        server.bind(("127.0.0.1", 0))
        ending.bind(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                _, client = server.recvfrom(2048)
                if client == ending.getsockname():
                    return
                if reply is not None:
                    (other if elsewhere else server).sendto(reply, client)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"udp://127.0.0.1:{server.getsockname()[1]}"
        finally:
            ending.sendto(b"", server.getsockname())
            thread.join(DEADLINE_S)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("reply", "elsewhere", "reason", "arguments"),
    [
        pytest.param(None, False, rf"no reply within {TIMEOUT_S} s", [], id="never"),
        pytest.param(b"2026-11-22 12:00:00 UTC", True, rf"no reply within {TIMEOUT_S} s", [], id="from elsewhere"),
        pytest.param(b"", False, "the server sent an empty datagram", [], id="empty"),
        pytest.param(b"Sun Nov 22 12:0", False, UNREADABLE, [], id="truncated"),
        pytest.param(b"\x83\xaa\x7e", False, UNREADABLE, [], id="three of four bytes"),
        pytest.param(b"\x1b|\n\xff\0" * 13_000, False, UNREADABLE, [], id="as long as it can be"),
        pytest.param(
            b"2026-11-22 12:00:00 UTC\r\n", False, "the reply is longer than 24 bytes; see --max-bytes",
            ["--max-bytes", "24"], id="longer than allowed",
        ),
    ],
)  # fmt: skip
def test_datagrams(
    reply: bytes | None, elsewhere: bool, reason: str, arguments: list[str], good: dict[str, int], tmp_path: Path
) -> None:
    """A missing, empty, long or truncated datagram is handled like a stream."""
    with datagrams(reply, elsewhere) as address:
        runs = measured_all(tmp_path, "-t", str(TIMEOUT_S), *arguments, address)
    for done in runs:
        assert_critical(done, address, reason)
    assert_bounded(runs, good)


# -- several at once -------------------------------------------------------------------------------------------------


def test_many_hostile_servers_take_one_deadline(tmp_path: Path) -> None:
    """Side by side they take the time of one and have a line each, and a good one among them is OK."""
    with contextlib.ExitStack() as stack:
        asked = [stack.enter_context(stream_server(behave)) for behave, _ in (*WAITS.values(), *FAULTS.values())]
        asked.append(stack.enter_context(stream_server(saying(line))))
        runs = measured_all(tmp_path, "-t", "3", *asked)
    for done in runs:
        assert done.code == 2
        assert done.elapsed_s < 3 + SLACK_S
        assert [each for each in done.out if not each.isprintable() and each not in "\n\t"] == []
    text, objects, nagios, metrics = (done.out.splitlines() for done in runs)
    assert len(text) == len(asked) + 1
    assert [json.loads(each)["state"] for each in objects] == ["CRITICAL"] * (len(asked) - 1) + ["OK"]
    assert nagios[0].startswith(f"DAYTIME CRITICAL: 1 of {len(asked)} servers are OK")
    assert sum(each.startswith("DAYTIME CRITICAL: ") for each in nagios) == len(asked)
    # one bar, followed by data only
    assert runs[2].out.count("|") == 1
    assert [each for each in metrics if not METRIC.fullmatch(each)] == []
    assert f'daytime_up{{address="{asked[-1]}"}} 1' in metrics


@pytest.mark.parametrize("fault", ["1 GiB", "the longest reply", "a reset after much", "much, and no end"])
@pytest.mark.parametrize("arguments", [["-n", "1"], ["--any", "-n", "1"]], ids=["judged", "any"])
def test_many_long_replies_are_not_kept(fault: str, arguments: list[str], good: dict[str, int], tmp_path: Path) -> None:
    """Replies of a hundred servers that are refused, for any reason, take little memory: an excerpt of each is kept."""
    behave = {key: value for key, (value, _) in FAULTS.items()}.get(fault, much_and_no_end)
    with stream_server(behave, host="0.0.0.0") as address:
        asked = [f"127.0.1.{number}:{address.port}" for number in range(1, 101)]
        runs = measured_all(tmp_path, "-t", "2" if fault == "much, and no end" else "20", *arguments, *asked)
    is_accepted = "--any" in arguments and fault == "the longest reply"
    assert [done.code for done in runs] == [0 if is_accepted else 2] * len(runs)
    # JSON shows all of an accepted reply, so it keeps what it reads until the reply is refused
    more = {done.output: done.memory - good[done.output] for done in runs}
    if "--any" in arguments:
        del more["json"]
    assert max(more.values()) < 40 << 20, more
