"""Listeners on real sockets."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from forbid import run_without
from unit_help import has_ipv6, unprivileged, within

from daytimed.addresses import Address, parse
from daytimed.datagram import CONTROL_SPACE, IP_PKTINFO
from daytimed.errors import EXIT_NO_PERMISSION, EXIT_UNAVAILABLE, DaytimedError, ListenError
from daytimed.listeners import BACKLOG, MOST_ADDRESSES, Listener, adopt, adopt_kept, open_listeners, resolve

needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
V4, V6 = "127.0.0.1", "::1"


@contextlib.contextmanager
def opened(address: str | Address) -> Iterator[list[Listener]]:
    parsed = parse(address) if isinstance(address, str) else address
    listeners = open_listeners(parsed, resolve(parsed))
    try:
        yield listeners
    finally:
        for each in listeners:
            each.close()


def refused(address: str | Address) -> DaytimedError:
    """Return the error of an address that cannot be opened."""
    with pytest.raises(DaytimedError) as caught, opened(address):
        pass
    return caught.value


def reaches(host: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> bool:
    """Return whether a client can connect."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind) as client:
        client.settimeout(10)
        try:
            client.connect((host, port))
            # over UDP, a refusal arrives only after a datagram was sent
            client.send(b"x")
            client.getpeername()
        except OSError:
            return False
        return not client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


# -- addresses and families ------------------------------------------------------------------------------------------


@needs_ipv6
@pytest.mark.parametrize(
    ("scheme", "v4", "v6"),
    [("tcp", True, True), ("tcp4", True, False), ("tcp6", False, True)],
)
def test_families_of_all_addresses(scheme: str, v4: bool, v6: bool) -> None:
    """Without a host, one socket takes exactly the families of its scheme."""
    with opened(f"{scheme}://:0") as listeners:
        (listener,) = listeners
        assert (v4, v6) == (reaches(V4, listener.port), reaches(V6, listener.port))
        host = "0.0.0.0" if scheme == "tcp4" else "[::]"
        assert (f"tcp://{host}:{listener.port}", False) == (listener.address, listener.is_datagram)


@needs_ipv6
@pytest.mark.parametrize(
    ("scheme", "v4", "v6"),
    [("udp", True, True), ("udp4", True, False), ("udp6", False, True)],
)
def test_families_of_datagrams(scheme: str, v4: bool, v6: bool) -> None:
    """The same holds for datagrams."""
    with opened(f"{scheme}://:0") as listeners:
        (listener,) = listeners
        found = (reaches(V4, listener.port, socket.SOCK_DGRAM), reaches(V6, listener.port, socket.SOCK_DGRAM))
        assert ((v4, v6), True) == (found, listener.is_datagram)
        assert listener.address.startswith("udp://")


@needs_ipv6
def test_ipv4_and_ipv6_apart_on_one_port() -> None:
    """Two listeners can share a port, one per family: `tcp6` never takes IPv4, whatever the system's default."""
    with opened("tcp4://:0") as first, opened(f"tcp6://:{first[0].port}") as second:
        assert [True, True] == [reaches(V4, first[0].port), reaches(V6, second[0].port)]


@needs_ipv6
def test_ipv6_address_takes_no_ipv4() -> None:
    """A listener on an explicit [::] takes IPv6 only."""
    with opened("[::]:0") as listeners:
        assert (False, True) == (reaches(V4, listeners[0].port), reaches(V6, listeners[0].port))


def test_host_is_the_only_address() -> None:
    """A listener on one address is not reachable on another."""
    with opened("127.0.0.2:0") as listeners:
        port = listeners[0].port
        assert (True, False) == (reaches("127.0.0.2", port), reaches(V4, port))


def test_name_is_one_socket_for_each_number() -> None:
    """A host name opens one socket for each of its addresses."""
    found = socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    expected = {place[0] for family, _, _, _, place in found if family == socket.AF_INET or has_ipv6()}
    with opened("localhost:0") as listeners:
        hosts = [each.socket.getsockname()[0] for each in listeners]
    assert sorted(expected, key=str) == sorted(hosts)


@pytest.mark.parametrize("count", [MOST_ADDRESSES, MOST_ADDRESSES + 1])
def test_name_has_a_limit_of_addresses(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server cannot make it open thousands of sockets, each with workers: all of 127.0.0.0/8 is local."""
    answers = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.1.{each}", 0)) for each in range(1, count + 1)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments: answers * 2)
    if count == MOST_ADDRESSES:
        assert len(resolve(parse("time.example.org:0"))) == count
    else:
        assert str(refused("time.example.org:0")) == (
            f"tcp://time.example.org:0: cannot resolve: the name has {count} addresses, more than {MOST_ADDRESSES};"
            " write those to listen on instead"
        )


@needs_ipv6
def test_no_number_is_left_when_one_cannot_be_had() -> None:
    """If one address of a host name is in use, the name is rejected and the other addresses are closed."""
    numbers = {place[0] for *_, place in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
    if numbers != {V4, V6}:
        pytest.skip("localhost is not both 127.0.0.1 and ::1 here")
    with opened("127.0.0.1:0") as taken:
        port = taken[0].port
        assert f"tcp://localhost:{port}: cannot listen: Address already in use" in str(refused(f"localhost:{port}"))
        assert not reaches(V6, port)


def test_name_of_a_service() -> None:
    """A port can be a service name."""
    known = [name for name in ("sieve", "nut", "amanda", "cfengine") if _service(name)]
    if not known:
        pytest.skip("/etc/services has none of the names that this test tries")
    with opened(f"127.0.0.9:{known[0]}") as listeners:
        assert _service(known[0]) == listeners[0].port


def _service(name: str) -> int | None:
    try:
        return socket.getservbyname(name, "tcp")
    except OSError:
        return None


def test_sockets_are_as_workers_need_them() -> None:
    """A listener blocks, is closed on exec, and its port can be bound again right after a stop."""
    with opened("127.0.0.1:0") as listeners:
        sock = listeners[0].socket
        assert (True, False, 1) == (
            sock.getblocking(),
            sock.get_inheritable(),
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR),
        )
        port = listeners[0].port
        with socket.create_connection((V4, port)):
            accepted, _ = sock.accept()
            # the server closes first, which leaves the port in TIME_WAIT
            accepted.close()
    with opened(f"127.0.0.1:{port}") as again:
        assert port == again[0].port


def congestion_control(sock: socket.socket) -> bytes:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")


def test_congestion_control_is_the_simplest() -> None:
    """A listener uses reno, whatever the system's default."""
    with opened("127.0.0.1:0") as listeners:
        assert b"reno" == congestion_control(listeners[0].socket)


def test_backlog_is_the_largest() -> None:
    """The backlog is the largest that the kernel permits."""
    most = min(BACKLOG, int(Path("/proc/sys/net/core/somaxconn").read_text()))
    with opened("127.0.0.1:0") as listeners:
        info = listeners[0].socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        # for a listening socket, tcpi_sacked of struct tcp_info is the backlog
        assert most == struct.unpack_from("=I", info, 28)[0]


# -- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["tcp4", "udp4"])
def test_port_in_use(scheme: str) -> None:
    """For a port in use, the error states how to find the program."""
    with opened(f"{scheme}://127.0.0.1:0") as taken:
        port = taken[0].port
        error = refused(f"{scheme}://127.0.0.1:{port}")
    assert (EXIT_UNAVAILABLE, ListenError) == (error.exit_code, type(error))
    assert (
        f"{scheme}://127.0.0.1:{port}: cannot listen: Address already in use; stop the program that uses it"
        f" (find it with: ss -lnp 'sport = :{port}') or choose another address" == str(error)
    )


def test_address_of_another_machine() -> None:
    """For an address that this machine does not have, the error states where to look."""
    expected = (
        "tcp4://192.0.2.1:0: cannot listen: Cannot assign requested address;"
        " this machine has no such address (see: ip address)"
    )
    assert expected == str(refused("tcp4://192.0.2.1:0"))


@needs_ipv6
def test_ipv6_address_of_another_machine() -> None:
    """An IPv6 address that this machine does not have is an error too, if it is the only one."""
    assert "cannot listen: Cannot assign requested address" in str(refused("[2001:db8::1]:0"))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (Address("tcp6", "127.0.0.1", 0), "cannot resolve: Address family for hostname not supported"),
        (Address("tcp", "a..b", 0), "cannot resolve: not a host name"),
        (Address("tcp", "a" * 300, 0), "cannot resolve: not a host name"),
        (Address("tcp", "\udcff", 0), "cannot resolve: not a host name"),
        (Address("tcp", "", "no-such-service"), "cannot resolve: Servname not supported for ai_socktype"),
    ],
)
def test_names_that_stand_for_nothing(address: Address, expected: str) -> None:
    """A name that does not resolve is an error with the reason of the resolver."""
    error = refused(address)
    assert (f"{address}: {expected}", ListenError) == (str(error), type(error))


# -- datagrams -------------------------------------------------------------------------------------------------------


@needs_ipv6
@pytest.mark.parametrize(
    ("scheme", "asked", "level", "kind"),
    [
        ("udp4", V4, socket.IPPROTO_IP, IP_PKTINFO),
        ("udp", V4, socket.IPPROTO_IP, IP_PKTINFO),
        ("udp", V6, socket.IPPROTO_IPV6, socket.IPV6_PKTINFO),
        ("udp6", V6, socket.IPPROTO_IPV6, socket.IPV6_PKTINFO),
    ],
)
def test_datagrams_state_where_they_were_sent(scheme: str, asked: str, level: int, kind: int) -> None:
    """Every datagram carries its destination, for each family on each kind of socket."""
    with opened(f"{scheme}://:0") as listeners:
        server = listeners[0].socket
        with socket.socket(socket.AF_INET6 if ":" in asked else socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"x", (asked, listeners[0].port))
            with within(10):
                _, control, _, _ = server.recvmsg(1, CONTROL_SPACE)
    assert (level, kind) in [each[:2] for each in control]


# -- unix sockets ----------------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "socket"


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def test_unix_socket(path: Path) -> None:
    """A unix socket is accessible to everyone, and its path goes away with its listener."""
    with opened(f"unix://{path}") as listeners:
        (listener,) = listeners
        assert (True, 0o666) == (connects(path), stat.S_IMODE(path.stat().st_mode))
        assert (f"unix://{path}", 0, False) == (listener.address, listener.port, listener.is_datagram)
    assert not path.exists()


def test_mode_of_a_unix_socket_is_not_the_callers(path: Path) -> None:
    """The umask of the starting process does not restrict access."""
    before = os.umask(0o077)
    try:
        with opened(f"unix://{path}"):
            assert 0o666 == stat.S_IMODE(path.stat().st_mode)
    finally:
        os.umask(before)


def test_stale_unix_socket_is_taken_over(path: Path) -> None:
    """A path that a killed daemon left behind is replaced."""
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
        old.listen()
    with opened(f"unix://{path}"):
        assert connects(path)


def test_unix_socket_of_a_living_server_is_refused(path: Path) -> None:
    """A path with a live listener is left alone, even if its backlog is full."""
    with socket.socket(socket.AF_UNIX) as old, contextlib.ExitStack() as clients:
        old.bind(str(path))
        old.listen(0)
        with within(10):
            found = [str(refused(f"unix://{path}"))]
            with contextlib.suppress(BlockingIOError):
                while True:
                    client = clients.enter_context(socket.socket(socket.AF_UNIX))
                    client.setblocking(False)
                    client.connect(str(path))
            found.append(str(refused(f"unix://{path}")))
        assert path.exists()
    expected = (
        f"unix://{path}: cannot listen: Address already in use; stop the program that uses it"
        f" (find it with: lsof {path}) or choose another address"
    )
    assert [expected, expected] == found


def test_datagram_socket_at_the_path_is_refused(path: Path) -> None:
    """A live socket of another type is left alone too."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))
        assert isinstance(refused(f"unix://{path}"), ListenError)
        assert path.exists()


def test_file_at_the_path_is_left_alone(path: Path) -> None:
    """A file that is not a socket is not removed."""
    path.write_text("precious")
    assert "Address already in use" in str(refused(f"unix://{path}"))
    assert "precious" == path.read_text()


def test_link_at_the_path_is_left_alone(path: Path) -> None:
    """A symbolic link, even a dangling one, is not removed either."""
    path.symlink_to("nowhere")
    assert "Address already in use" in str(refused(f"unix://{path}"))
    assert path.is_symlink()


def test_only_our_own_path_is_removed(path: Path) -> None:
    """A path that another process has created in the meantime is not removed."""
    with opened(f"unix://{path}"), contextlib.ExitStack() as stack:
        path.unlink()
        other = stack.enter_context(socket.socket(socket.AF_UNIX))
        other.bind(str(path))
        stack.pop_all().close()
    assert path.exists()


def test_path_that_is_gone_is_no_error(path: Path) -> None:
    """A listener whose path was removed closes without an error."""
    with opened(f"unix://{path}"):
        path.unlink()
    assert not path.exists()


def test_folder_that_does_not_exist(tmp_path: Path) -> None:
    """For a path in a missing directory, the error states the system's reason."""
    error = refused(f"unix://{tmp_path}/none/socket")
    assert f"unix://{tmp_path}/none/socket: cannot listen: No such file or directory" == str(error)


@pytest.fixture
def forbidden_folder(tmp_path: Path) -> Iterator[Path]:
    """Return a directory in which only root may create files."""
    tmp_path.chmod(0o500)
    yield tmp_path
    tmp_path.chmod(0o700)


def test_folder_that_may_not_be_written(forbidden_folder: Path) -> None:
    """A directory that this user may not write gives a permission error."""
    with unprivileged():
        error = refused(f"unix://{forbidden_folder}/socket")
    expected = (
        f"unix://{forbidden_folder}/socket: cannot listen: Permission denied; this user may not create a socket there"
    )
    assert (EXIT_NO_PERMISSION, expected) == (error.exit_code, str(error))


def test_port_that_only_root_may_have() -> None:
    """For a port below 1024, the error states how to get the permission."""
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 1:
        pytest.skip("every user may bind every port here (ip_unprivileged_port_start)")
    with unprivileged():
        error = refused("tcp4://127.0.0.1:1")
    expected = (
        "tcp4://127.0.0.1:1: cannot listen: Permission denied;"
        " use the socket unit or CAP_NET_BIND_SERVICE for a port below 1024"
    )
    assert (EXIT_NO_PERMISSION, expected) == (error.exit_code, str(error))


# -- passed sockets --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def passed(sock: socket.socket) -> Iterator[int]:
    """Return the descriptor of a socket as a service manager passes it: a copy, which the adopter closes."""
    with sock:
        descriptor = os.dup(sock.fileno())
        yield descriptor
        with contextlib.suppress(OSError):
            os.close(descriptor)


@pytest.mark.parametrize(
    ("kind", "scheme"), [(socket.SOCK_STREAM, "tcp"), (socket.SOCK_DGRAM, "udp")], ids=["stream", "datagram"]
)
def test_adopted_socket(kind: socket.SocketKind, scheme: str) -> None:
    """An adopted socket has its name and its address, blocks, and reports the destinations of datagrams."""
    sock = socket.socket(socket.AF_INET, kind)
    sock.bind((V4, 0))
    if kind == socket.SOCK_STREAM:
        sock.listen()
    sock.setblocking(False)
    with passed(sock) as descriptor:
        listener = adopt("daytime", descriptor)
        port = sock.getsockname()[1]
        assert ("daytime", f"{scheme}://{V4}:{port}", port) == (listener.name, listener.address, listener.port)
        assert (True, kind == socket.SOCK_DGRAM) == (os.get_blocking(descriptor), listener.is_datagram)
        if listener.is_datagram:
            assert 1 == listener.socket.getsockopt(socket.IPPROTO_IP, IP_PKTINFO)
        listener.close()


def test_congestion_control_of_an_adopted_socket_is_its_managers() -> None:
    """Adoption does not change it: a socket unit can set TCPCongestion=."""
    with socket.create_server((V4, 0)) as sock, passed(sock) as descriptor:
        before = congestion_control(sock)
        if before == b"reno":
            pytest.skip("the system's default is reno already")
        adopt("daytime", descriptor).close()
        assert before == congestion_control(sock)


def test_adopted_unix_socket(path: Path) -> None:
    """The path of a passed unix socket belongs to the service manager and stays after a close."""
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    with passed(sock) as descriptor:
        listener = adopt("daytime", descriptor)
        assert (f"unix://{path}", 0, True) == (listener.address, listener.port, listener.is_reachable)
        listener.close()
    assert path.exists()


def test_adopted_abstract_socket() -> None:
    """An abstract unix socket is shown with an @, as systemd writes it."""
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(f"\0daytimed-test-{os.getpid()}")
    sock.listen()
    with passed(sock) as descriptor:
        listener = adopt("daytime", descriptor)
        address = listener.address
        listener.close()
    assert f"unix://@daytimed-test-{os.getpid()}" == address


def test_socket_that_was_kept(path: Path) -> None:
    """A socket that was bound here keeps its configured address, and its path while systemd keeps a copy."""
    address = Address("unix", path=str(path))
    (first,) = open_listeners(address, [])
    descriptor = os.dup(first.socket.fileno())
    first.kept_as = "stored-0"
    first.close()
    again = adopt_kept("stored-0", descriptor)
    found = (again.name, str(again.requested), connects(path))
    again.close()
    assert ((None, f"unix://{path}", True), True) == (found, path.exists())


def test_unix_socket_whose_path_is_taken_is_not_reachable(path: Path) -> None:
    """A listener detects whether its path still leads to it."""
    with opened(f"unix://{path}") as listeners:
        found = [listeners[0].is_reachable]
        path.unlink()
        found.append(listeners[0].is_reachable)
        path.write_text("")
        found.append(listeners[0].is_reachable)
    with opened("tcp4://127.0.0.1:0") as listeners:
        found.append(listeners[0].is_reachable)
    assert [True, False, False, True] == found


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # a rejection ends the daemon
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("connected", "is not a listening socket; with Accept=yes, use daytimed --inetd"),
        ("unix datagram", "is not a listening socket; with Accept=yes, use daytimed --inetd"),
        ("netlink", "is not an IPv4, IPv6 or unix socket; check the socket unit"),
        ("file", "is not a usable socket: Socket operation on non-socket; check the socket unit"),
    ],
)
def test_passed_descriptor_that_is_no_listener(kind: str, expected: str) -> None:
    """A descriptor that is not a listener is rejected, and the error states what it is."""
    with contextlib.ExitStack() as stack:
        if kind == "connected":
            descriptor = os.dup(stack.enter_context(socket.socketpair()[0]).fileno())
        elif kind == "unix datagram":
            descriptor = os.dup(stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)).fileno())
        elif kind == "netlink":
            descriptor = os.dup(stack.enter_context(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)).fileno())
        else:
            descriptor = os.open("/dev/null", os.O_RDONLY)
        try:
            adopt("daytime", descriptor)
        except ListenError as error:
            found = str(error)
    assert f"LISTEN_FDS: descriptor {descriptor} (daytime) {expected}" == found


# -- a kernel without IPv6 -------------------------------------------------------------------------------------------


NO_FAMILY = (
    "Address family not supported by protocol; this kernel lacks the address family, or systemd passed no socket"
    " to a unit that may not open its own (see: systemctl status daytimed.socket)"
)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("tcp://:0", "tcp 0.0.0.0"),
        ("udp://:0", "udp 0.0.0.0"),
        ("tcp4://:0", "tcp 0.0.0.0"),
        ("localhost:0", "tcp 127.0.0.1"),
        ("tcp6://:0", f"ListenError tcp6://:0: cannot listen: {NO_FAMILY}"),
        ("[::1]:0", f"ListenError tcp://[::1]:0: cannot listen: {NO_FAMILY}"),
    ],
)
def test_without_ipv6(address: str, expected: str) -> None:
    """Without IPv6, an address without a host means IPv4 alone; only an explicit IPv6 address is rejected."""
    assert f"{expected}\n" == run_without("NO_IPV6", opening(address))


def opening(address: str) -> str:
    """Return a script that opens an address and prints where, or why not."""
    return f"""if True:
        from daytimed import addresses, errors, listeners
        address = addresses.parse({address!r})
        try:
            for each in listeners.open_listeners(address, listeners.resolve(address)):
                print(each.requested.transport, each.socket.getsockname()[0])
                each.close()
        except errors.DaytimedError as error:
            print(type(error).__name__, error)
    """


DENIED = (
    "a sandbox or a security policy forbids it"
    " (see SocketBindDeny= and RestrictAddressFamilies=: systemctl cat daytimed)"
)


@pytest.mark.parametrize(
    ("forbidden", "address", "expected"),
    [
        ("IPV6_IS_FORBIDDEN", "tcp://:0", "tcp 0.0.0.0"),
        ("IPV6_IS_FORBIDDEN", "udp://:0", "udp 0.0.0.0"),
        ("IPV6_IS_FORBIDDEN", "localhost:0", "tcp 127.0.0.1"),
        (
            "IPV6_IS_FORBIDDEN",
            "tcp6://:0",
            f"NoPermissionError tcp6://:0: cannot listen: Permission denied; {DENIED}",
        ),
        (
            "NETWORK_IS_FORBIDDEN",
            "tcp://:0",
            f"NoPermissionError tcp://:0: cannot listen: Operation not permitted; {DENIED}",
        ),
        (
            "NETWORK_IS_FORBIDDEN",
            "tcp://127.0.0.1:0",
            f"NoPermissionError tcp://127.0.0.1:0: cannot listen: Operation not permitted; {DENIED}",
        ),
        (
            "NETWORK_IS_FORBIDDEN",
            "tcp://:13",
            "NoPermissionError tcp://:13: cannot listen: Operation not permitted;"
            " use the socket unit or CAP_NET_BIND_SERVICE for a port below 1024",
        ),
    ],
)
def test_where_a_sandbox_forbids_a_family(forbidden: str, address: str, expected: str) -> None:
    """Without a permission for IPv6, IPv4 alone is served, as the log's address shows; the hint fits the port."""
    assert f"{expected}\n" == run_without(forbidden, opening(address))


@needs_ipv6
def test_ipv6_port_in_use_is_an_error() -> None:
    """A port that another program has for IPv6 is never served over IPv4 alone."""
    with opened("tcp6://:0") as taken:
        assert "Address already in use" in str(refused(f"tcp://:{taken[0].port}"))


@needs_ipv6
@pytest.mark.parametrize("host", ["::ffff:127.0.0.1", "fe80::1"])
def test_ipv6_address_that_cannot_be_bound(host: str) -> None:
    """For an IPv6 address that is not complete, or IPv4 in disguise, the error states what to write."""
    assert (
        f"tcp6://[{host}]:0: cannot listen: Invalid argument; write an fe80: address with its interface, for example"
        " [fe80::1%eth0]:6000, and an IPv4 address without ::ffff:" == str(refused(Address("tcp6", host, 0)))
    )


# -- names and places ------------------------------------------------------------------------------------------------


def test_places_are_plain_data() -> None:
    """Another process can resolve: the places are numbers and strings, IPv6 first."""
    places = resolve(parse("localhost:6000"))
    assert [(2, ("127.0.0.1", 6000))] == [each for each in places if each[0] == 2]
    assert places == sorted(places, reverse=True)
    assert {int, str} >= {type(each) for family, place in places for each in (family, *place)}
    assert [] == resolve(parse("unix:///run/socket"))


def test_opening_looks_up_no_name() -> None:
    """A listener is bound where its places say, whatever its name stands for."""
    listeners = open_listeners(parse("no-such-host.invalid:0"), [(2, ("127.0.0.2", 0))])
    try:
        assert ["127.0.0.2"] == [each.socket.getsockname()[0] for each in listeners]
    finally:
        listeners[0].close()


def test_name_without_a_place() -> None:
    """A name that stands for no address is an error, not a daemon that serves nobody."""
    with pytest.raises(ListenError, match="cannot listen: the name stands for no address"):
        open_listeners(parse("localhost:0"), [])
