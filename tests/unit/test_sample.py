"""The sample of the clients that are not logged: their networks, in a few cells of shared memory."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daytimed.sample import CELLS, ENTRIES, name_of, network_of, offer, read


def cells() -> memoryview[int]:
    return memoryview(bytearray(8 * CELLS)).cast("Q")


def sampled(table: memoryview[int], period: int = 1) -> Counter[str]:
    return Counter({name_of(network): count for network, count in read(table, period).items()})


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.0.2.255", "192.0.2.0/24"),
        ("0.0.0.0", "0.0.0.0/24"),
        ("255.255.255.255", "255.255.255.0/24"),
        ("::ffff:192.0.2.1", "192.0.2.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("fe80::1%3", "fe80::%3/64"),
        ("fe80::1%4294967295", "fe80::%4294967295/64"),
        ("::", "::/48"),
        ("", "unix"),
    ],
)
def test_networks(host: str, expected: str) -> None:
    """A network is an IPv4 /24, an IPv6 /48, a link or the unix sockets; an IPv4-mapped address is IPv4."""
    assert expected == name_of(network_of(host))


@given(address=st.ip_addresses().filter(lambda address: not getattr(address, "ipv4_mapped", None)))
def test_every_host_is_in_its_network(address: IPv4Address | IPv6Address) -> None:
    """The name of a host's network contains the host, and its number fits into a cell."""
    network = network_of(str(address))
    assert address in ip_network(name_of(network))
    assert 0 < network < 2**64


@given(hosts=st.lists(st.integers(0, 60), max_size=ENTRIES))
def test_few_clients_are_all_in_the_sample(hosts: list[int]) -> None:
    """Up to ENTRIES clients are all in the sample."""
    table = cells()
    for host in hosts:
        offer(table, f"10.0.{host}.1", 1)
    assert Counter(f"10.0.{host}.0/24" for host in hosts) == sampled(table)


def test_each_client_has_the_same_chance() -> None:
    """Of many more clients than ENTRIES, the first have the same share of the sample as the last."""
    first = 0
    for _ in range(300):
        table = cells()
        for number in range(10 * ENTRIES):
            offer(table, "192.0.2.1" if number < 5 * ENTRIES else "198.51.100.1", 1)
        assert ENTRIES == sampled(table).total()
        first += sampled(table)["192.0.2.0/24"]
    # 9,600 places, half of them expected: the standard deviation is below 49
    assert abs(first - 150 * ENTRIES) < 6 * 49


def test_a_period_forgets_the_one_before() -> None:
    """A new period starts with an empty sample, and a period without clients is empty."""
    table = cells()
    offer(table, "192.0.2.1", 1)
    assert ({"192.0.2.0/24": 1}, {}) == (sampled(table, 1), sampled(table, 2))
    offer(table, "198.51.100.1", 2)
    offer(table, "192.0.2.1", 2)
    assert ({}, {"198.51.100.0/24": 1, "192.0.2.0/24": 1}) == (sampled(table, 1), sampled(table, 2))
