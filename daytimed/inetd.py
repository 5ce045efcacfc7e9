"""
`--inetd`: answer the one client on standard input, for xinetd, inetd and systemd's Accept=yes.

Standard error is often the client's socket too, so nothing is ever written there: the log goes to it only where it is
something else, and else to the system log.
"""

from __future__ import annotations

import os
import socket
import time
from typing import NamedTuple

from daytimed import clock, formats, session
from daytimed.clientlog import NAMELESS, ClientLog, Peer
from daytimed.config import Config
from daytimed.datagram import CONTROL_SPACE, ask_for_destinations
from daytimed.errors import EXIT_OK, UsageError
from daytimed.limits import Gate, NetworkSet
from daytimed.log import Output

_STDIN = 0


def run(config: Config, output: Output) -> int:
    """
    Answer the client.

    Args:
        output: Where the log goes.

    Raises:
        UsageError: If standard input is no client.
    """
    settings = config.listeners[0]
    reply = formats.compile_format(settings.format, clock.load_zone(settings.timezone), clock.ask_kernel_clock)
    try:
        client = socket.socket(fileno=os.dup(_STDIN))
    except OSError:
        raise UsageError(
            "--inetd: standard input is no socket; an inetd or Accept=yes of systemd makes it one"
        ) from None
    datagram = client.type == socket.SOCK_DGRAM
    families = (socket.AF_INET, socket.AF_INET6) if datagram else (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
    if client.family not in families or client.type not in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        raise UsageError(
            "--inetd: standard input is a socket of a kind that is not served; use TCP, UDP or a unix stream"
        )
    gate = Gate(NetworkSet(config.access.allow), NetworkSet(config.access.deny), None)
    if datagram:
        outcome = _answer_datagram(client, reply, gate)
    elif client.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise UsageError("--inetd: standard input is a listening socket; use wait = no, nowait or Accept=yes")
    else:
        outcome = _serve_stream(client, reply, gate)
    if outcome is not None:
        log = output.make_log(config.log.format, config.log.level, lambda: None)
        client_log = ClientLog(log, settings.name, config.log.clients, NetworkSet(config.log.quiet), None)
        client_log.tell(outcome.peer, 0, outcome.size, outcome.dropped)
    return EXIT_OK


class _Outcome(NamedTuple):
    peer: Peer
    size: int
    dropped: int | None


def _serve_stream(client: socket.socket, reply: formats.Reply, gate: Gate) -> _Outcome:
    try:
        peer: Peer = client.getpeername()
    except OSError as error:
        # gone before anybody looked; it has no name any more
        return _Outcome(("unknown", 0), 0, session.reason_for(error))
    dropped = None
    if client.family == socket.AF_UNIX:
        peer = NAMELESS
    elif gate:
        dropped = gate.judge(peer[0], 0)
    if dropped is not None:
        session.close(client.detach())
        return _Outcome(peer, 0, dropped)
    line = reply(time.time_ns())
    with session.ClientSocket((client.family, client.type, client.proto)) as served:
        return _Outcome(peer, len(line), served.serve(client.detach(), line))


def _answer_datagram(server: socket.socket, reply: formats.Reply, gate: Gate) -> _Outcome | None:
    ask_for_destinations(server)
    try:
        request = server.recvmsg(1, CONTROL_SPACE, socket.MSG_DONTWAIT)
    except BlockingIOError:
        # another server that waited on the same socket has taken it
        return None
    size, dropped = session.answer(server, request, frozenset({server.getsockname()[1]}), gate.judge, reply)
    return _Outcome(request[3], size, dropped)
