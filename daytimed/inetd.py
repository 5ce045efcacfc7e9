"""
`--inetd`: answer the one client on standard input, for xinetd, inetd and systemd's Accept=yes.

Standard error is often the client's socket too, and nothing is ever written there: the log goes to standard error only
if that is another file, and otherwise to the system log.
"""

from __future__ import annotations

import os
import socket
import time
from functools import partial

from daytimed import clock, formats, session
from daytimed.config.settings import Config
from daytimed.datagram import CONTROL_SPACE, ask_for_destinations
from daytimed.errors import EXIT_OK, UsageError
from daytimed.gate import Gate
from daytimed.log.clients import ClientLog
from daytimed.log.output import Output
from daytimed.networks import NetworkSet
from daytimed.peers import NAMELESS, Peer, name_interface
from daytimed.ring import Ring

_STDIN = 0
_KINDS = (
    (socket.AF_INET, socket.SOCK_STREAM),
    (socket.AF_INET6, socket.SOCK_STREAM),
    (socket.AF_UNIX, socket.SOCK_STREAM),
    (socket.AF_INET, socket.SOCK_DGRAM),
    (socket.AF_INET6, socket.SOCK_DGRAM),
)


def run(config: Config, output: Output) -> int:
    """
    Answer the client.

    Args:
        output: The destination of the log.

    Raises:
        UsageError: If standard input is not a client.
    """
    settings = config.listeners[0]
    reply = formats.compile_format(settings.format, clock.load_zone(settings.timezone), clock.ask_kernel_clock)
    gate = Gate(NetworkSet(config.access.allow), NetworkSet(config.access.deny), None)
    client = _client()
    if client.type == socket.SOCK_DGRAM:
        answered = _answer_datagram(client, gate, reply)
    else:
        answered = _serve_stream(client, gate, reply)
    if answered:
        log = output.make_log(config.log.format, config.log.level, lambda: None)
        quiet, name_scope = NetworkSet(config.log.quiet), partial(name_interface, _STDIN)
        client_log = ClientLog(log, settings.name, config.log.clients, quiet, None, name_scope)
        peer, (size, dropped) = answered
        client_log.record(peer, 0, size, dropped)
    return EXIT_OK


def _client() -> socket.socket:
    try:
        client = socket.socket(fileno=os.dup(_STDIN))
    except OSError:
        raise UsageError(
            "--inetd: standard input is not a socket; run it from an inetd, or from a systemd socket with Accept=yes"
        ) from None
    if (client.family, client.type) not in _KINDS:
        raise UsageError("--inetd: standard input is not a TCP, UDP or unix stream socket; use one of these")
    if client.type == socket.SOCK_STREAM and client.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise UsageError("--inetd: standard input is a listening socket; use wait = no, nowait or Accept=yes")
    return client


def _serve_stream(client: socket.socket, gate: Gate, reply: formats.Reply) -> tuple[Peer, session.Outcome]:
    try:
        peer: Peer = client.getpeername()
    except OSError as error:
        # the client has gone, and its address with it
        return ("unknown", 0), session.drop(error)
    is_unix = client.family == socket.AF_UNIX
    ring = Ring((client.family, client.type, client.proto), None)
    outcome = session.Streams(ring, gate, reply, is_unix=is_unix).serve((client.detach(), peer), time.monotonic_ns())
    ring.wait()
    ring.close()
    return NAMELESS if is_unix else peer, outcome


def _answer_datagram(server: socket.socket, gate: Gate, reply: formats.Reply) -> tuple[Peer, session.Outcome] | None:
    ask_for_destinations(server)
    try:
        request = server.recvmsg(1, CONTROL_SPACE, socket.MSG_DONTWAIT)
    except BlockingIOError:
        # another server that waits on the same socket was faster
        return None
    datagrams = session.Datagrams(server, gate, reply, frozenset({server.getsockname()[1]}))
    return request[3], datagrams.serve(request, time.monotonic_ns())
