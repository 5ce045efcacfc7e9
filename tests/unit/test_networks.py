"""Sets of networks."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daytimed.config.checks import Network
from daytimed.networks import NetworkSet

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def prefixes_of(address: IPAddress) -> st.SearchStrategy[Network]:
    """Draw the networks that contain an address."""
    lengths = st.integers(0, address.max_prefixlen)
    return lengths.map(lambda length: ipaddress.ip_network((address, length), strict=False))


def network_set(*networks: str) -> NetworkSet:
    return NetworkSet([ipaddress.ip_network(each) for each in networks])


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.0.2.0", True),
        ("192.0.2.255", True),
        ("192.0.3.0", False),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("fe80::1%eth0", True),
        ("fe81::1%eth0", False),
        ("::1", False),
    ],
)
def test_network_set(host: str, expected: bool) -> None:
    """An address is in the set if one of its networks contains it, on any interface; a second look agrees."""
    networks = network_set("192.0.2.0/24", "2001:db8::/32", "fe80::/64")
    assert [expected, expected] == [host in networks, host in networks]


def test_empty_network_set() -> None:
    """A set without networks is false and contains no address."""
    assert (False, True, False) == (
        bool(network_set()),
        bool(network_set("0.0.0.0/0")),
        "192.0.2.1" in network_set(),
    )


@given(
    networks=st.lists(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).flatmap(prefixes_of), max_size=6),
    host=st.ip_addresses(),
)
def test_network_set_agrees_with_the_standard_library(networks: list[Network], host: IPAddress) -> None:
    """An address is in a set of any networks if and only if one of them contains it."""
    near = [network.network_address for network in networks] + [network.broadcast_address for network in networks]
    found = NetworkSet(networks)
    for each in (host, *near):
        assert any(each in network for network in networks) == (str(each) in found)
