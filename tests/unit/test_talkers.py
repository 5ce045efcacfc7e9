"""The networks that send the most clients, counted in a few cells of shared memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daytimed.talkers import CELLS, ENTRIES, REMEMBERED, Talkers, name_of, network_of, read

Cells = memoryview


def cells() -> Cells:
    return memoryview(bytearray(8 * CELLS)).cast("Q")


def come(talkers: Talkers, host: str) -> None:
    talkers.counts[talkers.place(host)] += 1


def counted(table: Cells, period: int = 1) -> Counter[str]:
    return Counter({name_of(network): count for network, count in read(table, period).items()})


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.0.2.255", "192.0.2.0/24"),
        ("0.0.0.0", "0.0.0.0/24"),
        ("255.255.255.255", "255.255.255.0/24"),
        ("::ffff:192.0.2.1", "192.0.2.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/48"),
        ("::", "::/48"),
        ("", "unix"),
    ],
)
def test_networks(host: str, expected: str) -> None:
    """A network is an IPv4 /24, an IPv6 /48 or the unix sockets; an IPv4-mapped address is IPv4."""
    assert expected == name_of(network_of(host))


@given(address=st.ip_addresses().filter(lambda address: not getattr(address, "ipv4_mapped", None)))
def test_every_host_is_in_its_network(address: IPv4Address | IPv6Address) -> None:
    """The name of a host's network contains the host, and its number fits into a cell."""
    network = network_of(str(address))
    assert address in ip_network(name_of(network))
    assert 0 < network < 2**64


def test_clients_are_counted_by_network() -> None:
    """The counts of a few networks are exact, whatever the number of their hosts."""
    table = cells()
    talkers, expected = Talkers(table), Counter[str]()
    talkers.begin(1)
    for number in range(3 * REMEMBERED):
        host = f"10.0.{number % ENTRIES}.{number % 251}"
        come(talkers, host)
        expected[f"10.0.{number % ENTRIES}.0/24"] += 1
    assert expected == counted(table)


@given(hosts=st.lists(st.integers(0, 60), min_size=50, max_size=400))
def test_no_network_with_more_than_its_share_is_missed(hosts: list[int]) -> None:
    """Space-Saving: a network's count never exceeds its clients, and misses at most one in ENTRIES of all clients."""
    table = cells()
    talkers, truth = Talkers(table), Counter[str]()
    talkers.begin(1)
    for host in hosts:
        come(talkers, f"10.0.{host}.1")
        truth[f"10.0.{host}.0/24"] += 1
    found = counted(table)
    for network, count in truth.items():
        assert count - len(hosts) / ENTRIES <= found[network] <= count


def test_a_flood_accuses_nobody_who_comes_after_it() -> None:
    """A network that sends one client after any number of others is counted with one."""
    table = cells()
    talkers = Talkers(table)
    talkers.begin(1)
    for number in range(5000):
        come(talkers, f"10.{number >> 8}.{number & 255}.1")
    come(talkers, "192.0.2.1")
    assert counted(table)["192.0.2.0/24"] == 1
    assert max(counted(table).values()) == 1


class Watched:
    """Cells that a function reads after every single store, as the master may."""

    def __init__(self, look: Callable[[Cells], None]) -> None:
        self._cells = cells()
        self._look = look

    def __getitem__(self, index: int) -> int:
        return self._cells[index]

    def __setitem__(self, index: int | slice, value: Any) -> None:
        self._cells[index] = value
        self._look(self._cells)

    def tolist(self) -> list[int]:
        return self._cells.tolist()


def test_nobody_is_accused_in_the_midst_of_a_takeover() -> None:
    """Another process that reads between two stores sees no network with more clients than it has sent."""
    truth = Counter[str]()

    def look(table: Cells) -> None:
        found = counted(table)
        assert found <= truth, found - truth

    talkers = Talkers(Watched(look))  # type: ignore[arg-type]
    talkers.begin(1)
    for number in range(5 * ENTRIES):
        for _ in range(3):
            host = f"10.0.{number}.1"
            # the truth is updated before the client is counted
            place = talkers.place(host)
            truth[f"10.0.{number}.0/24"] += 1
            talkers.counts[place] += 1


def test_a_period_forgets_the_one_before() -> None:
    """A new period starts from zero, and a period without clients is empty."""
    table = cells()
    talkers = Talkers(table)
    talkers.begin(1)
    come(talkers, "192.0.2.1")
    assert ({"192.0.2.0/24": 1}, {}) == (counted(table, 1), counted(table, 2))
    talkers.begin(2)
    come(talkers, "198.51.100.1")
    talkers.begin(2)
    come(talkers, "192.0.2.1")
    assert ({}, {"198.51.100.0/24": 1, "192.0.2.0/24": 1}) == (counted(table, 1), counted(table, 2))
