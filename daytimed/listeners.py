"""
Listeners: bind or adopt sockets, and describe each.

The master binds a socket and its workers share it. Nobody shuts it down: a worker that stops closes its own copy. Only
the process that bound a unix socket removes its path, and only while the path still leads to that socket.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from typing import Any

from daytimed.addresses import Address, join_host_port, printable
from daytimed.datagram import ask_for_destinations
from daytimed.errors import DaytimedError, ListenError, NoPermissionError

#: The kernel caps it at net.core.somaxconn.
BACKLOG = 65535
#: Bytes, which the kernel doubles. It bounds the memory that the unread input of a client holds: no reply depends on
#: input, and without a bound the kernel grants up to 6 MiB to a client that keeps writing.
RECEIVE_BUFFER = 32768

#: This host lacks the IPv6 address, or its kernel lacks the family.
_NO_SUCH_ADDRESS = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


class Listener:
    """A bound socket."""

    def __init__(self, sock: socket.socket, requested: Address, opening: object, name: str | None = None) -> None:
        self.socket = sock
        # read once, in the master: each access to these properties creates an enum
        self.kind = int(sock.family), int(sock.type), sock.proto
        """Family, type and protocol, as socket(2) takes them."""
        self.is_datagram = sock.type == socket.SOCK_DGRAM
        self.is_unix = sock.family == socket.AF_UNIX
        self.requested = requested
        self.name = name
        """The name given by the service manager that bound it; None if it was bound here."""
        self.opening = opening
        """The same object for all listeners of one `open_listeners` call: a host name can have several addresses."""
        self._identity = _identity(requested.path) if requested.path and name is None else None

    @property
    def address(self) -> str:
        """The bound address, as tcp://HOST:PORT with the actual port, or unix:///PATH."""
        if self.requested.scheme == "unix":
            return str(self.requested)
        host, port = self.socket.getsockname()[:2]
        return f"{self.requested.transport}://{join_host_port(host, port)}"

    @property
    def port(self) -> int:
        """The bound port; 0 for a unix socket."""
        return 0 if self.requested.scheme == "unix" else int(self.socket.getsockname()[1])

    @property
    def is_reachable(self) -> bool:
        """False if the path of a unix socket that was bound here no longer leads to it."""
        return self._identity is None or _identity(self.requested.path) == self._identity

    def is_bound_to(self, address: Address) -> bool:
        """Return whether it is bound to an address; names are compared, not resolved."""
        everywhere = {"unix": "", "tcp4": "0.0.0.0", "udp4": "0.0.0.0"}.get(address.scheme, "::")
        wanted = (address.transport, address.host or everywhere, address.port, address.path)
        return wanted == (self.requested.transport, self.requested.host, self.port, self.requested.path)

    def leave_path(self) -> None:
        """Keep the path of the socket on close: another process continues to use it."""
        self._identity = None

    def close(self) -> None:
        """Close the socket and remove its path; in a directory that this user cannot write, a stale path stays."""
        self.socket.close()
        if self._identity and _identity(self.requested.path) == self._identity:
            with contextlib.suppress(OSError):
                os.unlink(self.requested.path)


def open_listeners(address: Address) -> list[Listener]:
    """
    Bind an address and listen: one socket for each IP address of its host name.

    No host means all addresses of this machine. For `tcp` and `udp`, one socket then takes IPv4 and IPv6, or IPv4 alone
    if the kernel has no IPv6.

    Raises:
        ListenError, NoPermissionError: With one sentence.
    """
    opened: list[Listener] = []
    opening = object()
    skipped: OSError | None = None
    try:
        if address.scheme == "unix":
            return [_open_unix(address)]
        for family, place in _resolve(address):
            try:
                opened.append(Listener(_bind(address, family, place), address, opening))
            except OSError as error:
                if family != socket.AF_INET6 or error.errno not in _NO_SUCH_ADDRESS:
                    raise
                skipped = error
            else:
                if not address.host:
                    break
        if not opened and skipped:
            raise skipped
    except OSError as error:
        for listener in opened:
            listener.close()
        raise _explain(address, error) from None
    return opened


def adopt(name: str, descriptor: int, requested: Address | None = None) -> Listener:
    """
    Adopt a descriptor that was passed to this process.

    Args:
        name: Its FileDescriptorName=.
        descriptor: Any descriptor; one that is not a listening or datagram socket is rejected.
        requested: The address of the configuration, for a socket that daytimed itself bound and stored.

    Raises:
        ListenError: If it cannot serve clients.
    """
    where = f"LISTEN_FDS: descriptor {descriptor} ({printable(name)})"
    try:
        # without a family here, Python asks the kernel for it
        sock = socket.socket(fileno=descriptor)
        if sock.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
            raise ListenError(f"{where} is not an IPv4, IPv6 or unix socket; check the socket unit")
        datagram = sock.type == socket.SOCK_DGRAM and sock.family != socket.AF_UNIX
        if not datagram and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise ListenError(f"{where} is not a listening socket; with Accept=yes, use daytimed --inetd")
        # a previous owner may have set O_NONBLOCK, which all copies share
        sock.setblocking(True)
        if datagram:
            ask_for_destinations(sock)
        elif sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        if requested:
            listener = Listener(sock, requested, opening=name)
            listener.leave_path()
            return listener
        place = sock.getsockname()
    except OSError as error:
        raise ListenError(f"{where} is not a usable socket: {error.strerror}; check the socket unit") from None
    if sock.family == socket.AF_UNIX:
        path = "@" + place[1:].decode(errors="replace") if isinstance(place, bytes) else place
        return Listener(sock, Address("unix", path=path), object(), name)
    return Listener(sock, Address("udp" if datagram else "tcp", place[0], place[1]), object(), name)


def _resolve(address: Address) -> list[tuple[socket.AddressFamily, Any]]:
    wanted = {"4": socket.AF_INET, "6": socket.AF_INET6}.get(address.scheme[-1], socket.AF_UNSPEC)
    kind = socket.SOCK_DGRAM if address.transport == "udp" else socket.SOCK_STREAM
    host: str | bytes = address.host
    if address.host.isascii() and (":" in address.host or address.host.replace(".", "").isdigit()):
        # for a name, Python loads its tables of Unicode (idna); an IP address does not need them
        host = address.host.encode()
    try:
        found = socket.getaddrinfo(host or None, address.port, wanted, kind, 0, socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else "not a host name"
        raise ListenError(f"{address}: cannot resolve: {reason}") from None
    places: list[tuple[socket.AddressFamily, Any]] = [(family, place) for family, _, _, _, place in found]
    # without a host, IPv6 comes first: its socket takes IPv4 too
    places.sort(key=lambda each: each[0] != socket.AF_INET6)
    return list(dict.fromkeys(places)) if address.host else places


def _bind(address: Address, family: socket.AddressFamily, place: Any) -> socket.socket:
    datagram = address.transport == "udp"
    sock = socket.socket(family, socket.SOCK_DGRAM if datagram else socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6:
            # always set: the system's default can be either (ipv6(7), bindv6only)
            both = not address.host and not address.scheme.endswith("6")
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if both else 1)
        if datagram:
            ask_for_destinations(sock)
            sock.bind(place)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            _use_plain_congestion_control(sock)
            sock.bind(place)
            sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _use_plain_congestion_control(sock: socket.socket) -> None:
    """
    Use the simplest congestion control, tcp(7), for all clients of a listener.

    A reply is one segment, so congestion control has no effect, but bbr costs up to one twentieth of the CPU time of a
    reply. For a passed socket, its socket unit decides (TCPCongestion=).
    """
    with contextlib.suppress(OSError):
        # only an optimization: where it is not permitted, the system's default works too
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")


def _open_unix(address: Address) -> Listener:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            sock.bind(address.path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not _is_stale(address.path):
                raise
            os.unlink(address.path)
            sock.bind(address.path)
        # everyone may ask for the time; the mode of the directory restricts access
        os.chmod(address.path, 0o666)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return Listener(sock, address, object())


def _is_stale(path: str) -> bool:
    """Return whether a path is a socket that no process listens on."""
    if not stat.S_ISSOCK(os.stat(path, follow_symlinks=False).st_mode):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        # a listener with a full backlog is alive, but would block this connect
        client.setblocking(False)
        return client.connect_ex(path) == errno.ECONNREFUSED


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _explain(address: Address, error: OSError) -> DaytimedError:
    text, number = f"{address}: cannot listen: {error.strerror}", error.errno or 0
    if error.errno in (errno.EACCES, errno.EPERM):
        hint = "use the socket unit or CAP_NET_BIND_SERVICE for a port below 1024"
        if address.scheme == "unix":
            hint = "this user may not create a socket there"
        return NoPermissionError(f"{text}; {hint}", number)
    if error.errno == errno.EADDRINUSE:
        found = f"lsof {address.path}" if address.scheme == "unix" else f"ss -lnp 'sport = :{address.port}'"
        hint = f"stop the program that uses it (find it with: {found}) or choose another address"
        return ListenError(f"{text}; {hint}", number)
    if error.errno == errno.EAFNOSUPPORT and address.scheme != "unix":
        hint = (
            "this kernel lacks the address family, or systemd passed no socket to a unit that may not open its own"
            " (see: systemctl status daytimed.socket)"
        )
        return ListenError(f"{text}; {hint}", number)
    if error.errno == errno.EADDRNOTAVAIL:
        return ListenError(f"{text}; this machine has no such address (see: ip address)", number)
    return ListenError(text, number)
