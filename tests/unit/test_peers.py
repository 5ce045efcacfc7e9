"""Peers: hosts with their scope."""

from __future__ import annotations

import socket

import pytest

from daytimed.peers import NAMELESS, Peer, host_of, name_interface


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        (("192.0.2.1", 5), "192.0.2.1"),
        (("2001:db8::1", 5, 0, 0), "2001:db8::1"),
        (("::ffff:192.0.2.1", 5, 0, 0), "::ffff:192.0.2.1"),
        (("fe80::1", 5, 0, 3), "fe80::1%3"),
        (NAMELESS, ""),
    ],
)
def test_host_of(peer: Peer, expected: str) -> None:
    """A host has a scope if the kernel reports one."""
    assert expected == host_of(peer)


def test_interfaces_have_names() -> None:
    """The number of an interface becomes its name, and stays a number if there is none, or no socket to ask."""
    with socket.socket(socket.AF_INET6) as sock:
        number, name = socket.if_nameindex()[0]
        assert (name, name) == (name_interface(sock, number), name_interface(sock.fileno(), number))
        assert f"fe80::1%{name}" == host_of(("fe80::1", 5, 0, number), lambda each: name_interface(sock, each))
        assert ["2147483647", "4294967295"] == [name_interface(sock, each) for each in (2**31 - 1, 2**32 - 1)]
    assert str(number) == name_interface(sock, number)
