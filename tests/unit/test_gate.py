"""The gate: access rules, and the rate of those that they admit."""

from __future__ import annotations

import ipaddress

import pytest
from unit_help import NS

from daytimed.gate import REMEMBERED, Gate
from daytimed.networks import NetworkSet
from daytimed.rates import RateLimit
from daytimed.reasons import DENIED, RATE


def network_set(*networks: str) -> NetworkSet:
    return NetworkSet([ipaddress.ip_network(each) for each in networks])


def rate_limit(rate: float, burst: int, cells: int = 64) -> RateLimit:
    return RateLimit(memoryview(bytearray(8 * cells)).cast("Q"), rate, burst, b"sixteen bytes....")


@pytest.mark.parametrize("host", ["192.0.2.1", "::ffff:192.0.2.1"])
@pytest.mark.parametrize(
    ("allow", "deny", "expected"),
    [
        ([], [], None),
        (["192.0.2.0/24"], [], None),
        (["198.51.100.0/24"], [], DENIED),
        ([], ["192.0.2.1/32"], DENIED),
        ([], ["192.0.2.2/32"], None),
        (["192.0.2.0/24"], ["192.0.2.1/32"], DENIED),
        (["192.0.2.1/32"], ["192.0.2.0/24"], DENIED),
    ],
)
def test_gate(allow: list[str], deny: list[str], expected: int | None, host: str) -> None:
    """Deny wins over allow; an empty allow is everyone; an IPv4-mapped address is IPv4; a second look agrees."""
    gate = Gate(network_set(*allow), network_set(*deny), None)
    assert ([expected] * 2, bool(allow or deny)) == ([gate.judge(host, NS) for _ in range(2)], bool(gate))


def test_gate_remembers_a_bounded_number() -> None:
    """Of any number of clients, the gate remembers at most REMEMBERED, and judges all of them correctly."""
    gate = Gate(network_set("10.0.0.0/8"), network_set(), rate_limit(1.0, 20, 2 * 65536))
    hosts = [f"{10 + index % 2}.0.{index >> 8}.{index & 255}" for index in range(2 * REMEMBERED)]
    assert [DENIED if index % 2 else None for index in range(len(hosts))] == [gate.judge(host, NS) for host in hosts]
    assert REMEMBERED == gate._admit.cache_info().currsize


def test_gate_with_a_rate() -> None:
    """An admitted host has its rate; a denied host uses up none."""
    gate = Gate(network_set(), network_set("192.0.2.2/32"), rate_limit(1.0, 1))
    expected = [DENIED, DENIED, None, RATE]
    assert expected == [gate.judge(host, NS) for host in ("192.0.2.2", "192.0.2.2", "192.0.2.1", "192.0.2.1")]
    assert gate
