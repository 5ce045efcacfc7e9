"""One client: its reply, or the reason of its drop."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator

import pytest
from unit_help import has_ipv6, read_to_end, reset, within

from daytimed import session
from daytimed.datagram import CONTROL_SPACE, ask_for_destinations
from daytimed.gate import Gate
from daytimed.networks import NetworkSet
from daytimed.reasons import DENIED, NO_FD, NO_MEMORY, OS_ERROR, REASONS, RESET, TIMEOUT
from daytimed.ring import Ring

REPLY = b"The Date Time is: 2026-11-22 12:00:00.123456789 +0530 IST\r\n"


@contextlib.contextmanager
def connection(family: socket.AddressFamily = socket.AF_INET) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Return both ends of a connection: the client's and the accepted one."""
    if family == socket.AF_UNIX:
        client, accepted = socket.socketpair()
    else:
        host = "127.0.0.1" if family == socket.AF_INET else "::1"
        with socket.create_server((host, 0), family=family) as server:
            client = socket.create_connection(server.getsockname()[:2])
            accepted, _ = server.accept()
    with client, accepted:
        yield client, accepted


OPEN_GATE = Gate(NetworkSet([]), NetworkSet([]), None)


def streams(family: int = socket.AF_INET, reply: bytes = REPLY, gate: Gate = OPEN_GATE) -> session.Streams:
    """Return what serves the clients of a listener."""
    ring = Ring((int(family), int(socket.SOCK_STREAM), 0), None)
    return session.Streams(ring, gate, lambda now_ns: reply, is_unix=family == socket.AF_UNIX)


def serve(accepted: socket.socket, reply: bytes) -> int | None:
    """Serve a client; assert that its descriptor, which the detached object no longer knows, is closed in any case."""
    descriptor = accepted.fileno()
    with contextlib.closing(streams(accepted.family, reply)) as served:
        try:
            return served.serve((accepted.detach(), ("", 0)), 0)[1]
        finally:
            served.close()
            assert not is_open(descriptor)


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError as error:
        assert error.errno == errno.EBADF
        return False
    return True


FAMILIES = [
    socket.AF_INET,
    pytest.param(socket.AF_INET6, marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")),
    socket.AF_UNIX,
]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("sent", [0, 1, 65536])
def test_client_gets_the_reply_and_a_clean_end(family: socket.AddressFamily, sent: int) -> None:
    """A client that has written any amount gets the whole reply and end of file, not a reset."""
    with connection(family) as (client, accepted), within(10):
        client.sendall(b"x" * sent)
        assert (None, REPLY) == (serve(accepted, REPLY), read_to_end(client))


def test_client_that_has_ended_its_side_gets_the_reply() -> None:
    """A client that has shut down its sending side is served."""
    with connection() as (client, accepted), within(10):
        client.shutdown(socket.SHUT_WR)
        assert (None, REPLY) == (serve(accepted, REPLY), read_to_end(client))


def segments_received(sock: socket.socket) -> int:
    """Return tcpi_segs_in of struct tcp_info, <linux/tcp.h>."""
    return int(struct.unpack_from("=I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256), 140)[0])


def test_reply_and_end_are_one_segment() -> None:
    """Reply and end of stream leave in one segment."""
    with connection() as (client, accepted), within(10):
        before = segments_received(client)
        serve(accepted, REPLY)
        assert (REPLY, 1) == (read_to_end(client), segments_received(client) - before)


def test_stream_is_ended_whoever_has_a_copy() -> None:
    """The stream is shut down, not only closed: the client reads end of file though another process has the socket."""
    with connection() as (client, accepted), accepted.dup(), within(10):
        assert (None, REPLY) == (serve(accepted, REPLY), read_to_end(client))


def test_client_that_resets_is_dropped() -> None:
    """A client that has reset is dropped under `reset`, and its socket is closed."""
    with connection() as (client, accepted):
        reset(client)
        assert RESET == serve(accepted, REPLY)


def test_client_that_closes_is_served() -> None:
    """A client that closes at once, as a port scanner does, counts as served: nothing shows that it will not read."""
    with connection() as (client, accepted):
        client.close()
        assert serve(accepted, REPLY) is None


def test_closed_unix_client_is_dropped() -> None:
    """On a unix socket, a closed client is noticed at once and dropped under `reset`."""
    with connection(socket.AF_UNIX) as (client, accepted):
        client.close()
        assert RESET == serve(accepted, REPLY)


@pytest.mark.parametrize("sent", [b"", b"x"])
def test_client_that_takes_only_a_part_is_dropped(sent: bytes) -> None:
    """A client whose socket takes only a part of the reply is dropped without a wait."""
    reply = b"x" * (32 << 20)
    with connection() as (client, accepted), within(10):
        client.sendall(sent)
        assert TIMEOUT == serve(accepted, reply)


def test_client_that_takes_nothing_is_dropped() -> None:
    """A client whose socket is already full is dropped without a wait."""
    with connection() as (_, accepted), within(10):
        accepted.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                accepted.send(b"x" * (1 << 20))
        accepted.setblocking(True)
        assert TIMEOUT == serve(accepted, REPLY)


def test_bug_of_ours_is_seen() -> None:
    """An exception that is not a socket error propagates, and the client is still closed."""
    with connection() as (_, accepted), pytest.raises(TypeError):
        serve(accepted, "a text")  # type: ignore[arg-type]


EXPECTED_REASONS = {
    errno.ECONNRESET: RESET,
    errno.EPIPE: RESET,
    errno.ENOTCONN: RESET,
    errno.ECONNABORTED: RESET,
    errno.ECONNREFUSED: RESET,
    errno.ETIMEDOUT: TIMEOUT,
    errno.EAGAIN: TIMEOUT,
    errno.EMFILE: NO_FD,
    errno.ENFILE: NO_FD,
    errno.ENOBUFS: NO_MEMORY,
    errno.ENOMEM: NO_MEMORY,
}


@pytest.mark.parametrize("number", errno.errorcode)
def test_every_error_has_a_reason(number: int) -> None:
    """Every socket error has one reason; that of an unexpected one is os_error."""
    expected = EXPECTED_REASONS.get(number, OS_ERROR)
    assert REASONS[expected] == REASONS[session.drop(OSError(number, "text"))[1] or 0]


def test_error_without_a_number_has_a_reason() -> None:
    """The reason of an OSError that Python itself raises is os_error."""
    assert (0, OS_ERROR) == session.drop(OSError("no number"))


def test_refused_client_gets_no_byte() -> None:
    """A refused client is closed at once, without a byte."""
    gate = Gate(NetworkSet([]), NetworkSet([ipaddress.ip_network("192.0.2.0/24")]), None)
    with connection() as (client, accepted), contextlib.closing(streams(gate=gate)) as served:
        descriptor = accepted.detach()
        assert (0, DENIED) == served.serve((descriptor, ("192.0.2.1", 5)), 0)
        assert not is_open(descriptor)
        assert b"" == client.recv(1)


# -- datagrams -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def datagram_sockets(
    family: socket.AddressFamily, bound: str, client_at: str
) -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.socket(family, socket.SOCK_DGRAM) as server, socket.socket(family, socket.SOCK_DGRAM) as client:
        ask_for_destinations(server)
        server.bind((bound, 0))
        client.bind((client_at, 0))
        client.settimeout(10)
        yield client, server


@pytest.mark.parametrize("asked", ["127.0.0.1", "127.0.0.2", "127.1.2.3"])
def test_answer_comes_from_the_address_that_was_asked(asked: str) -> None:
    """A server on all addresses replies from the one that the client asked, so that the client accepts the reply."""
    with datagram_sockets(socket.AF_INET, "0.0.0.0", "127.0.0.1") as (client, server):
        client.connect((asked, server.getsockname()[1]))
        client.send(b"")
        assert (len(REPLY), None) == answer(server)
        assert REPLY == client.recv(1000)


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
@pytest.mark.parametrize("asked", ["::1", "::ffff:127.0.0.1", "::ffff:127.0.0.2"])
def test_answer_over_both_families(asked: str) -> None:
    """A socket for both families replies to each client from the address that it asked."""
    with datagram_sockets(socket.AF_INET6, "::", "::") as (client, server):
        client.connect((asked, server.getsockname()[1]))
        client.send(b"")
        assert (len(REPLY), None) == answer(server)
        assert REPLY == client.recv(1000)


def answer(server: socket.socket, reply: bytes = REPLY, gate: Gate = OPEN_GATE) -> tuple[int, int | None]:
    """Answer the next datagram."""
    request = server.recvmsg(1, CONTROL_SPACE)
    return session.Datagrams(server, gate, lambda now_ns: reply, frozenset()).serve(request, 0)


def test_answer_that_fails_is_a_drop() -> None:
    """An error of the send drops this client under its reason, and the server continues."""
    with datagram_sockets(socket.AF_INET, "127.0.0.1", "127.0.0.1") as (client, server):
        for _ in range(2):
            client.sendto(b"", server.getsockname())
        assert [(0, OS_ERROR), (len(REPLY), None)] == [answer(server, b"x" * 70_000), answer(server)]
        assert REPLY == client.recv(1000)


def test_datagram_that_is_judged_is_not_answered() -> None:
    """A datagram that the gate refuses is dropped under the gate's reason."""
    gate = Gate(NetworkSet([]), NetworkSet([ipaddress.ip_network("127.0.0.0/8")]), None)
    with datagram_sockets(socket.AF_INET, "127.0.0.1", "127.0.0.1") as (client, server):
        client.sendto(b"", server.getsockname())
        assert (0, DENIED) == answer(server, gate=gate)
