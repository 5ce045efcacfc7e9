"""
Peers: the addresses of clients, as accept(2), recvmsg(2) and getsockname(2) return them.

The same link-local address can exist on each link, so these have a scope (RFC 4007): `fe80::1%eth0`.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

Peer = tuple[Any, ...]
"""Host and port; for IPv6, flow information and scope too. The scope is 0 or the number of an interface."""
NAMELESS: Peer = ("", 0)
"""The client of a unix socket."""

#: struct ifreq of netdevice(7), with room for its union.
_IFREQ = struct.Struct("16sI20x")
_SIOCGIFNAME = 0x8910


def host_of(peer: Peer, name_scope: Callable[[int], object] = int) -> str:
    """
    Return the host of a peer, with its scope if it has one.

    Args:
        name_scope: Turns the number of an interface into its name; without it, the scope is the number.
    """
    if len(peer) == 2 or not peer[3]:
        host: str = peer[0]
        return host
    return f"{peer[0]}%{name_scope(peer[3])}"


def name_interface(sock: socket.socket | int, number: int) -> str:
    """
    Return the name of an interface in the network namespace of a socket; its number if that is not possible.

    if_indextoname(3) would look in the namespace of this process, which is another one with a passed socket and
    PrivateNetwork=yes.
    """
    try:
        answer = fcntl.ioctl(sock, _SIOCGIFNAME, _IFREQ.pack(b"", number))
    except (OSError, ValueError):
        # the interface has gone, or the socket was closed by a stop
        return str(number)
    name: bytes = _IFREQ.unpack(answer)[0]
    return os.fsdecode(name.partition(b"\0")[0])
