"""
Listeners: bind or adopt sockets, and describe each.

The master binds a socket and its workers share it. A worker that stops closes its own copy. The path of a unix socket
that was bound here is removed with its listener, and only while it still leads to that socket.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Sequence
from functools import partial
from typing import Any

from daytimed import socketfile
from daytimed.addresses import Address, join_host_port
from daytimed.charset import printable
from daytimed.datagram import ask_for_destinations
from daytimed.errors import DaytimedError, ListenError, NoPermissionError
from daytimed.peers import host_of, name_interface

#: The kernel caps it at net.core.somaxconn.
BACKLOG = 65535
#: Bytes, which the kernel doubles. It bounds the memory that the unread input of a client holds: no reply depends on
#: input, and without a bound the kernel grants up to 6 MiB to a client that keeps writing.
RECEIVE_BUFFER = 32768
#: Of one host name. Each address has workers of its own, and a name server could send thousands that are local.
MOST_ADDRESSES = 16

Place = tuple[int, tuple[Any, ...]]
"""Where to bind: an address family and a socket address of it, as getaddrinfo(3) returns them."""

#: This host lacks the IPv6 address, its kernel lacks the family, or a sandbox forbids it (SocketBindDeny=, seccomp).
_NO_IPV6 = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EACCES, errno.EPERM})
_EVERYWHERE = frozenset({"0.0.0.0", "::"})
#: Ports below this one need a privilege, capabilities(7).
_UNPRIVILEGED = 1024


class Listener:
    """A bound socket."""

    def __init__(
        self,
        sock: socket.socket,
        requested: Address,
        *,
        name: str | None = None,
        number: int = 0,
        identity: socketfile.Identity | None = None,
    ) -> None:
        self.socket = sock
        # read once, in the master: each access to these properties creates an enum
        self.kind = int(sock.family), int(sock.type), sock.proto
        """Family, type and protocol, as socket(2) takes them."""
        self.is_datagram = sock.type == socket.SOCK_DGRAM
        self.is_unix = sock.family == socket.AF_UNIX
        self.requested = requested
        self.name = name
        """The name given by the service manager that bound it; None if it was bound here."""
        self.number = number
        """Counts the listeners of a configuration with this address: several can have port 0."""
        self.identity = identity
        """The file of a unix socket that was bound here."""
        self.kept_as = ""
        """The name under which systemd keeps a copy of it; empty if it keeps none."""

    @property
    def address(self) -> str:
        """The bound address, as tcp://HOST:PORT with the actual port, or unix:///PATH."""
        if self.requested.scheme == "unix":
            return str(self.requested)
        place = self.socket.getsockname()
        host = host_of(place, partial(name_interface, self.socket))
        return f"{self.requested.transport}://{join_host_port(host, place[1])}"

    @property
    def port(self) -> int:
        """The bound port; 0 for a unix socket."""
        return 0 if self.requested.scheme == "unix" else int(self.socket.getsockname()[1])

    @property
    def is_reachable(self) -> bool:
        """False if the path of a unix socket that was bound here no longer leads to it."""
        if not self.is_unix or self.name is not None:
            return True
        return self.identity is not None and socketfile.identify(self.requested.path) == self.identity

    def is_bound_to(self, address: Address) -> bool:
        """Return whether it is bound to an address; names are compared, not resolved."""
        everywhere = {"4": {"0.0.0.0"}, "6": {"::"}}.get(address.scheme[-1], {"::", "0.0.0.0", ""})
        place = (self.requested.transport, self.port, self.requested.path)
        hosts = {address.host} if address.host else everywhere
        return self.requested.host in hosts and place == (address.transport, address.port, address.path)

    def blocks(self, address: Address, places: Sequence[Place]) -> bool:
        """Return whether no other socket can be bound to these places of an address while this one is open."""
        if self.is_unix or self.requested.transport != address.transport:
            return False
        host, port = self.socket.getsockname()[:2]
        return any(port == place[1] and (host == place[0] or {host, place[0]} & _EVERYWHERE) for _, place in places)

    def close(self) -> None:
        """Close the socket; remove its path, unless systemd keeps a copy for the next start."""
        self.socket.close()
        if self.identity and not self.kept_as:
            socketfile.remove(self.requested.path, self.identity)


def resolve(address: Address) -> list[Place]:
    """
    Look up a host name; this can wait for a name server.

    Returns:
        One place for each IP address, IPv6 first. No host means all addresses of this machine, by family. A unix socket
        has none.

    Raises:
        ListenError: If the name stands for nothing, or for too many addresses.
    """
    if address.scheme == "unix":
        return []
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
    places: list[Place] = [*dict.fromkeys((int(family), place) for family, _, _, _, place in found)]
    if len(places) > MOST_ADDRESSES:
        raise ListenError(
            f"{address}: cannot resolve: the name has {len(places)} addresses, more than {MOST_ADDRESSES};"
            " write those to listen on instead"
        )
    # without a host, IPv6 comes first: its socket takes IPv4 too
    places.sort(key=lambda each: each[0] != socket.AF_INET6)
    return places


def open_listeners(address: Address, places: Sequence[Place], number: int = 0) -> list[Listener]:
    """
    Bind an address and listen: one socket for each IP address of its host name.

    For `tcp` and `udp` without a host, one socket takes IPv4 and IPv6, or IPv4 alone if there is no IPv6 here.

    Args:
        address: The address of the configuration.
        places: What `resolve` has returned for it.
        number: See `Listener.number`.

    Raises:
        ListenError, NoPermissionError: With one sentence. Nothing is left open.
    """
    if address.scheme == "unix":
        return [_open_unix(address, number)]
    opened: list[Listener] = []
    skipped: DaytimedError | None = None
    try:
        for family, place in places:
            try:
                opened.append(Listener(_bind(address, family, place), address, number=number))
            except OSError as error:
                explained = _explain(address, error, place)
                if family != socket.AF_INET6 or error.errno not in _NO_IPV6:
                    raise explained from None
                skipped = explained
            else:
                if not address.host:
                    break
        if not opened:
            raise skipped or ListenError(f"{address}: cannot listen: the name stands for no address")
    except BaseException:
        for listener in opened:
            listener.close()
        raise
    return opened


def adopt(name: str, descriptor: int) -> Listener:
    """
    Adopt a socket that a service manager has bound.

    Args:
        name: Its FileDescriptorName=.
        descriptor: Any descriptor; one that is not a listening or datagram socket is rejected.

    Raises:
        ListenError: If it cannot serve clients.
    """
    sock, requested = _take(name, descriptor)
    return Listener(sock, requested, name=name)


def adopt_kept(name: str, descriptor: int) -> Listener:
    """
    Adopt a socket that was bound here before a restart, for the address that it is bound to.

    Args:
        name: The name under which it was kept.
        descriptor: Its descriptor.

    Raises:
        ListenError: If it cannot serve clients.
    """
    sock, bound = _take(name, descriptor)
    listener = Listener(sock, bound)
    listener.kept_as = name
    return listener


def _take(name: str, descriptor: int) -> tuple[socket.socket, Address]:
    """Check and prepare a descriptor; return its socket and the address that it is bound to."""
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
        place = sock.getsockname()
    except OSError as error:
        raise ListenError(f"{where} is not a usable socket: {error.strerror}; check the socket unit") from None
    if sock.family == socket.AF_UNIX:
        path = "@" + place[1:].decode(errors="replace") if isinstance(place, bytes) else place
        return sock, Address("unix", path=path)
    host = host_of(place, partial(name_interface, sock))
    return sock, Address("udp" if datagram else "tcp", host, place[1])


def _bind(address: Address, family: int, place: tuple[Any, ...]) -> socket.socket:
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


def _open_unix(address: Address, number: int) -> Listener:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        identity = socketfile.bind(sock, address.path, BACKLOG)
    except OSError as error:
        sock.close()
        raise _explain(address, error) from None
    return Listener(sock, address, number=number, identity=identity)


def _explain(address: Address, error: OSError, place: tuple[Any, ...] = ("", 0)) -> DaytimedError:
    text, number = f"{address}: cannot listen: {error.strerror}", error.errno or 0
    if error.errno in (errno.EACCES, errno.EPERM):
        if address.scheme == "unix":
            hint = "this user may not create a socket there"
        elif 0 < place[1] < _UNPRIVILEGED:
            hint = "use the socket unit or CAP_NET_BIND_SERVICE for a port below 1024"
        else:
            hint = (
                "a sandbox or a security policy forbids it (see SocketBindDeny= and RestrictAddressFamilies=:"
                " systemctl cat daytimed)"
            )
        return NoPermissionError(f"{text}; {hint}", number)
    if error.errno == errno.EADDRINUSE:
        found = f"lsof {address.path}" if address.scheme == "unix" else f"ss -lnp 'sport = :{address.port}'"
        hint = f"stop the program that uses it (find it with: {found}) or choose another address"
        return ListenError(f"{text}; {hint}", number)
    if address.scheme == "unix":
        return ListenError(text, number)
    hints = {
        errno.EAFNOSUPPORT: (
            "this kernel lacks the address family, or systemd passed no socket to a unit that may not open its own"
            " (see: systemctl status daytimed.socket)"
        ),
        errno.EADDRNOTAVAIL: "this machine has no such address (see: ip address)",
        errno.EINVAL: (
            "write an fe80: address with its interface, for example [fe80::1%eth0]:6000,"
            " and an IPv4 address without ::ffff:"
        ),
    }
    hint = hints.get(number, "")
    return ListenError(f"{text}; {hint}" if hint else text, number)
