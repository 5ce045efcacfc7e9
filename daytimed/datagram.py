"""
Source and destination rules for datagrams.

A reply leaves from the address that the request was sent to (ip(7), ipv6(7)). It never goes to an address that cannot
be a client, so two services cannot answer each other endlessly, and a broadcast is not amplified.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

Control = tuple[int, int, bytes]
"""A control message, cmsg(3): level, type, data."""

#: Room for struct in_pktinfo and struct in6_pktinfo with their headers. They come last, after the timestamps and marks
#: that the process that bound a passed socket may have enabled.
CONTROL_SPACE = 512

#: From <linux/in.h>; the socket module defines it since Python 3.14.
IP_PKTINFO = 8
_IN_PKTINFO = struct.Struct("=i4s4s")
_UNKNOWN = bytes(4)
#: sizeof(struct in6_pktinfo)
_IN6_SIZE = 20


def ask_for_destinations(sock: socket.socket) -> None:
    """Make the kernel report the destination of every datagram, and refuse to send to a broadcast address."""
    # a passed socket may allow broadcasts, and only the kernel knows the broadcast addresses of this host
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 0)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    # for IPv4 on a dual-stack socket too: IPv4-mapped pktinfo does not identify broadcasts
    if sock.family == socket.AF_INET or not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)


def reply_source(control: Sequence[Control]) -> list[Control] | None:
    """
    Return the control message that makes a reply leave from the destination address of the request.

    Returns:
        An empty list if the kernel reported no destination. None if no reply may be sent: the destination is a
        broadcast or multicast address, or the control message is truncated, so that it may be one.
    """
    for level, kind, data in control:
        if level == socket.IPPROTO_IP and kind == IP_PKTINFO:
            if len(data) != _IN_PKTINFO.size:
                return None
            _, local, destination = _IN_PKTINFO.unpack(data)
            if local == _UNKNOWN:
                # it arrived before IP_PKTINFO was set; the kernel chooses our address
                return None if destination[0] >= 224 else []
            return None if local != destination else [(level, kind, _IN_PKTINFO.pack(0, local, _UNKNOWN))]
    for level, kind, data in control:
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            return None if len(data) != _IN6_SIZE or data[0] == 0xFF else [(level, kind, data)]
    return []


def is_loop(host: str, port: int, own_ports: frozenset[int]) -> bool:
    """
    Return whether the source of a datagram cannot be a client.

    A reserved port, a port of our own UDP listeners, and a multicast, broadcast or unspecified address cannot.
    """
    if port < 1024 or port in own_ports:
        return True
    if ":" in host:
        # ff00::/8 has four digits in its first group; ff::/16 and ff0::/16 have fewer
        return host == "::" or (host.startswith("ff") and host.find(":") == 4)
    first = int(host.partition(".")[0])
    return first == 0 or first >= 224
