"""Growth with workers, listeners, clients and idle connections, beside the floor in C."""

from __future__ import annotations

import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import lineup
import tree
from document import Table, counts, spread
from lineup import Server
from running import running

#: Clients at a time, where something else grows.
CLIENTS = 16
#: Other descriptors of a process.
_SPARE = 100
#: How long to watch an idle daemon; it is idle after QUIET_S without a wake-up, or after SETTLED_S at the latest.
IDLE_S, QUIET_S, SETTLED_S = 5.0, 2.0, 20.0

WORKERS, LISTENERS, ASKING, HELD = "workers", "listeners", "clients", "idle connections"
STEPS = {
    WORKERS: (1, 2, 4, 8, 16, 64),
    LISTENERS: (1, 2, 4, 8, 16, 64),
    ASKING: (10, 30, 100, 300, 1000),
    HELD: (0, 10000),
}
#: Why a curve is not flat, or is.
_REASONS = {
    WORKERS: "The kernel wakes the worker that has slept longest; with more workers its caches are colder, in C too.",
    LISTENERS: f"Each listener has {lineup.WORKERS} workers of its own, and the caches suffer as with more workers.",
    HELD: "A server that has closed its end keeps nothing (daytimed after two seconds); the rest is the kernel's.",
}


@dataclass(frozen=True)
class Point:
    """The figures of one step in one round."""

    cpu_us: float
    pss_mib: float
    errors: Counter[str]


Curves = Mapping[str, Mapping[str, Mapping[int, Sequence[Point]]]]
"""The rounds, by what grows, server and step."""


@dataclass(frozen=True)
class Growth:
    """All figures."""

    curves: Curves
    wakeups: int
    """Of an idle daemon, in IDLE_S."""
    missing: Mapping[str, str]


def measure(rounds: int, replies: int, progress: Callable[[str], None]) -> Growth:
    """
    Measure every step in turn; reverse the order with each round.

    Raises:
        MissingError: If a server does not start.
    """
    missing = {}
    steps = dict(STEPS)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most < STEPS[HELD][-1] + _SPARE:
        missing[HELD] = f"a process may open only {most} descriptors here"
        del steps[HELD]
    curves: dict[str, dict[str, dict[int, list[Point]]]] = {
        what: {name: {much: [] for much in each} for name in (lineup.OWN, lineup.FAIR_FLOOR)}
        for what, each in steps.items()
    }
    todo = [(what, name, much) for what, each in curves.items() for name, by in each.items() for much in by]
    for turn in range(rounds):
        for what, name, much in todo if turn % 2 == 0 else reversed(todo):
            progress(f"growth {turn + 1} of {rounds}: {name}, {much} {what}")
            workers = much if what == WORKERS else lineup.WORKERS
            is_ours = name == lineup.OWN
            server = lineup.own(workers=workers) if is_ours else lineup.prefork(name, "-2", workers=workers)
            curves[what][name][much].append(_measure(server, what, much, replies))
    return Growth(curves, _count_wakeups(), missing)


def _measure(server: Server, what: str, much: int, replies: int) -> Point:
    listeners = much if what == LISTENERS else 1
    clients = much if what == ASKING else CLIENTS
    with running(server, listeners) as run:
        warm_up = run.ask(clients, max(clients, replies // 10))
        with run.holding(much if what == HELD else 0) as held:
            before = tree.cpu_ns(run.pid)
            answers = run.ask(clients, max(clients, replies))
            cpu_us = (tree.cpu_ns(run.pid) - before) / 1000 / max(clients, replies)
            return Point(cpu_us, tree.pss_mib(run.pid), warm_up.errors + answers.errors + held)


def _count_wakeups() -> int:
    """Return how often a daemon gets a CPU in IDLE_S after it has served and settled."""
    with running(lineup.own()) as run:
        run.ask(CLIENTS, 1000)
        before, deadline = -1, time.monotonic() + SETTLED_S
        while before != (before := tree.switches(run.pid)) and time.monotonic() < deadline:
            time.sleep(QUIET_S)
        time.sleep(IDLE_S)
        return tree.switches(run.pid) - before


def pss_of_a_worker(growth: Growth) -> list[float]:
    """Return the memory of each further worker in MiB, by round."""
    by = growth.curves[WORKERS][lineup.OWN]
    least, most = lineup.WORKERS, STEPS[WORKERS][-1]
    return [(each.pss_mib - few.pss_mib) / (most - least) for each, few in zip(by[most], by[least], strict=True)]


def tables(growth: Growth) -> Iterator[Table]:
    """Return the tables, one for each thing that grows."""
    columns = (
        f"{lineup.OWN}: CPU µs/reply",
        "C: CPU µs/reply",
        f"{lineup.OWN} / C",
        f"{lineup.OWN}: PSS MiB",
        "C: PSS MiB",
    )
    for what, servers in growth.curves.items():
        own, floor = servers[lineup.OWN], servers[lineup.FAIR_FLOOR]
        rows = []
        for much in STEPS[what]:
            cpu = [[each.cpu_us for each in by[much]] for by in (own, floor)]
            ratios = [mine / its for mine, its in zip(*cpu, strict=True)]
            pss = [f"{median(each.pss_mib for each in by[much]):.1f}" for by in (own, floor)]
            rows.append([f"{much:,}", *(spread(each, 1) for each in cpu), spread(ratios, 2), *pss])
        errors = f"{lineup.OWN} {counts(_errors(own))}; C {counts(_errors(floor))}"
        notes = [f"C is `{lineup.FAIR_FLOOR}`. Errors: {errors}."]
        if what == WORKERS:
            notes.append(f"Each further worker takes {spread(pss_of_a_worker(growth), 2)} MiB PSS.")
        notes += [_REASONS[what]] if what in _REASONS else []
        if what == ASKING:
            notes += [f"Missing: {name}: {why}." for name, why in growth.missing.items()]
        yield Table(f"With more {what}", [what, *columns], rows, notes)


def failed(growth: Growth) -> bool:
    """Return whether daytimed failed a client."""
    return any(_errors(servers[lineup.OWN]) for servers in growth.curves.values())


def _errors(by: Mapping[int, Sequence[Point]]) -> Counter[str]:
    return sum((each.errors for points in by.values() for each in points), Counter[str]())
