"""
The client: it asks one server one question. It resolves, connects, sends the request, if any, and reads to end of file.

One deadline covers everything, name resolution included. An error of the server or the network raises nothing: it
becomes an `Answer` with a reason and the bytes that came before.
"""

from __future__ import annotations

import errno
import socket
import time
from _thread import allocate_lock, start_new_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from daytimed.addresses import Address

    Place = tuple[socket.AddressFamily, int, tuple[Any, ...] | str]

_CHUNK = 65536
_FAMILIES = {"4": socket.AF_INET, "6": socket.AF_INET6}
_FAMILY_NAMES = {socket.AF_INET: "ipv4", socket.AF_INET6: "ipv6", socket.AF_UNIX: "unix"}
_REASONS = {
    errno.ECONNREFUSED: "connection refused; nothing listens there",
    errno.ECONNRESET: "the server reset the connection",
    errno.EHOSTUNREACH: "no route to the host",
    errno.ENETUNREACH: "the network is unreachable",
    errno.ENOENT: "no such socket",
    errno.EMFILE: "this host is out of descriptors; see ulimit -n",
}
#: Shortages of this host, not of the server.
_LOCAL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})


class Answer:
    """The result of one question."""

    __slots__ = (
        "_left_at", "address", "after_ns", "before_ns", "connect_s", "dropped", "family", "is_local", "place", "reason",
        "reply", "total_s",
    )  # fmt: skip

    def __init__(self, address: Address) -> None:
        self.address = address
        self.place: Place | None = None
        """The socket address that was connected to."""
        self.family: str | None = None
        self.reply = b""
        """The reply, or as many bytes from its beginning as are kept."""
        self.dropped = 0
        """How many bytes of the reply are not kept."""
        self.before_ns = 0
        """Our clock when the connection attempt began or the datagram left; nanoseconds since 1970-01-01 UTC."""
        self._left_at = 0
        self.after_ns = 0
        """Our clock when the first byte of the reply arrived, as if it had not been set in between."""
        self.connect_s: float | None = None
        """Seconds from the start to the connection, name resolution included; None without a connection."""
        self.total_s = 0.0
        self.reason: str | None = None
        """Why it failed; None for a complete reply that is not empty."""
        self.is_local = False
        """Whether the reason lies on this host, not on the server: a shortage, or an unknown service name."""

    @property
    def size(self) -> int:
        """The length of the reply."""
        return len(self.reply) + self.dropped

    def keep(self, most: int) -> None:
        """Keep at most this many bytes from the beginning of the reply."""
        size = self.size
        self.reply = self.reply[:most]
        self.dropped = size - len(self.reply)

    def leave(self) -> None:
        """Note the time before which the server cannot have read its clock."""
        self.before_ns = time.time_ns()
        self._left_at = time.monotonic_ns()

    def arrive(self) -> None:
        """Note the time after which the server cannot have read its clock."""
        self.after_ns = self.before_ns + time.monotonic_ns() - self._left_at


class _AskError(Exception):
    """The question failed; the message is the reason."""

    def __init__(self, reason: str, is_local: bool = False) -> None:
        super().__init__(reason)
        self.is_local = is_local


def ask(
    address: Address,
    request: bytes,
    timeout_s: float,
    max_bytes: int,
    place: Place | None = None,
    kept: int | None = None,
) -> Answer:
    """
    Ask one server.

    Args:
        address: The server.
        request: Sent first, unless it is empty.
        timeout_s: The deadline for everything, in seconds from now.
        max_bytes: The length of the longest reply.
        place: A socket address found before. With it the same server is asked again, without name resolution.
        kept: How many bytes of the reply are kept; None for all. The others are read and counted.
    """
    answer = Answer(address)
    kept = max_bytes if kept is None else min(kept, max_bytes)
    started = time.monotonic()
    deadline = started + timeout_s
    try:
        places = [place] if place else _resolve(address, deadline)
        if address.transport == "udp":
            _exchange_datagrams(places, request, started, deadline, max_bytes, answer)
        else:
            with _connect(places, deadline, answer) as connection:
                answer.connect_s = time.monotonic() - started
                _read_stream(connection, request, deadline, max_bytes, kept, answer)
        if not answer.size:
            udp = address.transport == "udp"
            raise _AskError("the server sent an empty datagram" if udp else "the server closed without sending a byte")
    except _AskError as error:
        answer.reason, answer.is_local = str(error), error.is_local
    except _ResolvingError:
        answer.reason = f"cannot resolve {address.host} within {_seconds(timeout_s)}"
    except TimeoutError:
        came = f"{answer.size} bytes but no end of file" if answer.size else "no reply"
        answer.reason = f"{came if answer.connect_s is not None else 'no connection'} within {_seconds(timeout_s)}"
    except OSError as error:
        answer.reason = _REASONS.get(error.errno or 0) or error.strerror or str(error)
        answer.is_local = error.errno in _LOCAL
    answer.keep(kept)
    answer.total_s = time.monotonic() - started
    return answer


def _seconds(seconds: float) -> str:
    return f"{max(0.0, round(seconds, 3)):g} s"


def _left(deadline: float) -> float:
    """Return the seconds left until the deadline; raise TimeoutError after it."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class _ResolvingError(Exception):
    """The deadline passed during name resolution."""


def _resolve(address: Address, deadline: float) -> list[Place]:
    if address.scheme == "unix":
        return [(socket.AF_UNIX, socket.SOCK_STREAM, address.path)]
    kind = socket.SOCK_DGRAM if address.transport == "udp" else socket.SOCK_STREAM
    family = _FAMILIES.get(address.scheme[-1], socket.AF_UNSPEC)
    host = address.host or "localhost"
    # bytes: for text, Python would load the IDNA codec first
    name = host.encode() if host.isascii() else host

    def look_up(flags: int) -> list[Place]:
        found = socket.getaddrinfo(name, address.port, family, kind, 0, flags)
        return [(each[0], each[1], each[4]) for each in found]

    try:
        try:
            return look_up(socket.AI_NUMERICHOST)
        except socket.gaierror:
            return _with_deadline(lambda: look_up(0), deadline)
    except TimeoutError:
        raise _ResolvingError from None
    except socket.gaierror as error:
        if error.errno == socket.EAI_SERVICE:
            raise _AskError(f"unknown service {address.port}; use a port number", True) from None
        raise _AskError(f"cannot resolve {host}: {error.strerror}") from None
    except UnicodeError:
        raise _AskError(f"cannot resolve {host}: not a host name") from None


def _with_deadline(look_up: Callable[[], list[Place]], deadline: float) -> list[Place]:
    """Run a lookup, which cannot be interrupted, in a thread that is abandoned at the deadline."""
    result: list[list[Place] | Exception] = []
    done = allocate_lock()
    done.acquire()

    def run() -> None:
        try:
            result.append(look_up())
        except Exception as error:
            result.append(error)
        finally:
            done.release()

    try:
        start_new_thread(run, ())
    except RuntimeError:
        raise _AskError("this host cannot start a thread to resolve the name", True) from None
    if not done.acquire(timeout=_left(deadline)):
        raise TimeoutError
    if isinstance(result[0], Exception):
        raise result[0]
    return result[0]


def _shares(places: list[Place], deadline: float) -> Iterator[tuple[Place, float]]:
    """Yield each place with the end of its share of the remaining time."""
    for tried, place in enumerate(places):
        yield place, time.monotonic() + _left(deadline) / (len(places) - tried)


def _open(place: Place, deadline: float, answer: Answer) -> socket.socket:
    """Connect to one place."""
    family, kind, target = place
    connection = socket.socket(family, kind)
    try:
        connection.settimeout(_left(deadline))
        answer.leave()
        _connect_queued(connection, target, deadline)
    except OSError:
        connection.close()
        raise
    answer.place, answer.family = place, _FAMILY_NAMES.get(family)
    return connection


def _connect(places: list[Place], deadline: float, answer: Answer) -> socket.socket:
    """Connect to the first place that answers."""
    error: OSError | None = None
    for place, share in _shares(places, deadline):
        try:
            return _open(place, share, answer)
        except OSError as failed:
            error = failed
    raise error or OSError(errno.EADDRNOTAVAIL, "no address")


def _connect_queued(connection: socket.socket, target: Any, deadline: float) -> None:
    """Connect; retry while the backlog of a unix socket is full: a connect with a timeout gets EAGAIN, unix(7)."""
    while True:
        try:
            return connection.connect(target)
        except BlockingIOError:
            time.sleep(min(0.01, _left(deadline)))


def _read_stream(
    connection: socket.socket, request: bytes, deadline: float, max_bytes: int, kept: int, answer: Answer
) -> None:
    reply = bytearray()
    size = 0
    try:
        if request:
            connection.settimeout(_left(deadline))
            connection.sendall(request)
        while True:
            connection.settimeout(_left(deadline))
            # one byte beyond the limit, to detect a longer reply
            chunk = connection.recv(min(_CHUNK, max_bytes + 1 - size))
            if not chunk:
                return
            if not size:
                answer.arrive()
            reply += chunk[: kept - len(reply)]
            size += len(chunk)
            if size > max_bytes:
                raise _AskError(f"the reply is longer than {max_bytes} bytes; see --max-bytes")
    finally:
        answer.reply = bytes(reply)
        answer.dropped = size - len(reply)


def _exchange_datagrams(
    places: list[Place], request: bytes, started: float, deadline: float, max_bytes: int, answer: Answer
) -> None:
    """Ask one place after the other until one replies: for datagrams, a connection proves nothing."""
    error: OSError | None = None
    for place, share in _shares(places, deadline):
        try:
            with _open(place, share, answer) as connection:
                answer.connect_s = time.monotonic() - started
                answer.leave()
                connection.send(request)
                connection.settimeout(_left(share))
                reply = connection.recv(_CHUNK)
                answer.arrive()
        except OSError as failed:
            error = failed
            continue
        answer.reply = reply[:max_bytes]
        if len(reply) > max_bytes:
            raise _AskError(f"the reply is longer than {max_bytes} bytes; see --max-bytes")
        return
    raise error or OSError(errno.EADDRNOTAVAIL, "no address")
