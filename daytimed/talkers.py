"""
Top talkers: the networks that most of the clients come from that are not logged one by one.

Space-Saving (Metwally, Agrawal, El Abbadi 2005) in a few cells of a worker's own slot: any number of networks can come,
a few are counted, and one that sends more than one in ENTRIES of all clients is among them. A newcomer takes over the
count of the least; how much that was is kept, and is not told of it: nobody is accused of what others did.

A network is an IPv4 /24, an IPv6 /48, or the unix sockets of this host.
"""

from __future__ import annotations

import ipaddress
import socket
from collections import Counter
from functools import lru_cache

from daytimed.addresses import unmap

#: Hosts whose place is remembered.
REMEMBERED = 1024

ENTRIES = 16
#: The period that is counted, then for each entry a network, its count, and how much of that it took over.
CELLS = 1 + 3 * ENTRIES

_KIND_SHIFT = 56
_UNIX, _IPV4, _IPV6 = (kind << _KIND_SHIFT for kind in (1, 2, 3))
_NUMBER_MASK = (1 << _KIND_SHIFT) - 1


def network_of(host: str) -> int:
    """Return the network of a host (an empty text for a unix socket) as a number other than 0."""
    if not host:
        return _UNIX
    host = unmap(host).partition("%")[0]
    if ":" in host:
        return _IPV6 | int.from_bytes(socket.inet_pton(socket.AF_INET6, host)[:6])
    return _IPV4 | int.from_bytes(socket.inet_pton(socket.AF_INET, host)[:3])


def name_of(network: int) -> str:
    """Write a network as people do."""
    number = network & _NUMBER_MASK
    if network >= _IPV6:
        return f"{ipaddress.IPv6Address(number << 80)}/48"
    return f"{ipaddress.IPv4Address(number << 8)}/24" if network >= _IPV4 else "unix"


class Talkers:
    """What one worker has counted in the current period; it is the only writer of its cells."""

    def __init__(self, cells: memoryview) -> None:
        self.counts = cells
        """Whoever counts a client adds one at its `place`: a call would cost more than that."""
        # given up as a whole when a network makes room for another
        self.place = lru_cache(REMEMBERED)(self._find)

    def begin(self, period: int) -> None:
        """Forget what was counted in another period."""
        if period != self.counts[0]:
            self.counts[:] = memoryview(bytes(8 * CELLS)).cast("Q")
            self.counts[0] = period
            self.place.cache_clear()

    def _find(self, host: str) -> int:
        """Return the place of a host's count."""
        network = network_of(host)
        cells: list[int] = self.counts.tolist()
        networks, counts = cells[1::3], cells[2::3]
        if network in networks:
            return 2 + 3 * networks.index(network)
        least = counts.index(min(counts))
        if networks[least]:
            self.place.cache_clear()
        first = 1 + 3 * least
        # in this order: the master may look in between, and the count is still that of the other
        self.counts[first + 2] = counts[least]
        self.counts[first] = network
        return first + 1


def read(cells: memoryview, period: int) -> Counter[int]:
    """Return how many clients of each network a worker has counted in a period: so many at least."""
    if cells[0] != period:
        return Counter()
    values: list[int] = cells.tolist()
    entries = zip(values[1::3], values[2::3], values[3::3], strict=True)
    return Counter({network: count - taken for network, count, taken in entries if count > taken})
