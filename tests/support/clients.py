"""Many clients of a booted host at once (load.py), and what came of them."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator

from container import PROJECT, Container
from package import Host

THREADS, CLIENTS = 16, 2500
#: A bound for what hangs: longer than each of them waits for a reply.
LONGEST_S = 300.0
LOAD = "/srv/load.py"


def bring_load(host: Host) -> None:
    """Have what the load is made with on the host."""
    host.copy(PROJECT / "tests/support/load.py", LOAD)


def begin_load(host: Container, clients: int | None = CLIENTS) -> subprocess.Popen[str]:
    """Start a load; one without a number of clients goes on until its outcomes are asked for."""
    return host.popen(f"exec python3 {LOAD} 6000 {THREADS} {clients or '-'}", stdin=subprocess.PIPE)


def outcomes(load: subprocess.Popen[str]) -> dict[str, float]:
    """Return how many clients ended in which way, how long one waited at most, and how long it took."""
    printed, _ = load.communicate(timeout=LONGEST_S)
    print("outcomes of the clients:", printed)
    assert load.returncode == 0, printed
    return json.loads(printed)  # type: ignore[no-any-return]


def assert_nobody_lost(ended: dict[str, float], clients: int | None = CLIENTS) -> None:
    assert ended.keys() == {"whole", "longest_s", "seconds"}
    assert ended["whole"] == THREADS * clients if clients else ended["whole"] >= THREADS
    assert ended["longest_s"] < 30, "a client waited as long as nobody would"


@contextlib.contextmanager
def none_is_lost(host: Container) -> Iterator[None]:
    """Have clients as long as the block lasts: all of them are served."""
    load = begin_load(host, None)
    try:
        # sockets of the clients; what is left of earlier ones is the server's
        host.until("ss -Htn 'src 127.0.1.0/24' | grep .", "clients come")
        yield
    finally:
        ended = outcomes(load)
    assert_nobody_lost(ended, None)
