"""A start that fails while sockets are passed: it is slow, it loses no client, and a mended file ends it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import DAYTIMED, DEADLINE_S, clean_environment, read_all, wait_until
from managers import Manager, passing

from daytimed import respite

WRONG = 'workers = "four"\n'
REASON = 'workers: "four" is not a whole number from 0 to 1024'


class Activation:
    """What a service manager keeps between the starts of one service."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "daytimed.toml"
        self.config.write_text(WRONG)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.name = "daytime"

    def start(self, *arguments: str, program: tuple[str, ...] = DAYTIMED, **env: str) -> subprocess.Popen[bytes]:
        """Start the daemon with the socket."""
        prefix = passing((self.name, self.socket.fileno()))
        return subprocess.Popen(
            [*prefix, *program, "-c", str(self.config), *arguments],
            env=clean_environment(env), pass_fds=[self.socket.fileno()], stderr=subprocess.PIPE,
        )  # fmt: skip

    def fail(self) -> float:
        """Let one start fail; return how long it took, in seconds."""
        begun = time.monotonic()
        process = self.start()
        _, errors = process.communicate(timeout=DEADLINE_S)
        assert (process.returncode, errors.decode()) == (78, f"daytimed: {self.config}: {REASON}\n")
        return time.monotonic() - begun

    def connect(self) -> socket.socket:
        return socket.create_connection(self.socket.getsockname(), timeout=DEADLINE_S)

    def delay(self) -> int:
        """Return the delay that the socket keeps, in seconds."""
        return int(struct.unpack("ll", self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, 16))[0]) % 16


@pytest.fixture
def activation(tmp_path: Path) -> Iterator[Activation]:
    made = Activation(tmp_path)
    with made.socket:
        yield made


def test_each_failure_takes_longer_until_the_file_changes(activation: Activation) -> None:
    """The first failure takes a second, the next two; after a change of the file or its mode it is one second again."""
    assert activation.fail() >= 1
    assert activation.delay() == 1
    assert activation.fail() >= 2
    assert activation.delay() == 2
    for change in (
        lambda: activation.config.write_text(WRONG + "# the same error\n"),
        lambda: activation.config.chmod(0o600),
    ):
        change()
        assert activation.fail() >= 1
        assert activation.delay() == 1


def test_kept_sockets_have_the_delay_too(activation: Activation) -> None:
    """A socket that the service manager has kept for us is passed again too, and a failure takes as long."""
    activation.name = f"stored-{'0' * 32}"
    assert activation.fail() >= 1
    assert activation.fail() >= 2
    assert activation.delay() == 2


def test_a_file_that_changes_ends_the_delay_of_kept_sockets(activation: Activation) -> None:
    """The process does not try again itself, because it may have closed some; the next start does."""
    activation.name = f"stored-{'0' * 32}"
    activation.fail()
    activation.fail()
    activation.fail()
    begun = time.monotonic()
    process = activation.start()
    assert process.stderr and process.stderr.readline()
    activation.config.write_text("workers = 1\n")
    process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 78
    # not the eight seconds of a fourth failure
    assert time.monotonic() - begun < 8


def test_clients_that_have_left_do_not_start_it_again(activation: Activation) -> None:
    """They are taken from the queue, however they left."""
    for how in ("close", "reset"):
        with activation.connect() as client:
            if how == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    activation.fail()
    activation.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        activation.socket.accept()


@pytest.mark.parametrize("delay", ["first second", "beyond"])
def test_a_waiting_client_is_answered_when_the_file_is_mended(activation: Activation, delay: str) -> None:
    """Nobody restarts the daemon: the change of the file does, and the client gets its reply."""
    with activation.connect() as client:
        process = activation.start()
        try:
            assert process.stderr and process.stderr.readline()
            if delay == "beyond":
                wait_until(lambda: not _is_queued(activation.socket), "the client is taken from the queue")
            activation.config.write_text("workers = 1\n")
            assert read_all(client).startswith(b"The Date Time is: ")
            with activation.connect() as another:
                assert read_all(another).startswith(b"The Date Time is: ")
            assert activation.delay() == 0
        finally:
            process.terminate()
            process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0


def _is_queued(listening: socket.socket) -> bool:
    # tcpi_unacked of a listening socket is the length of its queue, tcp(7)
    return bool(struct.unpack_from("I", listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 24)[0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_ends_it_at_once(activation: Activation, number: signal.Signals) -> None:
    """The exit status is that of the failure, and the next failure takes a second again."""
    activation.fail()
    process = activation.start()
    assert process.stderr and process.stderr.readline()
    process.send_signal(number)
    process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 78
    assert activation.delay() == 0


def test_the_service_manager_learns_the_reason_and_waits(activation: Activation, tmp_path: Path) -> None:
    """It gets the error as the status, and a timeout that is longer than the delay."""
    manager = Manager(tmp_path)
    with manager.socket:
        process = activation.start(NOTIFY_SOCKET=manager.path)
        try:
            assert manager.wait("STATUS=") == f"STATUS={activation.config}: {REASON}\nERRNO=0"
            assert manager.wait("EXTEND_TIMEOUT_USEC=") == "EXTEND_TIMEOUT_USEC=18000000"
        finally:
            process.terminate()
            process.communicate(timeout=DEADLINE_S)


@pytest.mark.parametrize("source", ["flag", "variable"])
def test_json_has_the_event_start_failed(activation: Activation, source: str) -> None:
    """A log that is JSON by a flag or a variable has the reason as an event at the level error."""
    process = (
        activation.start("--log-format", "json") if source == "flag" else activation.start(DAYTIMED_LOG_FORMAT="json")
    )
    _, errors = process.communicate(timeout=DEADLINE_S)
    event = json.loads(errors.splitlines()[0])
    assert (event["event"], event["level"]) == ("start_failed", "error")
    assert event["error"] == f"{activation.config}: {REASON}"


@pytest.mark.parametrize("bug", ["sys.modules['daytimed.cli'] = None", "import daytimed.cli; daytimed.cli.main = None"])
def test_a_bug_or_an_upgrade_takes_a_second_too(activation: Activation, bug: str) -> None:
    """Modules that cannot be imported, while an upgrade replaces them, do not exceed the trigger limit of systemd."""
    script = f"import sys; {bug}; from daytimed.__main__ import main; sys.exit(main())"
    begun = time.monotonic()
    process = activation.start(program=(sys.executable, "-c", script))
    _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert b"Traceback" in errors
    assert time.monotonic() - begun >= 1


def test_a_lack_of_resources_is_such_a_failure(activation: Activation) -> None:
    """A system call that fails although nothing is wrong with the configuration is one line, and delayed."""
    activation.config.write_text("# the defaults\n")
    script = (
        "import os, sys; from daytimed import cli, master; master.Counters = lambda: os.close(-1); sys.exit(cli.main())"
    )
    begun = time.monotonic()
    process = activation.start(program=(sys.executable, "-c", script))
    _, errors = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, errors) == (70, b"daytimed: cannot start: [Errno 9] Bad file descriptor\n")
    assert time.monotonic() - begun >= 1
    assert activation.delay() == 1


def test_wrong_options_take_a_second_too(activation: Activation) -> None:
    """An error in the command line of the unit does not exceed the trigger limit of systemd either."""
    begun = time.monotonic()
    process = activation.start("--nonsense")
    process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 2
    assert time.monotonic() - begun >= 1


def test_a_connection_at_its_end_does_not_hold_it_up(activation: Activation) -> None:
    """A passed stream that does not listen is readable forever once its peer has left; the start fails in a second."""
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours:
        process = subprocess.Popen(
            [*passing(("daytime", ours.fileno())), *DAYTIMED],
            env=clean_environment(), pass_fds=[ours.fileno()], stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            _, errors = process.communicate(timeout=DEADLINE_S)
        finally:
            # SIGTERM is blocked
            process.kill()
    assert process.returncode == 69
    assert b"is not a listening socket" in errors


def test_any_number_of_descriptors_can_be_open(activation: Activation) -> None:
    """A client is taken from a queue whose descriptor is beyond 1023, which select(2) does not take."""
    script = "import os, sys; [os.dup2(2, each) for each in range(4, 1100)]; os.execv(sys.argv[1], sys.argv[1:])"
    with activation.connect():
        pass
    more = ("bash", "-c", 'ulimit -n 2000 && exec "$@"', "bash")
    process = activation.start(program=(*more, sys.executable, "-c", script, *DAYTIMED))
    _, errors = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, errors.decode()) == (78, f"daytimed: {activation.config}: {REASON}\n")
    activation.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        activation.socket.accept()


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_flood_does_not_hold_it_up(kind: socket.SocketKind, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at a queue takes a bounded number of clients, however fast others come."""
    monkeypatch.setattr(respite, "MOST_AT_ONCE", 3)
    with socket.socket(socket.AF_INET, kind) as queue, contextlib.ExitStack() as stack:
        queue.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            queue.listen()
        for _ in range(5):
            client = stack.enter_context(socket.socket(socket.AF_INET, kind))
            client.connect(queue.getsockname())
            if kind == socket.SOCK_STREAM:
                client.close()
            else:
                client.send(b"x")
        assert respite._first_waiting(queue) is None
        assert respite._first_waiting(queue) is None
        queue.setblocking(False)
        with pytest.raises(BlockingIOError):
            queue.accept() if kind == socket.SOCK_STREAM else queue.recv(1)


def test_a_descriptor_that_is_no_socket_takes_a_second_too(activation: Activation) -> None:
    """The reason is another one; the delay is the same."""
    activation.config.write_text("")
    reading, writing = os.pipe()
    begun = time.monotonic()
    process = subprocess.Popen(
        [*passing(("daytime", reading)), *DAYTIMED], env=clean_environment(), pass_fds=[reading], stderr=subprocess.PIPE
    )
    _, errors = process.communicate(timeout=DEADLINE_S)
    os.close(reading)
    os.close(writing)
    assert process.returncode == 69
    assert errors.count(b"\n") == 1
    assert time.monotonic() - begun >= 1
