"""Checks after every fault: the next client gets a reply, the figures add up, nothing is left behind."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from harness import Daemon, Event, descriptors, fetch, process_state, wait_until

from daytimed.reasons import REASONS


def children(pid: int) -> list[int]:
    """Return the children of a process, zombies too."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def zombies(pid: int) -> list[int]:
    """Return the children of a process that have ended and that it has not reaped."""
    return [each for each in children(pid) if process_state(each) == "Z"]


def memory_kib(daemon: Daemon) -> list[int]:
    """Return the memory of the master and of each worker, without the files that they share with other programs."""
    return [_memory_kib(pid) for pid in (daemon.process.pid, *daemon.live_workers())]


def _memory_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))


def figures_of(daemon: Daemon, accepted: int = 0) -> Event:
    """Return the statistics of a daemon; assert that they add up."""
    figures = daemon.statistics(accepted)
    assert figures["accepted"] == figures["served"] + figures["dropped"], figures
    assert figures["dropped"] == sum(figures.get(reason, 0) for reason in REASONS), figures
    return figures


def ask_daytime(daemon: Daemon) -> bytes:
    """Act as an honest client of the `daytime` listener, which every daemon here has."""
    return fetch(daemon.port())


@contextlib.contextmanager
def unharmed(daemon: Daemon, ask: Callable[[Daemon], bytes] = ask_daytime) -> Iterator[None]:
    """
    Assert that the body leaves no trace in a daemon.

    An honest client gets a reply; the number of workers is the same; the figures add up and have only grown; there is
    no zombie; and each process has the same descriptors as before.
    """
    master = daemon.process.pid
    assert ask(daemon)
    before, wanted = figures_of(daemon), len(daemon.live_workers())
    daemon.rest()
    masters, workers = descriptors(master), [descriptors(pid) for pid in daemon.live_workers()]
    yield
    assert process_state(master), "the master has ended"
    assert ask(daemon)
    after = figures_of(daemon)
    assert all(after.get(name, 0) >= before[name] for name in before if name in ("accepted", "served", *REASONS))
    wait_until(lambda: not zombies(master), "the master has reaped every child that has ended")
    wait_until(lambda: len(daemon.live_workers()) == wanted, "every worker runs")
    wait_until(lambda: descriptors(master) == masters, "the master has the same descriptors as before")

    def are_as_before() -> bool:
        return all(descriptors(pid) in workers for pid in daemon.live_workers())

    # a worker that starts or serves a client has others for a moment, and one that a reload replaces ends
    wait_until(are_as_before, "each worker has the same descriptors as before")
