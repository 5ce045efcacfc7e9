"""The client of the probe, against real servers."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from unit_help import has_ipv6, read_to_end, reset, stream_server, within

from daytimed.addresses import Address
from daytimed.probe import client
from daytimed.probe.client import Answer, ask

REPLY = b"The Date Time is: 2026-11-22 12:00:00.123456789 +0530 IST\r\n"
LOOPBACK = "127.0.0.1"

Handler = Callable[[socket.socket], None]
#: A timeout for events that must happen, and one for events that never do.
LONG_S, SHORT_S = 20.0, 0.5
MOST = 1 << 20
NO_SUCH_KIND = 77


def send(*parts: bytes) -> Handler:
    """Return a handler that sends each part immediately."""

    def handle(sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            sock.sendall(part)

    return handle


@contextlib.contextmanager
def tcp_server(*handlers: Handler, host: str = LOOPBACK) -> Iterator[Address]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.create_server((host, 0), family=family)
    with stream_server(sock, *handlers):
        yield Address("tcp", host, sock.getsockname()[1])


@contextlib.contextmanager
def udp_server(*replies: bytes) -> Iterator[tuple[Address, list[bytes]]]:
    """Answer one datagram with the replies."""
    asked: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((LOOPBACK, 0))

        def run() -> None:
            data, peer = sock.recvfrom(65536)
            asked.append(data)
            for reply in replies:
                sock.sendto(reply, peer)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield Address("udp", LOOPBACK, sock.getsockname()[1]), asked
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
                # wakes the thread if no question came
                end.sendto(b"", sock.getsockname())
            thread.join()


def outcome(answer: Answer) -> tuple[bytes, str | None]:
    return answer.reply, answer.reason


# -- replies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", [LOOPBACK, pytest.param("::1", marks=pytest.mark.skipif(not has_ipv6(), reason=""))])
def test_reply(host: str) -> None:
    """A complete reply is all bytes up to end of file, with the family and the times."""
    with tcp_server(send(REPLY), host=host) as address:
        answer = ask(address, b"", LONG_S, MOST)
    assert (REPLY, None) == outcome(answer)
    assert (address, "ipv6" if ":" in host else "ipv4") == (answer.address, answer.family)
    assert answer.connect_s is not None
    assert 0 < answer.connect_s <= answer.total_s < LONG_S


def test_reply_in_pieces() -> None:
    """A reply is complete at end of file, not at the end of a packet."""
    pieces = [REPLY[index : index + 1] for index in range(len(REPLY))]
    with tcp_server(send(*pieces)) as address:
        assert (REPLY, None) == outcome(ask(address, b"", LONG_S, MOST))


def test_reply_of_a_unix_socket(tmp_path: Path) -> None:
    """A unix socket is asked like any other, and its family is `unix`."""
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(f"{tmp_path}/socket")
    sock.listen()
    with stream_server(sock, lambda client: client.sendall(REPLY)):
        answer = ask(Address("unix", path=f"{tmp_path}/socket"), b"", LONG_S, MOST)
    assert ((REPLY, None), "unix") == (outcome(answer), answer.family)


def test_request_is_written_first() -> None:
    """The whole request is sent before anything is read, and the connection stays open for the reply."""
    request = b"GET / HTTP/1.0\r\n\r\n"
    seen: list[bytes] = []

    def echo(sock: socket.socket) -> None:
        while len(b"".join(seen)) < len(request):
            seen.append(sock.recv(3))
        sock.sendall(REPLY)

    with tcp_server(echo) as address:
        assert (REPLY, None) == outcome(ask(address, request, LONG_S, MOST))
    assert request == b"".join(seen)


def test_nothing_is_written_unasked() -> None:
    """Without a request the client sends nothing."""
    seen = []

    def answer_and_listen(sock: socket.socket) -> None:
        sock.sendall(REPLY)
        sock.shutdown(socket.SHUT_WR)
        seen.append(read_to_end(sock))

    with tcp_server(answer_and_listen) as address:
        ask(address, b"", LONG_S, MOST)
    assert [b""] == seen


def test_bytes_are_unchanged() -> None:
    """Every byte value arrives unchanged."""
    everything = bytes(range(256))
    with tcp_server(send(everything)) as address:
        assert (everything, None) == outcome(ask(address, b"", LONG_S, MOST))


def test_datagram() -> None:
    """Over UDP one datagram is sent, and the first that comes back is the complete reply."""
    with udp_server(REPLY, b"second") as (address, asked):
        answer = ask(address, b"hello", LONG_S, MOST)
        assert ((REPLY, None), "ipv4", [b"hello"]) == (outcome(answer), answer.family, asked)


def test_empty_datagram_asks() -> None:
    """Without a request an empty datagram is the question."""
    with udp_server(REPLY) as (address, asked):
        assert ((REPLY, None), [b""]) == (outcome(ask(address, b"", LONG_S, MOST)), asked)


def test_host_that_is_left_out() -> None:
    """An address without a host is this host."""
    with tcp_server(send(REPLY)) as address:
        assert (REPLY, None) == outcome(ask(Address("tcp4", "", address.port), b"", LONG_S, MOST))


def test_name_is_looked_up() -> None:
    """A host may be a name; each of its addresses is tried until one answers."""
    with tcp_server(send(REPLY)) as address:
        assert (REPLY, None) == outcome(ask(Address("tcp", "localhost", address.port), b"", LONG_S, MOST))


# -- failures --------------------------------------------------------------------------------------------------------


def test_no_byte_at_all() -> None:
    """A server that closes without a byte has not replied."""
    with tcp_server(send()) as address:
        answer = ask(address, b"", LONG_S, MOST)
    assert (b"", "the server closed without sending a byte") == outcome(answer)
    assert answer.connect_s is not None


def test_reset_keeps_what_came() -> None:
    """A reset after some bytes is a failure that keeps the bytes."""

    def send_and_reset(sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        # more than the buffers hold (the window grows as the client reads), so some is read when this returns
        sock.sendall(b"x" * (8 << 20))
        reset(sock)

    with tcp_server(send_and_reset) as address:
        answer = ask(address, b"", LONG_S, 64 << 20)
    assert "the server reset the connection" == answer.reason
    assert {*b"x"} == {*answer.reply}


def test_reset() -> None:
    """A reset is a failure with its own reason."""
    with tcp_server(reset) as address:
        assert (b"", "the server reset the connection") == outcome(ask(address, b"", LONG_S, MOST))


def test_refused() -> None:
    """A port without a listener is a failure without a connection."""
    with socket.create_server((LOOPBACK, 0)) as sock:
        address = Address("tcp", LOOPBACK, sock.getsockname()[1])
    answer = ask(address, b"", LONG_S, MOST)
    assert (b"", "connection refused; nothing listens there") == outcome(answer)
    assert (None, None) == (answer.connect_s, answer.family)
    assert answer.total_s < LONG_S


def test_refused_datagram() -> None:
    """A UDP port without a server refuses too."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((LOOPBACK, 0))
        address = Address("udp", LOOPBACK, sock.getsockname()[1])
    assert (b"", "connection refused; nothing listens there") == outcome(ask(address, b"", LONG_S, MOST))


@pytest.mark.parametrize("listens", [False, True])
def test_unix_socket_without_a_server(listens: bool, tmp_path: Path) -> None:
    """A missing path and a path without a listener have different reasons."""
    if listens:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(f"{tmp_path}/socket")
    expected = "connection refused; nothing listens there" if listens else "no such socket"
    assert (b"", expected) == outcome(ask(Address("unix", path=f"{tmp_path}/socket"), b"", LONG_S, MOST))


def test_error_without_a_sentence_of_ours() -> None:
    """Any other error has the message of the system."""
    answer = ask(Address("unix", path="/dev/null/socket"), b"", LONG_S, MOST)
    assert (b"", "Not a directory") == outcome(answer)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        (Address("tcp", "\u00e9..b", 13), "cannot resolve \u00e9..b: not a host name"),
        (Address("tcp6", LOOPBACK, 13), "cannot resolve 127.0.0.1: Address family for hostname not supported"),
    ],
)
def test_names_that_cannot_be_resolved(address: Address, reason: str) -> None:
    """The reason contains the name that cannot be resolved."""
    answer = ask(address, b"", LONG_S, MOST)
    assert ((b"", reason), None) == (outcome(answer), answer.connect_s)


# -- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [len(REPLY), len(REPLY) + 1])
def test_reply_of_just_the_length(limit: int) -> None:
    """A reply of exactly the longest length is complete."""
    with tcp_server(send(REPLY)) as address:
        assert (REPLY, None) == outcome(ask(address, b"", LONG_S, limit))


@pytest.mark.parametrize("limit", [1, 10, len(REPLY) - 1])
def test_reply_that_is_too_long(limit: int) -> None:
    """A longer reply is a failure that keeps the beginning."""
    expected = (REPLY[:limit], f"the reply is longer than {limit} bytes; see --max-bytes")
    with tcp_server(send(REPLY)) as address:
        assert expected == outcome(ask(address, b"", LONG_S, limit))
    with udp_server(REPLY) as (address, _):
        assert expected == outcome(ask(address, b"", LONG_S, limit))


def test_reply_without_end() -> None:
    """An endless reply ends at the longest length."""

    def flood(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock.sendall(b"x" * 65536)

    with tcp_server(flood) as address, within(LONG_S):
        answer = ask(address, b"", LONG_S, 1000)
    assert (b"x" * 1000, "the reply is longer than 1000 bytes; see --max-bytes") == outcome(answer)


def test_server_that_never_answers() -> None:
    """A silent server takes no longer than the timeout."""
    with socket.create_server((LOOPBACK, 0)) as sock, within(LONG_S):
        answer = ask(Address("tcp", LOOPBACK, sock.getsockname()[1]), b"", SHORT_S, MOST)
    assert (b"", "no reply within 0.5 s") == outcome(answer)
    assert answer.connect_s is not None
    assert SHORT_S <= answer.total_s < LONG_S


def test_server_that_never_ends() -> None:
    """A reply without end of file is incomplete, and its bytes are kept."""
    done = threading.Event()

    def hold(sock: socket.socket) -> None:
        sock.sendall(REPLY)
        done.wait(LONG_S)

    with tcp_server(hold) as address, within(LONG_S):
        answer = ask(address, b"", SHORT_S, MOST)
        done.set()
    assert (REPLY, f"{len(REPLY)} bytes but no end of file within 0.5 s") == outcome(answer)


def test_deadline_is_one_for_all_pieces() -> None:
    """The deadline is not extended by each byte of a slow reply."""
    done = threading.Event()

    def drip(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not done.wait(0.01):
                sock.sendall(b"x")

    with tcp_server(drip) as address, within(LONG_S):
        answer = ask(address, b"", SHORT_S, MOST)
        done.set()
    assert answer.reason == f"{len(answer.reply)} bytes but no end of file within 0.5 s"
    assert SHORT_S <= answer.total_s < LONG_S


def test_server_that_never_reads() -> None:
    """Writing a request that the server does not read ends at the deadline."""
    with socket.create_server((LOOPBACK, 0)) as sock, within(LONG_S):
        answer = ask(Address("tcp", LOOPBACK, sock.getsockname()[1]), b"x" * (64 << 20), SHORT_S, MOST)
    assert (b"", "no reply within 0.5 s") == outcome(answer)


def test_datagram_that_is_never_answered() -> None:
    """A datagram without a reply takes no longer than the timeout."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, within(LONG_S):
        sock.bind((LOOPBACK, 0))
        answer = ask(Address("udp", LOOPBACK, sock.getsockname()[1]), b"", SHORT_S, MOST)
    assert (b"", "no reply within 0.5 s") == outcome(answer)


def test_connection_that_never_comes() -> None:
    """A server with a full backlog has its own reason: no connection."""
    with contextlib.ExitStack() as stack, within(LONG_S):
        sock = stack.enter_context(socket.create_server((LOOPBACK, 0), backlog=0))
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(sock.getsockname())
        answer = ask(Address("tcp", LOOPBACK, sock.getsockname()[1]), b"", SHORT_S, MOST)
    assert (b"", "no connection within 0.5 s") == outcome(answer)
    assert (None, None) == (answer.connect_s, answer.family)


def test_name_that_is_never_resolved() -> None:
    """A resolver that hangs is abandoned at the deadline."""
    end = threading.Event()

    def hang() -> list[client.Place]:
        end.wait(LONG_S)
        return []

    with within(LONG_S), pytest.raises(TimeoutError):
        client._with_deadline(hang, time.monotonic() + SHORT_S)
    end.set()


def test_error_of_the_resolver_comes_back() -> None:
    """An error of the resolver thread is raised in the caller."""

    def fail() -> list[client.Place]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(socket.gaierror, match="Name or service not known"):
        client._with_deadline(fail, time.monotonic() + LONG_S)


def test_time_that_is_up_before_it_begins() -> None:
    """Without time left, nothing is tried."""
    answer = ask(Address("tcp", LOOPBACK, 9), b"", -1.0, MOST)
    assert (b"", "no connection within 0 s") == outcome(answer)


def test_place_that_does_not_answer_leaves_time_for_the_next() -> None:
    """Each address of a name has its share of the time."""
    with contextlib.ExitStack() as stack, within(LONG_S):
        full = stack.enter_context(socket.create_server((LOOPBACK, 0), backlog=0))
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        good = stack.enter_context(socket.create_server((LOOPBACK, 0)))
        places: list[client.Place] = [
            (socket.AF_INET, socket.SOCK_STREAM, full.getsockname()),
            (socket.AF_INET, socket.SOCK_STREAM, good.getsockname()),
        ]
        with client._connect(places, time.monotonic() + 2 * SHORT_S, Answer(Address("tcp"))) as connection:
            assert good.getsockname() == connection.getpeername()


def test_last_error_is_raised() -> None:
    """If no address of a name answers, the last error is raised; a name without addresses is an error too."""
    with socket.create_server((LOOPBACK, 0)) as sock:
        port = sock.getsockname()[1]
    places: list[client.Place] = [
        (socket.AF_INET, NO_SUCH_KIND, (LOOPBACK, port)),
        (socket.AF_INET, socket.SOCK_STREAM, (LOOPBACK, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, (LOOPBACK, port)),
    ]
    with pytest.raises(ConnectionRefusedError):
        client._connect(places, time.monotonic() + LONG_S, Answer(Address("tcp")))
    with pytest.raises(OSError, match="no address") as caught:
        client._connect([], time.monotonic() + LONG_S, Answer(Address("tcp")))
    assert errno.EADDRNOTAVAIL == caught.value.errno


def test_datagrams_go_to_the_next_place() -> None:
    """The first address of a name that replies to a datagram is the server; a refusal is not a reply."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind((LOOPBACK, 0))
        refusing = unused.getsockname()
    answer = Answer(Address("udp", "name", 1))
    with udp_server(REPLY) as (address, _), within(LONG_S):
        places: list[client.Place] = [
            (socket.AF_INET, socket.SOCK_DGRAM, refusing),
            (socket.AF_INET, socket.SOCK_DGRAM, (LOOPBACK, address.port)),
        ]
        now = time.monotonic()
        client._exchange_datagrams(places, b"", now, now + LONG_S, MOST, answer)
    assert (answer.reply, answer.place) == (REPLY, places[1])


def test_unknown_service() -> None:
    """An unknown service name is a local failure, which says nothing about the server."""
    answer = ask(Address("tcp", LOOPBACK, "nosuch"), b"", LONG_S, MOST)
    expected = "unknown service nosuch; use a port number"
    assert (expected, True) == (answer.reason, answer.is_local)


def test_name_that_is_not_resolved_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that does not answer has a different reason from a server that does not."""

    def too_late(*_: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(client, "_with_deadline", too_late)
    answer = ask(Address("tcp", "daytime.example.org", 13), b"", SHORT_S, MOST)
    assert ("cannot resolve daytime.example.org within 0.5 s", False) == (answer.reason, answer.is_local)
