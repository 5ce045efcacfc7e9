"""Many concurrent clients of a booted host (load.py), and their outcomes."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator

from container import PROJECT, Container
from package import Host

THREADS, CLIENTS = 16, 2500
#: A bound for a load that hangs: longer than a client waits for its reply.
LONGEST_S = 300.0
LOAD = "/srv/load.py"


def bring_load(host: Host) -> None:
    """Copy the load program to the host."""
    host.copy(PROJECT / "tests/support/load.py", LOAD)


def begin_load(host: Container, clients: int | None = CLIENTS) -> subprocess.Popen[str]:
    """Start a load; without a number of clients it continues until `outcomes` ends it."""
    return host.popen(f"exec python3 {LOAD} 6000 {THREADS} {clients or '-'}", stdin=subprocess.PIPE)


def outcomes(load: subprocess.Popen[str]) -> dict[str, float]:
    """Return the number of clients by outcome, the longest wait of one, and the duration."""
    printed, _ = load.communicate(timeout=LONGEST_S)
    print("outcomes of the clients:", printed)
    assert load.returncode == 0, printed
    return json.loads(printed)  # type: ignore[no-any-return]


def assert_nobody_lost(ended: dict[str, float], clients: int | None = CLIENTS) -> None:
    assert ended.keys() == {"whole", "longest_s", "seconds"}
    assert ended["whole"] == THREADS * clients if clients else ended["whole"] >= THREADS
    assert ended["longest_s"] < 30, "a client waited longer than anybody would"


@contextlib.contextmanager
def none_is_lost(host: Container) -> Iterator[None]:
    """Run clients for as long as the block lasts; all of them must be served."""
    load = begin_load(host, None)
    try:
        # only sockets of clients: those left from earlier loads belong to the server
        host.until("ss -Htn 'src 127.0.1.0/24' | grep .", "clients come")
        yield
    finally:
        ended = outcomes(load)
    assert_nobody_lost(ended, None)
