"""
A sample of the clients that are not logged one by one: their networks.

Reservoir sampling (Vitter 1985, algorithm R) in a few cells of a worker's slot: each client that is offered is in the
sample with the same probability, and the memory is fixed. A network is an IPv4 /24, an IPv6 /48, a link (with the
number of its interface), or the unix sockets of this host.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections import Counter

from daytimed.addresses import unmap

ENTRIES = 32
#: The period, the number of clients offered in it, and the networks of those in the sample.
CELLS = 2 + ENTRIES

_KIND_SHIFT = 56
_UNIX, _IPV4, _IPV6, _LINK = (kind << _KIND_SHIFT for kind in (1, 2, 3, 4))
_NUMBER_MASK = (1 << _KIND_SHIFT) - 1


def network_of(host: str) -> int:
    """Return the network of a host, as `peers.host_of` writes it, as a number other than 0; empty is a unix socket."""
    if not host:
        return _UNIX
    host, _, scope = unmap(host).partition("%")
    if scope:
        return _LINK | int(scope)
    if ":" in host:
        return _IPV6 | int.from_bytes(socket.inet_pton(socket.AF_INET6, host)[:6])
    return _IPV4 | int.from_bytes(socket.inet_pton(socket.AF_INET, host)[:3])


def name_of(network: int) -> str:
    """Write a network in CIDR notation."""
    number = network & _NUMBER_MASK
    if network >= _LINK:
        return f"fe80::%{number}/64"
    if network >= _IPV6:
        return f"{ipaddress.IPv6Address(number << 80)}/48"
    return f"{ipaddress.IPv4Address(number << 8)}/24" if network >= _IPV4 else "unix"


def offer(cells: memoryview, host: str, period: int) -> None:
    """Offer a client to the sample of a period; only the worker that owns the cells may."""
    if cells[0] != period:
        # in this order: the master ignores a sample of another period
        cells[1:] = memoryview(bytes(8 * (CELLS - 1))).cast("Q")
        cells[0] = period
    place = cells[1]
    cells[1] = place + 1
    if place >= ENTRIES:
        place = int.from_bytes(os.urandom(8)) % (place + 1)
    if place < ENTRIES:
        cells[2 + place] = network_of(host)


def read(cells: memoryview, period: int) -> Counter[int]:
    """Return how many clients of each network are in the sample of a period."""
    if cells[0] != period:
        return Counter()
    networks: list[int] = cells[2:].tolist()
    return Counter(network for network in networks if network)
