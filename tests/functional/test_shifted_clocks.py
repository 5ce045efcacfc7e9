"""The offset that daytime-get measures, against servers whose clock is off by a known amount."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from clocks import forget_shift, needs_faketime, shifted
from harness import DAYTIME_GET, Daemon, clean_environment, program, run, running, skip_without_mounts, wait_until
from servers import Behaviour, saying, stream_server

NGINX_STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
#: Where tests/programs unpacks packages that conflict with each other.
UNPACKED = Path(__file__).parents[2] / ".cache" / "peers"

#: One more than an hour ahead, one behind; neither in whole seconds.
SHIFTS_S = (3661.3, -7.5)
#: The precision of the shift itself.
EPSILON_S = 1e-5
TICK_S = 0.01
#: The largest uncertainty of 20 samples in whole seconds.
NARROW_S = 0.1


@contextlib.contextmanager
def shifted_daemon(shift_s: float, *arguments: str, **options: Any) -> Iterator[Daemon]:
    """Run a daemon whose clock is ahead by the shift; yield it when it is ready."""
    daemon = Daemon(*arguments, env=shifted(shift_s), **options)
    try:
        with daemon:
            yield daemon.ready()
    finally:
        forget_shift(daemon.process.pid)


Found = dict[str, Any]


def ask(address: str, *arguments: str, zone: str = "UTC") -> tuple[int, Found]:
    """Run the probe with JSON output in a zone; return the exit code and the object."""
    done = run(*DAYTIME_GET, "-o", "json", *arguments, address, env=clean_environment({"TZ": zone}))
    assert done.stderr == b""
    found: Found = json.loads(done.stdout)
    return done.returncode, found


def distance(found: Found, shift_s: float) -> float:
    """Return the distance of the measured offset from the shift."""
    return abs(float(found["offset_s"]) - shift_s)


def assert_one_sample(address: str, shift_s: float, style: str, resolution_s: float, *arguments: str) -> Found:
    """Check that one sample contains the shift, and is no wider than its resolution and duration imply."""
    _, found = ask(address, *arguments)
    assert found["format"] == style, found
    # `sentence` omits trailing zeros of its fraction, like Go
    assert found["resolution_s"] in ({resolution_s} if style != "sentence" else {1e-9, 1e-8, 1e-7, 1e-6, 1e-5}), found
    assert distance(found, shift_s) <= found["uncertainty_s"] + EPSILON_S, found
    # time(2), which most servers of whole seconds use, can be late by a tick of the kernel
    narrowest = found["resolution_s"] / 2 + (TICK_S / 2 if found["resolution_s"] >= 1 else 0)
    assert narrowest <= found["uncertainty_s"] <= narrowest + found["total_s"] / 2 + EPSILON_S, found
    return found


def assert_many_samples(address: str, shift_s: float, *arguments: str) -> Found:
    """Check that 20 samples contain the shift and narrow it."""
    _, found = ask(address, "-n", "20", *arguments)
    assert distance(found, shift_s) <= found["uncertainty_s"] + EPSILON_S, found
    assert found["uncertainty_s"] < NARROW_S, found
    return found


# -- our own formats -------------------------------------------------------------------------------------------------

#: How each format is read: name, resolution, and zone.
OURS = {
    "sentence": ("sentence", 1e-9, "+05:30"),
    "rfc867": ("rfc867", 1.0, "+05:30"),
    "smtp": ("smtp", 1.0, "+05:30"),
    "ctime": ("ctime", 1.0, "assumed"),
    "xinetd": ("xinetd", 1.0, "+05:30"),
    "iso8601": ("iso8601", 1.0, "+05:30"),
    "unix": ("unix", 1.0, "UTC"),
    "nist": ("nist", 1.0, "UTC"),
    "rfc868": ("rfc868", 1.0, "UTC"),
    "strftime:%A, %d.%m.%Y, %H:%M:%S %z": ("numeric", 1.0, "+05:30"),
}
ZONE = "Asia/Kolkata"


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[float, Daemon]]:
    """Run a daemon for each shift, with a listener for each format."""
    listeners = "".join(
        f'[[listener]]\nname = "l{number}"\naddress = "tcp4://127.0.0.1:0"\nworkers = 1\nformat = "{style}"\n'
        for number, style in enumerate(OURS)
    )
    config = tmp_path_factory.mktemp("ours") / "daytimed.toml"
    config.write_text(f'timezone = "{ZONE}"\n{listeners}')
    with contextlib.ExitStack() as stack:
        yield {shift_s: stack.enter_context(shifted_daemon(shift_s, config=config)) for shift_s in SHIFTS_S}


def address_of(daemon: Daemon, style: str) -> str:
    return f"127.0.0.1:{daemon.port(f'l{list(OURS).index(style)}')}"


@needs_faketime
@pytest.mark.parametrize("shift_s", SHIFTS_S)
@pytest.mark.parametrize("style", OURS)
def test_one_sample_of_each_of_our_formats(ours: dict[float, Daemon], style: str, shift_s: float) -> None:
    """The offset is right within its uncertainty, which is little more than half of the resolution."""
    name, resolution_s, zone = OURS[style]
    found = assert_one_sample(address_of(ours[shift_s], style), shift_s, name, resolution_s, "-z", ZONE)
    assert found["zone"] == zone
    # `nist` reports the health of this host's clock
    assert found["state"] == "OK" or style == "nist"


@needs_faketime
@pytest.mark.parametrize("style", OURS)
def test_twenty_samples_of_each_of_our_formats(ours: dict[float, Daemon], style: str) -> None:
    """20 samples see the second change, which narrows half a second to less than a tenth."""
    shift_s = SHIFTS_S[list(OURS).index(style) % len(SHIFTS_S)]
    found = assert_many_samples(address_of(ours[shift_s], style), shift_s, "-z", ZONE)
    assert found["state"] == "OK" or style == "nist"


@needs_faketime
@pytest.mark.parametrize("listen", ["udp4://127.0.0.1:0", "tcp6://[::1]:0", "unix"])
def test_other_transports(listen: str, tmp_path: Path) -> None:
    """The offset is right over datagrams, IPv6 and unix sockets too."""
    listen = f"unix://{tmp_path}/socket" if listen == "unix" else listen
    with shifted_daemon(-7.5, "-l", listen, "-f", "iso8601") as daemon:
        address = daemon.bound()[0]
        assert_one_sample(address, -7.5, "iso8601", 1.0)
        assert_many_samples(address, -7.5)


@needs_faketime
@pytest.mark.parametrize("days", [-9000, 9000])
def test_years_away(days: int) -> None:
    """The offset of a clock that is years away is right, since the year has four digits."""
    shift_s = days * 86400 + 0.25
    with shifted_daemon(shift_s, "-l", "tcp://127.0.0.1:0", "-f", "ctime") as daemon:
        assert_one_sample(daemon.bound()[0], shift_s, "ctime", 1.0)


@needs_faketime
def test_the_zone_that_is_assumed(ours: dict[float, Daemon]) -> None:
    """A reply without a zone is read in the local zone or in that of -z, a name or an offset, right or wrong."""
    address, shift_s = address_of(ours[-7.5], "ctime"), -7.5
    for arguments, zone, wrong_s in (
        ([], ZONE, 0),
        (["-z", "local"], ZONE, 0),
        (["-z", "Asia/Kolkata"], "UTC", 0),
        (["-z", "+05:30"], "America/New_York", 0),
        ([], "UTC", 19800),
        (["-z", "UTC"], ZONE, 19800),
        (["-z", "-01:00"], ZONE, 19800 + 3600),
    ):
        _, found = ask(address, *arguments, zone=zone)
        assert distance(found, shift_s + wrong_s) <= found["uncertainty_s"] + EPSILON_S, (arguments, zone)
        assert found["zone"] == "assumed"


@needs_faketime
def test_a_zone_in_the_reply_wins(ours: dict[float, Daemon]) -> None:
    """The assumed zone does not matter to a reply that names one, even by an ambiguous name."""
    for style in ("sentence", "rfc867", "iso8601", "unix"):
        _, found = ask(address_of(ours[-7.5], style), "-z", "-08:00", zone="Europe/Berlin")
        assert distance(found, -7.5) <= found["uncertainty_s"] + EPSILON_S, style


# -- other servers ---------------------------------------------------------------------------------------------------


def free_port() -> int:
    """Return a port that is free over TCP and UDP."""
    while True:
        with (
            socket.create_server(("127.0.0.1", 0)) as stream,
            socket.socket(type=socket.SOCK_DGRAM) as datagram,
            contextlib.suppress(OSError),
        ):
            datagram.bind(stream.getsockname())
            return int(stream.getsockname()[1])


def is_taken(kind: socket.SocketKind, port: int) -> bool:
    with socket.socket(type=kind) as other:
        if kind == socket.SOCK_STREAM:
            return other.connect_ex(("127.0.0.1", port)) == 0
        try:
            other.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False


def start_xinetd(folder: Path, shift_s: float, zone: str) -> contextlib.AbstractContextManager[dict[str, str]]:
    """Start xinetd with its internal services on free ports."""
    ports = {"daytime": free_port(), "time": free_port()}
    config = folder / "xinetd.conf"
    config.write_text(
        "".join(
            f"service {service}\n{{\n id = {service}-{protocol}\n type = INTERNAL UNLISTED\n socket_type = {kind}\n"
            f" protocol = {protocol}\n port = {port}\n bind = 127.0.0.1\n wait = {wait}\n}}\n"
            for service, port in ports.items()
            for kind, protocol, wait in (("stream", "tcp", "no"), ("dgram", "udp", "yes"))
        )
    )
    command = [program("xinetd"), "-dontfork", "-f", str(config)]
    command += ["-pidfile", f"{folder}/pid", "-filelog", f"{folder}/log"]
    return served(command, {**shifted(shift_s), "TZ": zone}, ports)


#: Runs a command with another /etc/services and an empty /run.
_OWN_PORTS = 'mount --bind "$1" /etc/services && mount -t tmpfs none /run && shift && exec env "$@"'


def start_inetd(
    package: str, arguments: str, folder: Path, shift_s: float, zone: str
) -> contextlib.AbstractContextManager[dict[str, str]]:
    """Start an inetd, with its own /etc/services: there it looks up the ports of its internal services."""
    root = UNPACKED / package
    if not root.exists():
        pytest.skip(f"{package} is not there; tests/programs fetches it")
    own = ["unshare", "--mount", *(["--user", "--map-root-user"] if os.geteuid() else [])]
    skip_without_mounts(*own)
    ports = {"daytime": free_port(), "time": free_port()}
    services, config = folder / "services", folder / "inetd.conf"
    entries = [(service, protocol) for service in ports for protocol in ("udp", "tcp")]
    services.write_text("".join(f"{service} {ports[service]}/{protocol}\n" for service, protocol in entries))
    kinds = {"udp": "dgram udp wait", "tcp": "stream tcp nowait"}
    config.write_text(
        "".join(f"127.0.0.1:{service} {kinds[protocol]} root internal\n" for service, protocol in entries)
    )
    inetd = next(each for each in root.glob("usr/sbin/*inetd") if each.name != "update-inetd")
    libraries = ":".join(str(each) for each in (*root.glob("usr/lib/*-linux-*"), *root.glob("lib/*-linux-*")))
    # set only for the inetd, not for the commands that start it
    variables = {**shifted(shift_s), "TZ": zone, "LD_LIBRARY_PATH": libraries}
    command = [
        *own, "sh", "-c", _OWN_PORTS, "sh", str(services),
        *(f"{name}={value}" for name, value in variables.items()), str(inetd), *arguments.split(), str(config),
    ]  # fmt: skip
    return served(command, {}, ports)


def start_openbsd_inetd(folder: Path, shift_s: float, zone: str) -> contextlib.AbstractContextManager[dict[str, str]]:
    return start_inetd("openbsd-inetd", "-i", folder, shift_s, zone)


def start_inetutils_inetd(folder: Path, shift_s: float, zone: str) -> contextlib.AbstractContextManager[dict[str, str]]:
    return start_inetd("inetutils-inetd", "-d", folder, shift_s, zone)


def start_nginx(folder: Path, shift_s: float, zone: str) -> contextlib.AbstractContextManager[dict[str, str]]:
    """Start nginx with the `return` of its stream module."""
    if not NGINX_STREAM.exists():
        pytest.skip("libnginx-mod-stream is not installed")
    lines = {"iso8601": '"$time_iso8601\\n"', "local": "$time_local", "msec": "$msec"}
    ports = {name: free_port() for name in lines}
    servers = "".join(
        f" server {{ listen 127.0.0.1:{ports[name]}{kind}; return {line}; }}\n"
        for name, line in lines.items()
        for kind in ("", " udp")
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"load_module {NGINX_STREAM};\ndaemon off;\nmaster_process off;\npid {folder}/pid;\nevents {{}}\n"
        f"stream {{\n{servers}}}\n"
    )
    command = [program("nginx"), "-p", str(folder), "-e", "stderr", "-c", str(config)]
    return served(command, {**shifted(shift_s), "TZ": zone}, ports)


@contextlib.contextmanager
def served(
    command: Sequence[str], environment: Mapping[str, str], ports: Mapping[str, int]
) -> Iterator[dict[str, str]]:
    """Run a server until its ports are bound; yield the address of each service over each protocol."""
    places = [(kind, port) for port in ports.values() for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)]
    with running(*command, env=environment) as server:
        try:
            wait_until(lambda: server.process.poll() is not None or all(is_taken(*each) for each in places), "ports")
            assert server.process.poll() is None, f"{command[0]} has ended"
            yield {
                f"{service}/{protocol}": f"{protocol}://127.0.0.1:{port}"
                for service, port in ports.items()
                for protocol in ("tcp", "udp")
            }
        finally:
            forget_shift(server.process.pid)


Start = Callable[[Path, float, str], contextlib.AbstractContextManager[dict[str, str]]]

#: For each server: its start, shift and zone, and the expected format, resolution and zone of each service.
PEERS: dict[str, tuple[Start, float, str, dict[str, tuple[str, float, str]]]] = {
    "xinetd": (
        start_xinetd, 3661.3, "Europe/Berlin",
        {
            "daytime/tcp": ("xinetd", 1.0, "+01:00"), "daytime/udp": ("xinetd", 1.0, "+01:00"),
            "time/tcp": ("rfc868", 1.0, "UTC"), "time/udp": ("rfc868", 1.0, "UTC"),
        },
    ),
    # it ignores datagrams from 127.0.0.1
    "openbsd-inetd": (
        start_openbsd_inetd, -7.5, "Asia/Kolkata",
        {"daytime/tcp": ("ctime", 1.0, "assumed"), "time/tcp": ("rfc868", 1.0, "UTC")},
    ),
    # its RFC 868 reply has eight bytes
    "inetutils-inetd": (
        start_inetutils_inetd, 3661.3, "America/New_York",
        {
            "daytime/tcp": ("ctime", 1.0, "assumed"), "daytime/udp": ("ctime", 1.0, "assumed"),
            "time/tcp": ("rfc868", 1.0, "UTC"), "time/udp": ("rfc868", 1.0, "UTC"),
        },
    ),
    "nginx": (
        start_nginx, -7.5, "Europe/Berlin",
        {
            "iso8601/tcp": ("iso8601", 1.0, "+01:00"), "iso8601/udp": ("iso8601", 1.0, "+01:00"),
            "msec/tcp": ("unix", 0.001, "UTC"), "msec/udp": ("unix", 0.001, "UTC"),
        },
    ),
}  # fmt: skip


@needs_faketime
@pytest.mark.parametrize("peer", PEERS)
def test_other_servers(peer: str, tmp_path: Path) -> None:
    """For the inetds of Debian and nginx, the offset is right within its uncertainty, and 20 samples narrow it."""
    start, shift_s, zone, services = PEERS[peer]
    with start(tmp_path, shift_s, zone) as addresses:
        for service, (style, resolution_s, found_zone) in services.items():
            print(service)
            found = assert_one_sample(addresses[service], shift_s, style, resolution_s, "-z", zone)
            assert (found["state"], found["zone"]) == ("OK", found_zone)
        narrowed = next(iter(services))
        assert assert_many_samples(addresses[narrowed], shift_s, "-z", zone)["state"] == "OK"


@needs_faketime
def test_the_log_time_of_nginx(tmp_path: Path) -> None:
    """`return $time_local`, the time format of web server logs, is read."""
    with start_nginx(tmp_path, -7.5, "Europe/Berlin") as addresses:
        _, found = ask(addresses["local/tcp"])
    assert (found["reason"], found["resolution_s"], found["zone"]) == (None, 1.0, "+01:00"), found
    assert distance(found, -7.5) <= found["uncertainty_s"] + EPSILON_S


# -- limits of the offset --------------------------------------------------------------------------------------------


def clock(shift_s: float, pattern: str, digits: int) -> Behaviour:
    """Send the time of a clock that is ahead by the shift, with a number of fractional digits."""

    def reply() -> bytes:
        now_ns = time.time_ns() + round(shift_s * 1e9)
        fraction = f".{now_ns % 10**9:09}"[: digits + 1] if digits else ""
        return f"{time.strftime(pattern, time.gmtime(now_ns // 10**9))}{fraction} UTC\n".encode()

    return saying(reply)


def clocks(
    *shifts_s: float, pattern: str = "%Y-%m-%d %H:%M:%S", digits: int = 6
) -> contextlib.AbstractContextManager[str]:
    """Run a server with several clocks, which it reads in turn."""
    return stream_server(*(clock(shift_s, pattern, digits) for shift_s in shifts_s))


@pytest.mark.parametrize(
    ("arguments", "code", "state"),
    [
        ([], 0, "OK"),
        (["-w", "5"], 0, "OK"),
        (["-w", "1"], 1, "WARNING"),
        (["-c", "1"], 2, "CRITICAL"),
        (["-w", "1", "-c", "5"], 1, "WARNING"),
        (["-w", "1", "-c", "1.5"], 2, "CRITICAL"),
        (["-w", "-1:1"], 1, "WARNING"),
        (["-w", "1:3"], 0, "OK"),
        (["-w", "3:"], 1, "WARNING"),
        (["-w", "~:3"], 0, "OK"),
        (["-w", "@1:3"], 1, "WARNING"),
        (["-w", "@3:5"], 0, "OK"),
    ],
)
@pytest.mark.parametrize("shift_s", [2.0, -2.0])
def test_the_limits_of_the_offset(shift_s: float, arguments: list[str], code: int, state: str) -> None:
    """-w and -c judge a clock that is 2 s ahead, or 2 s behind with the limits mirrored."""
    if shift_s < 0:
        turned = {"1:3": "-3:-1", "3:": "~:-3", "~:3": "-3:", "@1:3": "@-3:-1", "@3:5": "@-5:-3"}
        arguments = [turned.get(each, each) for each in arguments]
    with clocks(shift_s) as address:
        exit_code, found = ask(address, *arguments)
    assert (exit_code, found["state"]) == (code, state)
    assert (found["reason"] is None) == (state == "OK")


def test_a_right_clock_is_never_beyond_a_limit() -> None:
    """A correct clock of whole seconds or minutes is OK, however far the middle of its interval is off."""
    for pattern in ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M"):
        with clocks(0.0, pattern=pattern, digits=0) as address:
            for _ in range(3):
                code, found = ask(address, "-w", "0.0001", "-c", "0.001")
                assert (code, found["state"]) == (0, "OK")
                assert 2 * found["uncertainty_s"] >= (1 if pattern.endswith("S") else 60)


def test_the_whole_interval_decides() -> None:
    """0.3 s ahead, in whole seconds: one sample is WARNING only if its whole interval is beyond; 20 samples are."""
    with clocks(0.3, digits=0) as address:
        for _ in range(5):
            code, found = ask(address, "-w", "0.2")
            beyond = found["offset_s"] - found["uncertainty_s"] > 0.2
            assert (code, found["state"]) == ((1, "WARNING") if beyond else (0, "OK")), found
        code, found = ask(address, "-w", "0.2", "-n", "20")
        assert (code, found["state"]) == (1, "WARNING")
        assert ask(address, "-w", "0.4", "-n", "20")[0] == 0


def test_an_unsteady_clock() -> None:
    """Two clocks, 5 s apart, behind one address are WARNING, and have no offset."""
    with clocks(0.0, 5.0) as address:
        code, found = ask(address, "-n", "6")
    assert (code, found["state"]) == (1, "WARNING")
    assert "unsteady" in found["reason"]
    assert found["offset_s"] is None


def test_a_minority_does_not_move_the_offset() -> None:
    """One wrong server of five behind an address is WARNING, with the offset of the others."""
    with clocks(0.0, 0.0, 0.0, 5.0, 0.0) as address:
        code, found = ask(address, "-n", "5", "-w", "1")
    assert (code, found["state"]) == (1, "WARNING")
    assert "unsteady" in found["reason"]
    assert distance(found, 0.0) <= found["uncertainty_s"] + EPSILON_S
    assert found["uncertainty_s"] < NARROW_S
