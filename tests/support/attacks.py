"""
The attacks of a hostile network: a table of them, and the process that carries out one.

    attacks.py NAME PORT COUNT SECONDS [idle]

Attacks 127.0.0.1:PORT until SIGTERM, at most MOST_TIMES * COUNT times. Prints a line when the attack is under way,
another when it is enough (after COUNT times or SECONDS), and a JSON object with its counts at the end.
A real attacker has its own machine: with `idle`, the process takes only the CPU that others leave.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import functools
import json
import os
import random
import resource
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field

from load import ENOUGH, HOST, TIMEOUT_S, WHOLE, ask

from daytimed.datagram import IP_PKTINFO

LOCAL = socket.inet_aton(HOST)
#: Networks of the attackers; each attack whose connections a firewall spoils has its own.
NETWORK, SILENT, GONE, NARROW = "127.66", "127.67", "127.68", "127.69"
UNDER_WAY = "under way"
#: An attack is under way after this many times.
FIRST = 100
#: Bounds of an attack that nobody stops.
MOST_TIMES, LONGEST_S = 1000, 600.0
#: Connections that an attack holds at a time.
HELD = 1000
HELD_NARROW = 50
#: Writers without an end at a time, and the time after which the server is at fault.
WRITERS, ENDLESS_S = 50, 20.0

#: Bounds of the datagrams in flight, and of their bytes: a full queue of the kernel would lose honest ones too, and the
#: daemon cannot count those.
WINDOW = 16
WINDOW_BYTES = 1 << 13
UDP_PATIENCE_S = 5.0

_RESET = struct.pack("ii", 1, 0)


class Attacker:
    """One process of an attack: its counts, and the connections that it holds."""

    def __init__(self, port: int, count: int) -> None:
        self.port = port
        self.count = count
        self.done = 0
        self.accepted = 0
        """Its clients or datagrams that the server must have accepted."""
        self.bytes = 0
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.held: collections.deque[socket.socket] = collections.deque()
        self.sources = 0
        """Source addresses of datagrams so far."""
        self.stopped = False
        self.started = self.last = time.monotonic()

    def note(self, outcome: str, count: int = 1, *, accepted: bool = True) -> None:
        """Count the outcome of a client or of some datagrams."""
        self.outcomes[outcome] += count
        self.done += count
        self.accepted += count * accepted
        self.last = time.monotonic()

    def stop(self, *_: object) -> None:
        """Stop: the handler of SIGTERM."""
        self.stopped = True

    @property
    def goes_on(self) -> bool:
        """Whether the attack continues."""
        return not self.stopped and self.done < MOST_TIMES * self.count and self.age_s < LONGEST_S

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.started

    def source(self, network: str = NETWORK) -> str:
        """Return the next of 65,536 addresses."""
        return f"{network}.{self.done >> 8 & 255}.{self.done & 255}"

    def open(self, network: str = NETWORK, port: int = 0) -> socket.socket:
        """Return a bound socket that is not connected."""
        client = socket.socket()
        client.settimeout(TIMEOUT_S)
        client.bind((self.source(network), port))
        return client

    def connect(self, network: str = NETWORK) -> socket.socket:
        client = self.open(network)
        client.connect((HOST, self.port))
        return client

    @functools.cached_property
    def answered(self) -> socket.socket:
        """The socket that sends from many addresses and receives the replies to all of them."""
        return open_datagrams()

    def hold(self, client: socket.socket, most: int = HELD) -> None:
        """Hold a connection; reset the oldest if there are too many."""
        self.held.append(client)
        if len(self.held) > most:
            reset(self.held.popleft())


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    client.close()


def read_reply(client: socket.socket) -> str:
    """Read to the end of file; return the outcome."""
    reply = b""
    try:
        while part := client.recv(4096):
            reply += part
    except OSError as error:
        return f"{errno.errorcode.get(error.errno or 0, type(error).__name__)} after {len(reply)} bytes"
    return "whole" if WHOLE.fullmatch(reply) else f"{len(reply)} bytes"


def connect_and_close(attacker: Attacker) -> None:
    attacker.connect().close()
    attacker.note("closed")


def connect_and_read(attacker: Attacker) -> None:
    attacker.note(ask(attacker.port, attacker.source(), write=False))


def connect_from_one_source(attacker: Attacker) -> None:
    attacker.note(ask(attacker.port, f"{NETWORK}.0.1", write=False))


def send_syn_only(attacker: Attacker) -> None:
    client = attacker.open(SILENT)
    client.setblocking(False)
    outcome = client.connect_ex((HOST, attacker.port))
    # this sends nothing: the kernel has seen no answer
    client.close()
    sent = outcome == errno.EINPROGRESS
    attacker.note("sent" if sent else errno.errorcode.get(outcome, "connected"), accepted=not sent)


def connect_and_vanish(attacker: Attacker) -> None:
    # never use an address and port twice: the server still knows them, and would not answer
    client = attacker.open(GONE, 1024 + (attacker.done >> 16))
    client.connect((HOST, attacker.port))
    attacker.hold(client)
    attacker.note("connected")


def shut_down_and_read(attacker: Attacker) -> None:
    with attacker.connect() as client:
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_WR)
        attacker.note(read_reply(client))


def reset_at_every_step(attacker: Attacker) -> None:
    client = attacker.open()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    client.connect((HOST, attacker.port))
    step = attacker.done % 4
    # the server may close first, and resets the connection then
    with contextlib.suppress(ConnectionError):
        if step == 1:
            client.send(b"what time is it")
        elif step == 2:
            client.recv(1)
        elif step == 3:
            client.recv(30)
    client.close()
    attacker.note("reset")


def never_read(attacker: Attacker) -> None:
    attacker.hold(attacker.connect())
    attacker.note("connected")


def stay_idle(attacker: Attacker) -> None:
    attacker.hold(attacker.connect(), attacker.count)
    attacker.note("held")


def read_slowly(attacker: Attacker) -> None:
    client = attacker.open(NARROW)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP, 1)
    client.connect((HOST, attacker.port))
    client.setblocking(False)
    attacker.hold(client, HELD_NARROW)
    for each in attacker.held:
        with contextlib.suppress(BlockingIOError):
            attacker.bytes += len(each.recv(1))
    attacker.note("connected")


def write_64_kib(attacker: Attacker) -> None:
    attacker.bytes += 1 << 16
    attacker.note(ask(attacker.port, attacker.source(), write=True))


def write_without_end(attacker: Attacker) -> None:
    part = bytes(1 << 16)
    until = time.monotonic() + ENDLESS_S
    with contextlib.ExitStack() as stack:
        # many at a time: the server lets each of them write for two seconds
        clients = [stack.enter_context(attacker.connect()) for _ in range(WRITERS)]
        for client in clients:
            client.setblocking(False)
        while clients and time.monotonic() < until:
            for client in select.select((), clients, (), 1)[1]:
                try:
                    attacker.bytes += client.send(part)
                except BlockingIOError:
                    pass
                except (BrokenPipeError, ConnectionResetError):
                    clients.remove(client)
                    attacker.note("reset by the server")
        for _ in clients:
            attacker.note("never stopped")


def send_out_of_band(attacker: Attacker) -> None:
    with attacker.connect() as client:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.send(b"now", socket.MSG_OOB)
            client.send(b"then")
            client.send(b"!", socket.MSG_OOB)
        attacker.note(read_reply(client))


def open_datagrams(address: str = "", port: int = 0) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(UDP_PATIENCE_S)
    sock.bind((address, port))
    return sock


def ask_from_sources(attacker: Attacker, count: int) -> int:
    """
    Send empty datagrams, each from a different one of four million addresses (ip(7), IP_PKTINFO); wait for the replies.

    The server's queue then holds no datagram that was sent before.

    Returns:
        The number of replies.
    """
    for source in range(attacker.sources, attacker.sources + count):
        local = struct.pack("!BBH", 127, 128 + (source >> 16 & 63), source & 0xFFFF)
        control = (socket.IPPROTO_IP, IP_PKTINFO, struct.pack("=i4s4s", 0, local, bytes(4)))
        attacker.answered.sendmsg([b""], [control], 0, (HOST, attacker.port))
    attacker.sources += count
    attacker.accepted += count
    for replies in range(count):
        try:
            attacker.answered.recv(2048)
        except TimeoutError:
            return replies
    return count


def send_from_many_sources(attacker: Attacker) -> None:
    replies = ask_from_sources(attacker, WINDOW)
    attacker.note("answered", replies, accepted=False)
    if replies < WINDOW:
        attacker.note("not answered", WINDOW - replies, accepted=False)


def send_garbage(attacker: Attacker) -> None:
    sent = size = 0
    with open_datagrams(f"{NETWORK}.0.1") as sock:
        while sent < WINDOW and size < WINDOW_BYTES:
            # the same number of each order of magnitude, up to the longest possible
            garbage = random.randbytes(min(65507, int(2 ** random.uniform(0, 16.1)) - 1))
            sock.sendto(garbage, (HOST, attacker.port))
            size += len(garbage)
            sent += 1
        ask_from_sources(attacker, 1)
    attacker.bytes += size
    attacker.note("sent", sent)


def send_forged(attacker: Attacker) -> None:
    """Claim to be a reserved port, the server itself, or an address that no host can have."""
    for port in (7, 13, 1023, attacker.port):
        with open_datagrams(f"{NETWORK}.0.1", port) as sock:
            sock.sendto(b"", (HOST, attacker.port))
    hosts = ("0.1.2.3", "224.0.0.1", "240.0.0.1", "255.255.255.255", "127.255.255.255")
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for host in hosts:
            # RFC 791, RFC 768: the kernel fills in lengths and checksums
            header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, 17, 0, socket.inet_aton(host), LOCAL)
            raw.sendto(header + struct.pack("!HHHH", 40000, attacker.port, 8, 0), (HOST, 0))
    ask_from_sources(attacker, 1)
    attacker.note("sent", 4 + len(hosts))


@dataclass(frozen=True)
class Attack:
    """One attack of the table."""

    name: str
    what: str
    act: Callable[[Attacker], None]
    outcomes: frozenset[str]
    """All the outcomes that the attacker may see."""
    count: int
    """The least number of times to carry it out, for the figures."""
    quick: int
    """The same, for a quick run."""
    _: KW_ONLY
    unit: str = "clients"
    processes: int = 1
    reasons: frozenset[str] = frozenset()
    """The reasons for which the server must have dropped some clients."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of the server, as environment variables."""
    transport: str = "tcp"
    rules: str = ""
    """Of a firewall for outgoing packets, in the syntax of nft(8)."""
    leaves: str = ""
    """During the attack, at least LEAST_LEFT of its connections must be in this state at the server."""
    holds: bool = False
    """The attack is under way when it has opened all its connections, and then holds them."""


LEAST_LEFT = 20


def _table() -> Iterator[Attack]:
    whole = frozenset({"whole"})
    yield Attack(
        "connect and close", "connections that are closed at once",
        connect_and_close, frozenset({"closed"}), 20_000, 300, processes=2,
    )  # fmt: skip
    yield Attack(
        "connect and read", "clients that ask as fast as they can",
        connect_and_read, whole, 20_000, 300, processes=2,
    )  # fmt: skip
    yield Attack(
        "SYN only", "SYNs; a firewall drops all answers",
        send_syn_only, frozenset({"sent"}), 50_000, 1000, leaves="syn-recv",
        rules=f"ip daddr {SILENT}.0.0/16 drop",
    )  # fmt: skip
    yield Attack(
        "gone without a word", "connections whose other side is gone: a firewall drops all after the handshake",
        connect_and_vanish, frozenset({"connected"}), 10_000, 300, leaves="fin-wait-1",
        rules=f"ip daddr {GONE}.0.0/16 tcp flags & (syn | ack) != syn | ack drop\n"
        f"ip saddr {GONE}.0.0/16 tcp flags & (fin | rst) != 0 drop",
    )  # fmt: skip
    yield Attack(
        "half closed", "clients that end their side before they read",
        shut_down_and_read, whole, 20_000, 300, processes=2,
    )  # fmt: skip
    yield Attack(
        "reset at every step", "resets: after the connect, after a request, after one byte, in the middle of the reply",
        reset_at_every_step, frozenset({"reset"}), 20_000, 600, processes=2, reasons=frozenset({"reset"}),
    )  # fmt: skip
    yield Attack(
        "never reading", f"clients that never read; {HELD} stay at a time",
        never_read, frozenset({"connected"}), 20_000, 300,
    )  # fmt: skip
    yield Attack(
        "slow reading", "clients that read byte by byte from the smallest buffer, with a window of one byte",
        read_slowly, frozenset({"connected"}), 2000, 100, leaves="fin-wait-1",
        rules=f"ip saddr {NARROW}.0.0/16 tcp window set 1",
    )  # fmt: skip
    yield Attack(
        "64 KiB writers", "clients that write 64 KiB before they read",
        write_64_kib, whole, 10_000, 300, processes=2,
    )  # fmt: skip
    yield Attack(
        "endless writers", "clients that write until they are reset",
        write_without_end, frozenset({"reset by the server"}), 2000, 100, processes=2,
    )  # fmt: skip
    yield Attack(
        "out-of-band data", "clients that send urgent data",
        send_out_of_band, whole, 20_000, 300,
    )  # fmt: skip
    yield Attack(
        "idle connections", "connections that are idle and kept open by the client, 10,000 at a time",
        stay_idle, frozenset({"held"}), 10_000, 10_000, holds=True,
    )  # fmt: skip
    yield Attack(
        "denied flood", "clients from 65,536 addresses of a network that is denied",
        connect_and_read, frozenset({"empty"}), 20_000, 300, processes=2, reasons=frozenset({"denied"}),
        settings={"DAYTIMED_ACCESS_DENY": f"{NETWORK}.0.0/16"},
    )  # fmt: skip
    yield Attack(
        "rate-limited flood", "clients from one address, far beyond its rate",
        connect_from_one_source, frozenset({"whole", "empty"}), 20_000, 600, processes=2,
        reasons=frozenset({"rate"}), settings={"DAYTIMED_ACCESS_RATE": "10"},
    )  # fmt: skip
    yield Attack(
        "UDP garbage", "random bytes in datagrams of all sizes, from one address",
        send_garbage, frozenset({"sent"}), 50_000, 1000, unit="datagrams", transport="udp", reasons=frozenset({"rate"}),
    )  # fmt: skip
    yield Attack(
        "UDP forged sources", "datagrams from reserved ports, the server's own, and broadcast and impossible addresses",
        send_forged, frozenset({"sent"}), 50_000, 1000, unit="datagrams", transport="udp",
        reasons=frozenset({"denied"}),
    )  # fmt: skip
    yield Attack(
        "UDP sources", "datagrams, each from another address",
        send_from_many_sources, frozenset({"answered"}), 1_000_000, 10_000, unit="datagrams", transport="udp",
    )  # fmt: skip


ATTACKS = {attack.name: attack for attack in _table()}


def main() -> None:
    """Carry out one attack."""
    name, port, count, longest_s = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    attack, attacker = ATTACKS[name], Attacker(port, count)
    signal.signal(signal.SIGTERM, attacker.stop)
    # each held connection takes a descriptor
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    first = count if attack.holds else min(count, FIRST)
    if sys.argv[5:] == ["idle"]:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    printed: list[str] = []
    while attacker.goes_on:
        if not attack.holds or attacker.done < count:
            attack.act(attacker)
        else:
            # a poll for the signal, not a wait
            time.sleep(0.01)
        if not printed and attacker.done >= first:
            printed.append(UNDER_WAY)
        elif printed == [UNDER_WAY] and (attacker.done >= count or attacker.age_s >= longest_s):
            printed.append(ENOUGH)
        else:
            continue
        print(printed[-1], flush=True)
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    report = {
        "done": attacker.done,
        "accepted": attacker.accepted,
        "stopped": attacker.stopped,
        "bytes": attacker.bytes,
        "outcomes": attacker.outcomes,
        "started": attacker.started,
        "last": attacker.last,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
