"""The three protocols of systemd, with sockets instead of systemd."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from unit_help import OS_TEXT, within

from daytimed import systemd
from daytimed.errors import ListenError
from daytimed.log.events import EVENTS
from daytimed.systemd import Journal, Notifier, encode_entry, is_journal_stream, take_passed

# the notification socket stays open as long as the process
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

UNITS = Path(__file__).parents[2] / "systemd"


def environment(**more: str) -> dict[str, str]:
    return {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "0", "PATH": "/bin", **more}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"LISTEN_FDS": "many"}, "LISTEN_FDS='many' is not a number"),
        ({"LISTEN_FDS": "9" * 5000}, "LISTEN_FDS='99999999999999999999' is not a number"),
        ({"LISTEN_FDS": "-1"}, "LISTEN_FDS='-1' is not a number"),
        ({"LISTEN_FDS": "99999"}, "LISTEN_FDS=99999: more than 4096"),
        ({"LISTEN_PID": "x"}, "LISTEN_PID='x' is not a number"),
        ({"LISTEN_PIDFDID": "x"}, "LISTEN_PIDFDID='x' is not a number"),
        ({"LISTEN_FDS": "1", "LISTEN_FDNAMES": "one:two"}, "LISTEN_FDNAMES='one:two' does not name 1 descriptors"),
        ({"LISTEN_FDS": "2", "LISTEN_FDNAMES": "one"}, "LISTEN_FDNAMES='one' does not name 2 descriptors"),
        ({"LISTEN_FDS": "4000"}, "LISTEN_FDS: descriptor PASSED (unknown) was not passed: Bad file descriptor"),
    ],
)
def test_garbage_is_one_sentence_and_the_environment_is_clean(variables: dict[str, str], message: str) -> None:
    """Invalid variables are an error in one sentence, and are removed from the environment."""
    script = (
        "import os\n"
        "from daytimed import errors, systemd\n"
        "os.environ['LISTEN_PID'] = os.environ['LISTEN_PID'].replace('PID', str(os.getpid()))\n"
        "try: print(systemd.take_passed(os.environ))\n"
        "except errors.ListenError as error: print(str(error).replace(str(os.getpid()), 'PID'))\n"
        "print(sorted(name for name in os.environ if name.startswith('LISTEN')))\n"
    )
    env = {**os.environ, "LISTEN_PID": "PID", "LISTEN_FDS": "0", **variables}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    told, left = done.stdout.splitlines()
    assert re.sub(r"descriptor \d+", "descriptor PASSED", told).startswith(message)
    assert left == "[]"


def own_pid(text: str) -> str:
    """Return the text, or the pid of this process for the word PID."""
    return str(os.getpid()) if text == "PID" else text


@given(
    pid=st.just("PID") | OS_TEXT,
    count=st.integers(0, 3).map(str) | OS_TEXT,
    names=st.just("") | st.lists(OS_TEXT, max_size=3).map(":".join),
    identity=st.just("") | OS_TEXT,
)
@example(pid="PID", count="900", names=":".join(["\x1b\n"] * 900), identity="")
def test_any_variables_are_descriptors_or_one_sentence(pid: str, count: str, names: str, identity: str) -> None:
    """Any LISTEN_* give the stated number of descriptors or one printable line, and are removed."""
    more = {"LISTEN_PID": own_pid(pid), "LISTEN_FDS": count, "LISTEN_FDNAMES": names, "LISTEN_PIDFDID": identity}
    environ = environment(**more)
    try:
        passed = take_passed(environ)
    except ListenError as error:
        assert str(error).isprintable()
    else:
        assert [descriptor for _, descriptor in passed] == list(range(3, 3 + (int(count) if passed else 0)))
    assert environ == {"PATH": "/bin"}


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"LISTEN_FDS": "1"},
        {"LISTEN_FDS": "many"},
        {"LISTEN_FDS": "1", "LISTEN_PID": ""},
        {"LISTEN_PID": "PID"},
        {"LISTEN_PID": "x"},
        {"LISTEN_PID": "PID", "LISTEN_FDS": ""},
        {"LISTEN_PID": "PID", "LISTEN_FDS": "0"},
        {"LISTEN_PID": "1", "LISTEN_FDS": "3", "LISTEN_FDNAMES": "a:b:c", "LISTEN_PIDFDID": "7"},
        {"LISTEN_PID": "1", "LISTEN_FDS": "many"},
        {"LISTEN_PID": "1", "LISTEN_FDS": "3", "LISTEN_FDNAMES": "a", "LISTEN_PIDFDID": "x"},
        {"LISTEN_PID": "PID", "LISTEN_FDS": "many", "LISTEN_PIDFDID": "1"},
        {"LISTEN_FDNAMES": "a:b"},
        {"LISTEN_PIDFDID": "x"},
    ],
)
def test_what_was_not_passed_to_this_process_is_ignored(variables: dict[str, str]) -> None:
    """Incomplete variables, and those of another process, pass nothing, whatever they contain, sd_listen_fds(3)."""
    environ = {**{name: own_pid(value) for name, value in variables.items()}, "PATH": "/bin"}
    assert take_passed(environ) == []
    assert environ == {"PATH": "/bin"}


def test_another_process_with_our_pid_is_known_by_its_pidfd() -> None:
    """A LISTEN_PIDFDID that is not ours means another process with the same pid."""
    assert take_passed(environment(LISTEN_FDS="9", LISTEN_PIDFDID="1")) == []
    own = os.pidfd_open(os.getpid())
    inode = os.fstat(own).st_ino
    os.close(own)
    assert take_passed(environment(LISTEN_PIDFDID=str(inode))) == []
    with pytest.raises(ListenError):
        take_passed(environment(LISTEN_FDS="x", LISTEN_PIDFDID=str(inode)))


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """The value of NOTIFY_SOCKET, and its socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        if request.param == "path":
            name = str(tmp_path / "notify")
            sock.bind(name)
        else:
            name = f"@daytimed-test-{os.getpid()}"
            sock.bind("\0" + name[1:])
        sock.settimeout(10)
        yield name, sock


def test_notifications(manager: tuple[str, socket.socket]) -> None:
    """Each call sends one datagram; no value can add an assignment."""
    name, sock = manager
    environ = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid()), "PATH": "/bin"}
    notifier = Notifier(environ)
    assert environ == {"PATH": "/bin"}
    assert bool(notifier)
    assert len(notifier.descriptors) == 1
    assert notifier.watchdog_s == 3.0
    assert notifier.send(READY=1, STATUS="one\nWATCHDOG=trigger")
    assert sock.recv(1000) == b"READY=1\nSTATUS=one WATCHDOG=trigger"
    assert notifier.reloading()
    assert re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=\d+", sock.recv(1000))


@pytest.mark.parametrize("character", ["x", "\u00fc", "\U0001f552", "\udc80"])
def test_a_long_value_is_cut(manager: tuple[str, socket.socket], character: str) -> None:
    """A message stays below the 4096 bytes that systemd takes, and is whole UTF-8."""
    name, sock = manager
    assert Notifier({"NOTIFY_SOCKET": name}).send(READY=1, STATUS=f"one{character * 5000}", ERRNO=1)
    message = sock.recv(100_000)
    assert len(message) < 4096
    assert re.fullmatch(r"READY=1\nSTATUS=one.{500,}\.\.\.\nERRNO=1", message.decode())


@given(value=OS_TEXT)
def test_any_value_is_one_assignment(value: str) -> None:
    """Any value arrives as one line."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        # the kernel chooses a name
        sock.bind("")
        notifier = Notifier({"NOTIFY_SOCKET": "@" + sock.getsockname()[1:].decode()})
        assert notifier.send(STATUS=value)
        assert re.fullmatch(rb"STATUS=[^\n]*", sock.recv(1000))
        close(notifier)


def close(notifier: Notifier) -> None:
    """Close its socket, which otherwise stays open until the process ends."""
    for descriptor in notifier.descriptors:
        socket.close(descriptor)


def test_descriptors_are_sent_to_be_kept(manager: tuple[str, socket.socket]) -> None:
    """FDSTORE carries the socket itself."""
    name, sock = manager
    with socket.create_server(("127.0.0.1", 0)) as kept:
        assert Notifier({"NOTIFY_SOCKET": name}).send(FDSTORE=1, FDNAME="x", descriptors=[kept.fileno()])
        text, descriptors, _, _ = socket.recv_fds(sock, 1000, 4)
        with socket.socket(fileno=descriptors[0]) as copy:
            assert (text, copy.getsockname()) == (b"FDSTORE=1\nFDNAME=x", kept.getsockname())


def test_without_a_manager_everything_is_reported() -> None:
    """Without NOTIFY_SOCKET, sending succeeds, and the watchdog is off."""
    notifier = Notifier({})
    assert (bool(notifier), notifier.send(READY=1), notifier.descriptors, notifier.watchdog_s) == (
        False,
        True,
        [],
        None,
    )
    assert Notifier({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}).watchdog_s is None


def test_a_manager_that_is_gone_is_no_error(tmp_path: Path) -> None:
    """A message that cannot be sent returns False and raises nothing."""
    assert Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).send(READY=1) is False


@pytest.mark.parametrize(
    "address",
    [
        "vsock:2:1234",
        "vsock-stream:2:1",
        "relative",
        "tcp:127.0.0.1:1",
        "/" + "x" * 107,
        "@" + "x" * 107,
        "/" + "ü" * 60,
    ],
)
def test_a_manager_it_cannot_reach_is_ignored(address: str) -> None:
    """An address that unix(7) does not have is named as ignored: nobody is notified, and no watchdog is fed."""
    environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000", "PATH": "/bin"}
    notifier = Notifier(environ)
    assert (bool(notifier), notifier.send(READY=1), notifier.watchdog_s) == (False, True, None)
    assert notifier.ignored == ["NOTIFY_SOCKET"]
    assert environ == {"PATH": "/bin"}


@pytest.mark.parametrize("length", [1, 107])
def test_the_longest_address_is_one(length: int, tmp_path: Path) -> None:
    """A path of 107 bytes, which unix(7) still has, is used."""
    assert Notifier({"NOTIFY_SOCKET": "/" * length}).ignored == []
    name = "@" + f"{os.getpid()}".rjust(106, "x")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name[1:])
        notifier = Notifier({"NOTIFY_SOCKET": name})
        assert notifier.send(READY=1)
        assert sock.recv(100) == b"READY=1"
        close(notifier)


@pytest.mark.parametrize(
    ("usec", "pid", "expected"),
    [
        ("3000000", "", 3.0),
        ("3000000", "PID", 3.0),
        ("3000000", "1", None),
        ("3000000", "x", None),
        ("soon", "1", None),
        ("", "PID", None),
        ("18446744073709551615", "", 86400.0),
        ("soon", "", "WATCHDOG_USEC='soon' is not a number"),
        ("-1", "PID", "WATCHDOG_USEC='-1' is not a number"),
        ("0", "", "WATCHDOG_USEC=0 is not a timeout"),
    ],
)
def test_the_watchdog_is_that_of_this_process(usec: str, pid: str, expected: float | str | None) -> None:
    """WATCHDOG_USEC counts for the process that WATCHDOG_PID names, or for all without it, sd_watchdog_enabled(3)."""
    watchdog = {"WATCHDOG_USEC": usec, "WATCHDOG_PID": own_pid(pid)}
    environ = {"NOTIFY_SOCKET": "@daytimed-none", **watchdog}
    if isinstance(expected, str):
        with pytest.raises(ListenError) as caught:
            Notifier(environ)
        assert str(caught.value).startswith(expected)
    else:
        notifier = Notifier(environ)
        assert notifier.watchdog_s == expected
        close(notifier)
    # without a manager nobody waits for a ping
    assert Notifier(watchdog).watchdog_s is None


@given(
    path=st.just("") | OS_TEXT.map("@daytimed-none-{}".format) | OS_TEXT,
    usec=OS_TEXT | st.integers(0).map(str),
    pid=OS_TEXT | st.just("PID"),
)
@example(path="", usec="9" * 19, pid="")
def test_any_manager_is_reported_or_one_sentence(path: str, usec: str, pid: str) -> None:
    """Any NOTIFY_SOCKET and WATCHDOG_* are removed; sending fails at worst, and raises nothing."""
    environ = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": usec, "WATCHDOG_PID": own_pid(pid), "PATH": "/bin"}
    try:
        notifier = Notifier(environ)
    except ListenError as error:
        assert str(error).isprintable()
    else:
        assert notifier.send(STATUS="") is not bool(notifier)
        # short enough to wait for
        assert notifier.watchdog_s is None or 0 < notifier.watchdog_s <= 86400
        close(notifier)
    assert environ == {"PATH": "/bin"}


@given(text=OS_TEXT)
def test_any_journal_stream_is_the_file_it_names(text: str) -> None:
    """Any JOURNAL_STREAM matches only the file that it names."""
    status = os.fstat(0)
    assert (text == f"{status.st_dev}:{status.st_ino}") == is_journal_stream({"JOURNAL_STREAM": text}, 0)


def parse_entry(data: bytes) -> dict[str, str]:
    """Parse the native protocol, by its specification."""
    fields = {}
    while data:
        name, separator, rest = data.partition(b"\n")
        if b"=" in name:
            key, _, value = name.partition(b"=")
            data = rest
        else:
            key = name
            size = int.from_bytes(rest[:8], "little")
            value, data = rest[8 : 8 + size], rest[8 + size + 1 :]
        assert separator
        fields[key.decode()] = value.decode()
    return fields


def test_entries_of_the_journal() -> None:
    """Values with and without line ends, and with an equals sign, arrive unchanged."""
    fields = {"MESSAGE": "one\ntwo", "PRIORITY": "6", "DAYTIMED_ERROR": "a=b", "EMPTY": "", "LAST": "\n"}
    assert parse_entry(encode_entry(fields)) == fields


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[tuple[Journal, socket.socket]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        path = str(tmp_path / "journal")
        sock.bind(path)
        sock.settimeout(10)
        journal = Journal(path)
        yield journal, sock
        journal._socket.close()


def test_an_entry_is_one_datagram(journald: tuple[Journal, socket.socket]) -> None:
    """One datagram carries all fields of an entry."""
    journal, sock = journald
    assert journal.write({"MESSAGE": "hello", "DAYTIMED_EVENT": "statistics"})
    assert parse_entry(sock.recv(10_000)) == {"MESSAGE": "hello", "DAYTIMED_EVENT": "statistics"}


def test_a_large_entry_is_a_sealed_file(journald: tuple[Journal, socket.socket]) -> None:
    """An entry too large for a datagram arrives as a sealed memory file."""
    journal, sock = journald
    fields = {"MESSAGE": "x" * 8_000_000}
    assert journal.write(fields)
    _, descriptors, _, _ = socket.recv_fds(sock, 10, 1)
    with os.fdopen(descriptors[0], "rb+") as file:
        file.seek(0)
        assert parse_entry(file.read()) == fields
        with pytest.raises(PermissionError):
            os.write(file.fileno(), b"more")


def test_a_journal_that_does_not_read_keeps_nobody_waiting(journald: tuple[Journal, socket.socket]) -> None:
    """When its queue is full, entries are lost at once, large ones too."""
    journal, _ = journald
    with within(20):
        while journal.write({"MESSAGE": "x"}):
            pass
        assert journal.write({"MESSAGE": "x" * 8_000_000}) is False


def test_a_journal_that_is_gone_loses_entries(tmp_path: Path) -> None:
    """Without the socket, an entry is lost and nothing is raised."""
    journal = Journal(str(tmp_path / "none"))
    assert journal.write({"MESSAGE": "x"}) is False
    journal._socket.close()
    assert not systemd.has_journal(str(tmp_path / "none"))


def test_the_stream_of_the_journal_is_known_by_its_inode() -> None:
    """JOURNAL_STREAM matches one file, not another and not a closed one."""
    reading, writing = os.pipe()
    status = os.fstat(writing)
    environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
    assert is_journal_stream(environ, writing)
    assert not is_journal_stream({}, writing)
    assert not is_journal_stream({"JOURNAL_STREAM": "8:1"}, writing)
    os.close(reading)
    os.close(writing)
    assert not is_journal_stream(environ, writing)


def test_the_catalog_explains_every_event() -> None:
    """The catalog has one entry with a subject for each event, in the order of the table."""
    text = (UNITS / "daytimed.catalog").read_text()
    assert [event.id for event in EVENTS.values()] == re.findall(r"^-- ([0-9a-f]{32})$", text, re.MULTILINE)
    assert len({event.id for event in EVENTS.values()}) == len(EVENTS)
    assert len(re.findall("^Subject: .+", text, re.MULTILINE)) == len(EVENTS)
