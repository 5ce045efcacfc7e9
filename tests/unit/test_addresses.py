"""The grammar of addresses."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daytimed import addresses
from daytimed.addresses import LONGEST_UNIX_PATH, SCHEMES, Address, parse
from daytimed.errors import ListenError
from daytimed.listeners import open_listeners, resolve

LONGEST_PATH = "/" + "a" * (LONGEST_UNIX_PATH - 1)

GOOD = [
    ("6000", Address("tcp", "", 6000), "tcp://:6000"),
    (":6000", Address("tcp", "", 6000), "tcp://:6000"),
    ("tcp://:6000", Address("tcp", "", 6000), "tcp://:6000"),
    ("tcp://6000", Address("tcp", "", 6000), "tcp://:6000"),
    ("0", Address("tcp", "", 0), "tcp://:0"),
    ("65535", Address("tcp", "", 65535), "tcp://:65535"),
    ("00013", Address("tcp", "", 13), "tcp://:13"),
    ("localhost:6000", Address("tcp", "localhost", 6000), "tcp://localhost:6000"),
    ("localhost:daytime", Address("tcp", "localhost", "daytime"), "tcp://localhost:daytime"),
    (":daytime", Address("tcp", "", "daytime"), "tcp://:daytime"),
    (":" + "a" * 15, Address("tcp", "", "a" * 15), "tcp://:" + "a" * 15),
    ("udp4://127.0.0.1:37", Address("udp4", "127.0.0.1", 37), "udp4://127.0.0.1:37"),
    ("tcp4://:13", Address("tcp4", "", 13), "tcp4://:13"),
    ("tcp6://:13", Address("tcp6", "", 13), "tcp6://:13"),
    ("udp://:13", Address("udp", "", 13), "udp://:13"),
    ("udp6://[::1]:13", Address("udp6", "::1", 13), "udp6://[::1]:13"),
    ("[::1]:6000", Address("tcp", "::1", 6000), "tcp://[::1]:6000"),
    ("[::]:6000", Address("tcp", "::", 6000), "tcp://[::]:6000"),
    ("[fe80::1%eth0]:6000", Address("tcp", "fe80::1%eth0", 6000), "tcp://[fe80::1%eth0]:6000"),
    ("[::ffff:192.0.2.1]:80", Address("tcp", "::ffff:192.0.2.1", 80), "tcp://[::ffff:192.0.2.1]:80"),
    ("tcp://123:80", Address("tcp", "123", 80), "tcp://123:80"),
    ("b\u00fccher.example:80", Address("tcp", "b\u00fccher.example", 80), "tcp://b\u00fccher.example:80"),
    ("unix:///run/daytimed.sock", Address("unix", path="/run/daytimed.sock"), "unix:///run/daytimed.sock"),
    ("unix:///a b:c", Address("unix", path="/a b:c"), "unix:///a b:c"),
    (f"unix://{LONGEST_PATH}", Address("unix", path=LONGEST_PATH), f"unix://{LONGEST_PATH}"),
]


@pytest.mark.parametrize(("text", "address", "written"), GOOD, ids=lambda value: str(value)[:40])
def test_good_addresses(text: str, address: Address, written: str) -> None:
    """A valid address parses to its parts and has one canonical form."""
    assert (address, written) == (parse(text), str(parse(text)))


ONE_OF = "use one of tcp tcp4 tcp6 udp udp4 udp6 unix"
BAD = [
    ("", "the address is empty; write HOST:PORT, :PORT, PORT, [V6]:PORT or unix:///PATH"),
    ("tcp://", "the address is empty; write HOST:PORT, :PORT, PORT, [V6]:PORT or unix:///PATH"),
    ("http://example.org:80", f"'http://example.org:80' has the unknown scheme 'http'; {ONE_OF}"),
    ("TCP://:80", f"'TCP://:80' has the unknown scheme 'TCP'; {ONE_OF}"),
    ("://:80", f"'://:80' has the unknown scheme ''; {ONE_OF}"),
    ("localhost", "'localhost' has no port; write HOST:PORT, for example localhost:6000"),
    ("udp://localhost", "'udp://localhost' has no port; write HOST:PORT, for example localhost:6000"),
    ("[::1]", "'[::1]' has no port; write HOST:PORT, for example [::1]:6000"),
    ("localhost:", "'localhost:' has no port after the colon; write a number or a service name such as daytime"),
    (":", "':' has no port after the colon; write a number or a service name such as daytime"),
    (":-1", "':-1' has no port after the colon; write a number or a service name such as daytime"),
    (":day time", "':day time' has no port after the colon; write a number or a service name such as daytime"),
    (":6000/", "':6000/' has no port after the colon; write a number or a service name such as daytime"),
    (":" + "a" * 16, f"':{'a' * 16}' has no port after the colon; write a number or a service name such as daytime"),
    (":\u0661", "':\u0661' has no port after the colon; write a number or a service name such as daytime"),
    (":65536", "':65536' has the invalid port 65536; use 0 to 65535"),
    (":000080", "':000080' has the invalid port 000080; use 0 to 65535"),
    (":" + "9" * 50, f"':{'9' * 50}' has the invalid port {'9' * 20}; use 0 to 65535"),
    ("::1", "'::1' has an IPv6 address without brackets; write [::1]:6000"),
    ("2001:db8::1:6000", "'2001:db8::1:6000' has an IPv6 address without brackets; write [::1]:6000"),
    ("[::1", "'[::1' is not an address; write an IPv6 address as [::1]:6000"),
    ("[::1]6000", "'[::1]6000' is not an address; write an IPv6 address as [::1]:6000"),
    ("[]:80", "'[]:80' has no IPv6 address in its brackets; write, for example, [::1]:6000"),
    ("[127.0.0.1]:80", "'[127.0.0.1]:80' has no IPv6 address in its brackets; write, for example, [::1]:6000"),
    ("[localhost]:80", "'[localhost]:80' has no IPv6 address in its brackets; write, for example, [::1]:6000"),
    ("tcp4://[::1]:80", "'tcp4://[::1]:80' combines an IPv4 scheme with an IPv6 address; use tcp6://"),
    ("udp4://[::1]:80", "'udp4://[::1]:80' combines an IPv4 scheme with an IPv6 address; use udp6://"),
    ("a b:80", "'a b:80' has the invalid host 'a b'; use a host name or an IP address"),
    ("a\tb:80", "'a\\tb:80' has the invalid host 'a\\tb'; use a host name or an IP address"),
    ("a\0b:80", "'a\\x00b:80' has the invalid host 'a\\x00b'; use a host name or an IP address"),
    ("a\u00a0b:80", "'a\\xa0b:80' has the invalid host 'a\\xa0b'; use a host name or an IP address"),
    ("\udcff:80", "'\\udcff:80' has the invalid host '\\udcff'; use a host name or an IP address"),
    (":-", "':-' has no port after the colon; write a number or a service name such as daytime"),
    (":x-", "':x-' has no port after the colon; write a number or a service name such as daytime"),
    (":x_y", "':x_y' has no port after the colon; write a number or a service name such as daytime"),
    ("a/b:80", "'a/b:80' has the invalid host 'a/b'; use a host name or an IP address"),
    ("user@host:80", "'user@host:80' has the invalid host 'user@host'; use a host name or an IP address"),
    ("x[::1]:80", "'x[::1]:80' has an IPv6 address without brackets; write [::1]:6000"),
    ("unix://", "'unix://' needs the absolute path of a socket, for example unix:///run/daytimed.sock"),
    ("unix://run/x", "'unix://run/x' needs the absolute path of a socket, for example unix:///run/daytimed.sock"),
    ("unix:///", "'unix:///' needs the absolute path of a socket, for example unix:///run/daytimed.sock"),
    ("unix:///run/", "'unix:///run/' needs the absolute path of a socket, for example unix:///run/daytimed.sock"),
    ("unix:///a\0", "'unix:///a\\x00' has an invalid socket path; use at most 107 bytes of printable characters"),
    (
        f"unix://{LONGEST_PATH}a",
        f"'unix://{LONGEST_PATH}a' has an invalid socket path; use at most 107 bytes of printable characters",
    ),
    (
        "unix:///" + "\u00e9" * 54,
        f"'unix:///{chr(0xE9) * 54}' has an invalid socket path; use at most 107 bytes of printable characters",
    ),
]


NO_SLASHES = "has no // after the scheme; did you mean"
#: Ways to write a scheme that other programs have, and what was probably meant.
NEARLY = [
    ("udp:6000", f"'udp:6000' {NO_SLASHES} udp://:6000? For a host named udp, write tcp://udp:6000"),
    ("tcp4:6000", f"'tcp4:6000' {NO_SLASHES} tcp4://:6000? For a host named tcp4, write tcp://tcp4:6000"),
    ("UDP:6000", f"'UDP:6000' {NO_SLASHES} udp://:6000? For a host named UDP, write tcp://UDP:6000"),
    ("udp:daytime", f"'udp:daytime' {NO_SLASHES} udp://:daytime?"),
    ("udp::6000", f"'udp::6000' {NO_SLASHES} udp://:6000?"),
    ("udp/:6000", f"'udp/:6000' {NO_SLASHES} udp://:6000?"),
    ("udp//:6000", f"'udp//:6000' {NO_SLASHES} udp://:6000?"),
    ("udp:/:6000", f"'udp:/:6000' {NO_SLASHES} udp://:6000?"),
    ("udp:localhost:6000", f"'udp:localhost:6000' {NO_SLASHES} udp://localhost:6000?"),
    ("udp:localhost", f"'udp:localhost' {NO_SLASHES} udp://localhost:6000?"),
    ("tcp:[::1]:6000", f"'tcp:[::1]:6000' {NO_SLASHES} tcp://[::1]:6000?"),
    ("tcp6:::1:6000", f"'tcp6:::1:6000' {NO_SLASHES} tcp6://:6000?"),
    ("tcp:", f"'tcp:' {NO_SLASHES} tcp://:6000?"),
    ("udp:a b", f"'udp:a b' {NO_SLASHES} udp://:6000?"),
    ("unix:/run/x", f"'unix:/run/x' {NO_SLASHES} unix:///run/x?"),
    ("unix:run/x", f"'unix:run/x' {NO_SLASHES} unix:///run/x?"),
    ("unix:", f"'unix:' {NO_SLASHES} unix:///run/daytimed.sock?"),
    ("unix:\n", f"'unix:\\n' {NO_SLASHES} unix:///run/daytimed.sock?"),
    ("6000/udp", "'6000/udp' has its scheme at the end; did you mean udp://:6000?"),
    ("localhost:6000/tcp", "'localhost:6000/tcp' has its scheme at the end; did you mean tcp://localhost:6000?"),
    ("/run/x", "'/run/x' is a path; did you mean unix:///run/x?"),
    ("//run/\t", "'//run/\\t' is a path; did you mean unix:///run/daytimed.sock?"),
]


@pytest.mark.parametrize(("text", "expected"), NEARLY, ids=lambda value: value[:40])
@pytest.mark.parametrize("default_port", [None, 6000], ids=["listener", "probe"])
def test_schemes_written_in_another_way(text: str, expected: str, default_port: int | None) -> None:
    """A scheme that is not before :// is never taken for a host: the error asks for the address that was meant."""
    with pytest.raises(ValueError) as caught:
        parse(text, default_port)
    assert expected == str(caught.value)
    parse(expected.partition("did you mean ")[2].partition("?")[0])


def test_host_with_the_name_of_a_scheme() -> None:
    """A host can be named like a scheme: after a scheme, or alone where a port is known."""
    assert Address("tcp", "udp", 6000) == parse("tcp://udp:6000") == parse("udp", 6000)
    with pytest.raises(ValueError, match=r"^'udp' has no port; write HOST:PORT, for example udp://:6000$"):
        parse("udp")


@pytest.mark.parametrize(("text", "expected"), BAD, ids=lambda value: value[:40])
def test_bad_addresses(text: str, expected: str) -> None:
    """An invalid address is rejected; the error states the reason and what to write."""
    with pytest.raises(ValueError) as caught:
        parse(text)
    assert expected == str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("localhost", Address("tcp", "localhost", 13)),
        ("localhost:80", Address("tcp", "localhost", 80)),
        ("80", Address("tcp", "", 80)),
        ("[::1]", Address("tcp", "::1", 13)),
        ("udp://[::1]", Address("udp", "::1", 13)),
        ("unix:///a", Address("unix", path="/a")),
    ],
)
def test_default_port(text: str, expected: Address) -> None:
    """The default port applies only to an address without a port."""
    assert expected == parse(text, 13)


@pytest.mark.parametrize("text", ["", "tcp://", ":", "localhost:"])
def test_default_port_makes_no_address_of_nothing(text: str) -> None:
    """A default port does not make up for a missing host or for a colon without a port."""
    with pytest.raises(ValueError, match=r"the address is empty|has no port after the colon"):
        parse(text, 13)


def test_parts_of_an_address() -> None:
    """The transport is the scheme without its family, and `repr` shows the canonical form."""
    assert ["tcp", "tcp", "tcp", "udp", "udp", "udp", "unix"] == [Address(scheme).transport for scheme in SCHEMES]
    assert "Address('tcp://:6000')" == repr(parse("6000"))


def test_addresses_are_values() -> None:
    """Two addresses are equal if all their parts are equal; an address equals no other type."""
    one = Address("tcp", "a", 1)
    others = [Address("udp", "a", 1), Address("tcp", "b", 1), Address("tcp", "a", 2), Address("tcp", "a", 1, "/p")]
    assert {one, *others} == {Address("tcp", "a", 1), *others}
    assert (5, [False] * 4) == (len({one, *others, Address("tcp", "a", 1)}), [one == other for other in others])
    assert one != "tcp://a:1"


PLACES = [
    *("tcp://:{}", "tcp4://:{}", "tcp6://:{}", "0.0.0.0:{}", "[::]:{}", "127.0.0.1:{}", "tcp4://127.0.0.1:{}"),
    *("127.0.0.2:{}", "[::1]:{}", "[0:0::0:1]:{}", "udp://:{}"),
    *("udp4://:{}", "udp://[::1]:{}", "udp://127.0.0.1:{}"),
]


@pytest.mark.parametrize("second", PLACES)
@pytest.mark.parametrize("first", PLACES)
def test_overlap(first: str, second: str) -> None:
    """Two addresses overlap if the kernel does not bind both."""
    opened = []
    try:
        free = parse(first.format(0))
        opened += open_listeners(free, resolve(free))
        port = opened[0].port
        one, other = parse(first.format(port)), parse(second.format(port))
        try:
            opened += open_listeners(other, resolve(other))
        except ListenError:
            assert addresses.overlap(one, other)
        else:
            assert not addresses.overlap(one, other)
    finally:
        for listener in opened:
            listener.close()


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("unix:///a", "unix:///a", True),
        ("unix:///a", "unix:///b", False),
        (":0", ":0", False),
        (":1", ":2", False),
        (":daytime", ":daytime", True),
        ("a:1", "b:1", False),
        ("a:1", "tcp4://:1", False),
        ("tcp4://a:1", "tcp6://a:1", False),
        ("a:1", ":1", True),
        ("a:1", "127.0.0.1:1", False),
    ],
)
def test_overlap_of_what_is_not_bound_here(one: str, other: str, expected: bool) -> None:
    """Names and paths are compared, not resolved; port 0 is a free one each time."""
    assert expected == addresses.overlap(parse(one), parse(other)) == addresses.overlap(parse(other), parse(one))


HOSTS = st.one_of(
    st.just(""),
    st.ip_addresses().map(str),
    st.ip_addresses(v=6).map(lambda address: f"{address}%eth0"),
    st.from_regex(r"[a-zA-Z0-9_.*-]{1,40}", fullmatch=True),
    st.text(st.characters().filter(lambda one: one not in " /[]:@" and one.isprintable()), min_size=1),
)
PORTS = st.one_of(
    st.integers(0, 65535),
    st.from_regex(r"[a-z]([a-z0-9-]{0,13}[a-z0-9])?", fullmatch=True),
)
PATHS = st.text(st.characters().filter(str.isprintable), min_size=1, max_size=25).map("/{}".format)
ADDRESSES = st.one_of(
    st.builds(Address, st.sampled_from(["tcp", "tcp6", "udp", "udp6"]), HOSTS, PORTS),
    st.builds(Address, st.sampled_from(["tcp4", "udp4"]), HOSTS.filter(lambda host: ":" not in host), PORTS),
    st.builds(Address, st.just("unix"), path=PATHS.filter(lambda path: not path.endswith("/"))),
)


@given(address=ADDRESSES)
def test_written_address_reads_back(address: Address) -> None:
    """The canonical form of every possible address parses back to that address."""
    assert address == parse(str(address))


FRAGMENTS = st.lists(
    st.one_of(
        st.sampled_from(
            [*SCHEMES, "://", ":", "[", "]", "%", "/", "::1", "6000", "localhost", "65536", "\0", "\udcff"]
        ),
        st.text(max_size=4),
    ),
    max_size=8,
).map("".join)


@given(text=st.one_of(FRAGMENTS, st.text()))
@example(text="unix:///\ud800")
@example(text="[::1%a://b]:80")
@example(text="[::1%a\0]")
def test_any_text_is_an_address_or_refused(text: str) -> None:
    """Any text is an address that parses back, or raises a ValueError with one printable line."""
    for default_port in (None, 13):
        try:
            address = parse(text, default_port)
        except ValueError as error:
            assert str(error).isprintable()
        else:
            assert address == parse(str(address))


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.1", "192.0.2.1"),
        ("::1", "::1"),
        ("::ffff:1", "::ffff:1"),
        ("2001:db8::1", "2001:db8::1"),
        ("", ""),
    ],
)
def test_unmap(host: str, expected: str) -> None:
    """An IPv4-mapped address becomes plain IPv4; other addresses do not change."""
    assert expected == addresses.unmap(host)


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [("localhost", 6000, "localhost:6000"), ("::1", 6000, "[::1]:6000"), ("", "daytime", ":daytime")],
)
def test_join_host_port(host: str, port: int | str, expected: str) -> None:
    """Only an IPv6 address gets brackets."""
    assert expected == addresses.join_host_port(host, port)
