"""Sets of networks."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence


class NetworkSet:
    """A set of networks. A look-up costs as much for many networks as for one; only prefix lengths add to it."""

    def __init__(self, networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> None:
        self._prefixes: dict[int, dict[int, set[int]]] = {4: {}, 6: {}}
        for network in networks:
            shift = network.max_prefixlen - network.prefixlen
            self._prefixes[network.version].setdefault(shift, set()).add(int(network.network_address) >> shift)

    def __bool__(self) -> bool:
        return any(self._prefixes.values())

    def __contains__(self, host: str) -> bool:
        family, version = (socket.AF_INET6, 6) if ":" in host else (socket.AF_INET, 4)
        number = int.from_bytes(socket.inet_pton(family, host.partition("%")[0]))
        # any() of a generator doubles the cost, and a flood comes from unknown addresses
        for shift, known in self._prefixes[version].items():  # noqa: SIM110
            if number >> shift in known:
                return True
        return False
