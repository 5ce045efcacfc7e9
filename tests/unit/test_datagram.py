"""Datagrams: the source address of a reply, and senders that get none."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from unit_help import has_ipv6

from daytimed.addresses import unmap
from daytimed.datagram import CONTROL_SPACE, IP_PKTINFO, ask_for_destinations, is_loop, reply_source


def in_pktinfo(interface: int, local: str, destination: str) -> tuple[int, int, bytes]:
    data = struct.pack("=i4s4s", interface, socket.inet_aton(local), socket.inet_aton(destination))
    return (socket.IPPROTO_IP, IP_PKTINFO, data)


def in6_pktinfo(destination: str, interface: int) -> tuple[int, int, bytes]:
    data = socket.inet_pton(socket.AF_INET6, destination) + struct.pack("=i", interface)
    return (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, data)


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        ([], []),
        ([(socket.SOL_SOCKET, 1, b"other")], []),
        ([in_pktinfo(2, "192.0.2.1", "192.0.2.1")], [in_pktinfo(0, "192.0.2.1", "0.0.0.0")]),
        ([in_pktinfo(2, "192.0.2.1", "192.0.2.255")], None),
        ([in_pktinfo(2, "192.0.2.1", "255.255.255.255")], None),
        ([in_pktinfo(2, "192.0.2.1", "224.0.0.1")], None),
        ([in_pktinfo(2, "0.0.0.0", "192.0.2.1")], []),
        ([in_pktinfo(2, "0.0.0.0", "224.0.0.1")], None),
        ([in_pktinfo(2, "0.0.0.0", "255.255.255.255")], None),
        ([in6_pktinfo("2001:db8::1", 2)], [in6_pktinfo("2001:db8::1", 2)]),
        ([in6_pktinfo("fe80::1", 2)], [in6_pktinfo("fe80::1", 2)]),
        ([in6_pktinfo("ff02::1", 2)], None),
        (
            [in6_pktinfo("::ffff:192.0.2.1", 2), in_pktinfo(2, "192.0.2.1", "192.0.2.1")],
            [in_pktinfo(0, "192.0.2.1", "0.0.0.0")],
        ),
        ([in6_pktinfo("::ffff:192.0.2.255", 2), in_pktinfo(2, "192.0.2.1", "192.0.2.255")], None),
        # truncated, as the kernel does when other options fill the buffer
        ([(socket.IPPROTO_IP, IP_PKTINFO, bytes(11))], None),
        ([(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, b"")], None),
        ([(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, bytes(19))], None),
    ],
)
def test_reply_source(control: Sequence[tuple[int, int, bytes]], expected: list[tuple[int, int, bytes]] | None) -> None:
    """A reply leaves from the destination address of the request; a broadcast or multicast gets no reply."""
    assert expected == reply_source(control)


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
def test_destination_is_reported_behind_all_that_others_have_asked_for() -> None:
    """A passed socket may report timestamps too; the destination address is still reported, not truncated."""
    with (
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.bind(("::", 0))
        # <asm-generic/socket.h>: SO_TIMESTAMPNS, and SO_TIMESTAMPING with software timestamps
        server.setsockopt(socket.SOL_SOCKET, 35, 1)
        server.setsockopt(socket.SOL_SOCKET, 37, 1 << 3 | 1 << 4)
        ask_for_destinations(server)
        client.sendto(b"", ("127.0.0.1", server.getsockname()[1]))
        _, control, flags, _ = server.recvmsg(1, CONTROL_SPACE)
    assert 0 == flags & socket.MSG_CTRUNC
    assert [in_pktinfo(0, "127.0.0.1", "0.0.0.0")] == reply_source(control)


def test_no_reply_goes_to_a_whole_network() -> None:
    """A passed socket may allow broadcasts (systemd's Broadcast=yes); adoption revokes this."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        server.bind(("127.0.0.1", 0))
        ask_for_destinations(server)
        with pytest.raises(PermissionError):
            server.sendto(b"", ("127.255.255.255", 9))


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [
        ("192.0.2.1", 1024, False),
        ("192.0.2.1", 1023, True),
        ("192.0.2.1", 13, True),
        ("192.0.2.1", 0, True),
        ("192.0.2.1", 6000, True),
        ("192.0.2.1", 65535, False),
        ("127.0.0.1", 40000, False),
        ("0.0.0.0", 40000, True),
        ("0.1.2.3", 40000, True),
        ("223.255.255.255", 40000, False),
        ("224.0.0.1", 40000, True),
        ("239.1.1.1", 40000, True),
        ("255.255.255.255", 40000, True),
        ("2001:db8::1", 40000, False),
        ("fe80::1%eth0", 40000, False),
        ("::1", 40000, False),
        ("::", 40000, True),
        ("ff02::1", 40000, True),
        ("ff05::1%eth0", 40000, True),
        ("ff::1", 40000, False),
        ("fff:db8::1", 40000, False),
        ("2001:db8::1", 123, True),
        ("2001:db8::1", 6000, True),
    ],
)
def test_loops(host: str, port: int, expected: bool) -> None:
    """Reserved ports, our own ports and sources that are not a single host get no reply."""
    assert expected == is_loop(host, port, frozenset({6000, 6001}))


KINDS = [(socket.IPPROTO_IP, IP_PKTINFO), (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO)]


@given(
    control=st.lists(
        st.builds(
            lambda kind, data: (*kind, data),
            st.sampled_from(KINDS) | st.tuples(st.integers(0, 300), st.integers(0, 60)),
            st.binary(max_size=24) | st.binary(min_size=12, max_size=12) | st.binary(min_size=20, max_size=20),
        ),
        max_size=4,
    )
)
def test_any_control_messages_are_answered_or_not(control: list[tuple[int, int, bytes]]) -> None:
    """For any control messages there is no reply, or one with a complete source address."""
    source = reply_source(control)
    assert source is None or len(source) <= 1
    for level, kind, data in source or []:
        assert ((level, kind), len(data)) in zip(KINDS, [12, 20], strict=True)


@given(
    packed=st.binary(min_size=4, max_size=4)
    | st.binary(min_size=16, max_size=16)
    | st.binary(min_size=4, max_size=4).map((bytes(10) + b"\xff\xff").__add__),
    port=st.integers(0, 65535),
)
@example(packed=b"\0\xff" + bytes(14), port=40000)
@example(packed=b"\x0f\xf0" + bytes(14), port=40000)
def test_any_source_is_a_loop_or_not(packed: bytes, port: int) -> None:
    """Any source address, IPv4-mapped or not, is classified as the address it stands for."""
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    host = unmap(socket.inet_ntop(family, packed))
    address = ipaddress.ip_address(host)
    odd = address.is_multicast or address.is_unspecified
    if address.version == 4:
        odd = odd or address.packed[0] in {0, *range(240, 256)}
    assert (odd or port < 1024) == is_loop(host, port, frozenset())
