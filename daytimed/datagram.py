"""
What datagrams need and streams do not: from which of our addresses to answer, and whom never to answer.

A reply leaves from the address that was asked (ip(7), ipv6(7)), and never goes to what cannot be a client, so that two
services cannot be made to answer each other for ever, and a broadcast is not multiplied.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

Control = tuple[int, int, bytes]
"""A control message, cmsg(3): level, type, data."""

#: Room for struct in_pktinfo and struct in6_pktinfo with their headers, which come last, behind the times and marks
#: that whoever bound a passed socket may have asked for.
CONTROL_SPACE = 512

#: From <linux/in.h>; the socket module has it since Python 3.14.
IP_PKTINFO = 8
_IN_PKTINFO = struct.Struct("=i4s4s")
_UNKNOWN = bytes(4)
#: sizeof(struct in6_pktinfo)
_IN6_SIZE = 20


def ask_for_destinations(sock: socket.socket) -> None:
    """Have every datagram tell which of our addresses it was sent to; and none be sent to a whole network."""
    # whoever bound a passed socket may have allowed it; who is a broadcast address here, only the kernel knows
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 0)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    # a socket for both families tells of IPv4 this way alone, as IPv4-mapped pktinfo leaves out broadcasts
    if sock.family == socket.AF_INET or not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)


def reply_source(control: Sequence[Control]) -> list[Control] | None:
    """
    Return the control message that makes a reply leave from the address that was asked.

    Returns:
        An empty list if the kernel did not say; None if the datagram was sent to a broadcast or multicast address,
        from which nothing may be answered, or what the kernel said is cut off, so that it might have been.
    """
    for level, kind, data in control:
        if level == socket.IPPROTO_IP and kind == IP_PKTINFO:
            if len(data) != _IN_PKTINFO.size:
                return None
            _, local, destination = _IN_PKTINFO.unpack(data)
            if local == _UNKNOWN:
                # it came before the socket was told to say; the kernel chooses our address
                return None if destination[0] >= 224 else []
            return None if local != destination else [(level, kind, _IN_PKTINFO.pack(0, local, _UNKNOWN))]
    for level, kind, data in control:
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            return None if len(data) != _IN6_SIZE or data[0] == 0xFF else [(level, kind, data)]
    return []


def is_loop(host: str, port: int, own_ports: frozenset[int]) -> bool:
    """
    Say whether a datagram comes from where no client can be.

    That is a reserved port, or a port of our own UDP listeners, and a source that is multicast, broadcast or
    unspecified.
    """
    if port < 1024 or port in own_ports:
        return True
    if ":" in host:
        # ff00::/8: four digits, and not ff::/16 or ff0::/16, which are written without their zeros
        return host == "::" or (host.startswith("ff") and host.find(":") == 4)
    first = int(host.partition(".")[0])
    return first == 0 or first >= 224
