"""
Try one attack on the real daemon, beside an honest client.

Daemon, attackers and honest client are processes in their own network namespace. The honest client runs before the
attack and during it; the state of the daemon has to be the same before and after it.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aftermath import memory_kib
from attacks import LEAST_LEFT, UNDER_WAY, Attack
from harness import (
    UNTRACED,
    Daemon,
    Event,
    clean_environment,
    descriptors,
    program,
    run,
    running,
    serving,
    wait_until,
)
from load import ENOUGH

from daytimed.reasons import REASONS

HERE = Path(__file__).parent
#: Every port is free in a network namespace of its own, and the kernel does not assign this one to clients.
PORT = 6000
#: More than the burst of the log, so that logging costs the same in each run of the honest client.
WARM_UP = 300
LONGEST_S = 300.0
#: How much the memory of the daemon may grow: the table of the rates (1 MiB), 1024 addresses that each worker remembers
#: (0.5 MiB), and pages of the interpreter, which are shared until a process counts a reference in them.
MOST_GROWTH_KIB = 3072

#: The exit status of the shell if nft rejects the rules.
NO_SUCH_RULES = 9
FIREWALL = "table ip attacks {{ chain output {{ type filter hook output priority 0;\n{rules}\n}}\n}}\n"


@dataclass(frozen=True)
class Plan:
    """How much to try."""

    count: int
    """The least number of times to carry out the attack."""
    longest_s: float
    """Enough after this time, whatever the count: the attackers may get no CPU."""
    asks: int
    """The least number of questions of the honest client, without the attack and during it."""


@dataclass(frozen=True)
class Honest:
    """The replies to an honest client."""

    asks: int
    outcomes: dict[str, int]
    p50_us: int
    p99_us: int

    @property
    def failures(self) -> int:
        return self.asks - self.outcomes.get("whole", 0)


Report = dict[str, Any]
"""The JSON object that a process of an attack prints at its end."""
Outcome = tuple[Honest, list[Report]]


@dataclass(frozen=True)
class Trial:
    """The result of an attack."""

    attack: Attack
    without: Honest
    during: Honest
    done: int
    bytes: int
    left: int
    """Connections at the server, during the attack, in the state that the attack aims at."""
    memory_kib: tuple[int, int]
    """Of the master and the workers, before and after."""
    dropped: dict[str, int]
    """By reason."""
    faults: list[str]
    """Every broken promise, in a sentence."""

    @property
    def ratio(self) -> float:
        return self.during.p99_us / self.without.p99_us


@contextlib.contextmanager
def own_network(firewall: str = "") -> Iterator[tuple[str, ...]]:
    """Make a network namespace with a loopback, or skip the test; yields the prefix of a command to run in it."""
    unshare, nsenter = program("unshare"), program("nsenter")
    if run(unshare, "--net", "true").returncode != 0:
        pytest.skip("cannot make a network namespace here")
    script = f"{program('ip')} link set lo up"
    if firewall:
        script += f' && {{ {program("nft")} "$1" || exit {NO_SUCH_RULES}; }}'
    script += " && echo ready && exec sleep infinity"
    with running(unshare, "--net", "sh", "-c", script, "sh", FIREWALL.format(rules=firewall)) as leader:
        try:
            leader.wait_for("ready")
        except AssertionError:
            if leader.process.poll() == NO_SUCH_RULES:
                pytest.skip(f"nft rejects these rules here: {leader.log.read_text()}")
            raise
        yield (nsenter, "--target", str(leader.process.pid), "--net")


def start(inside: Sequence[str], name: str, *arguments: object) -> subprocess.Popen[str]:
    """Start one of our clients, which print JSON."""
    command = [*inside, sys.executable, str(HERE / name), *map(str, arguments)]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=clean_environment(UNTRACED)
    )


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait until a client has ended; return the object that it printed."""
    out, _ = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 0, f"{process.args!r} ended with {process.returncode}"
    said: dict[str, Any] = json.loads(out)
    return said


def wait_for(line: str, processes: Sequence[subprocess.Popen[str]]) -> None:
    """Wait until each client has printed a line."""
    for process in processes:
        assert process.stdout
        # killing the process ends the read
        bound = threading.Timer(LONGEST_S, process.kill)
        bound.start()
        try:
            said = process.stdout.readline().strip()
        finally:
            bound.cancel()
        assert said == line, f"{process.args!r} did not print {line!r}"


def ask_honestly(inside: Sequence[str], attack: Attack, asks: int) -> Honest:
    """Run the honest client before or after the attack."""
    return Honest(**finish(start(inside, "honest.py", attack.transport, PORT, asks)))


@contextlib.contextmanager
def started(*processes: subprocess.Popen[str]) -> Iterator[tuple[subprocess.Popen[str], ...]]:
    """Kill our clients at the end of the body if they still run."""
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()
            assert process.stdout
            process.stdout.close()


def stop(processes: Sequence[subprocess.Popen[str]]) -> list[Report]:
    """Stop clients; return the objects that they print."""
    for process in processes:
        process.terminate()
    return [finish(process) for process in processes]


def attack_beside(inside: Sequence[str], attack: Attack, plan: Plan, look: Callable[[], None]) -> Outcome:
    """
    Carry out an attack, and run the honest client while the attack is under way.

    Args:
        look: Called while both run.

    Returns:
        The replies to the honest client, and the reports of the attack's processes.
    """
    arguments = ("attacks.py", attack.name, PORT, -(-plan.count // attack.processes), plan.longest_s, "idle")
    with started(*(start(inside, *arguments) for _ in range(attack.processes))) as attackers:
        wait_for(UNDER_WAY, attackers)
        with started(start(inside, "honest.py", attack.transport, PORT, plan.asks, "on")) as (honest,):
            wait_for(ENOUGH, [*attackers, honest])
            look()
            (answered,) = stop([honest])
        return Honest(**answered), stop(attackers)


def connections(inside: Sequence[str], state: str) -> int:
    """Count the connections of the daemon's port in a state, as ss(8) names it."""
    # /proc/net/tcp takes seconds if the kernel's table is large
    return run(*inside, program("ss"), "-Htan", "state", state, "sport", "=", f":{PORT}").stdout.count(b"\n")


def open_files(daemon: Daemon) -> dict[int, list[str]]:
    daemon.rest()
    return {pid: descriptors(pid) for pid in [daemon.process.pid, *daemon.live_workers()]}


def try_out(attack: Attack, plan: Plan) -> Trial:
    """Try an attack beside an honest client."""
    address = f"{attack.transport}4://127.0.0.1:{PORT}"
    with (
        own_network(attack.rules) as inside,
        serving("-l", address, prefix=inside, env={**UNTRACED, **attack.settings}) as daemon,
    ):
        left = 0

        def look() -> None:
            nonlocal left
            if attack.leaves:
                left = connections(inside, attack.leaves)

        ask_honestly(inside, attack, WARM_UP)
        files, memory = open_files(daemon), sum(memory_kib(daemon))
        without = ask_honestly(inside, attack, plan.asks)
        during, reports = attack_beside(inside, attack, plan, look)
        after = ask_honestly(inside, attack, 1)
        accepted = WARM_UP + sum(each.asks for each in (without, during, after)) + total("accepted", reports)
        figures = daemon.statistics(accepted)
        faults = list(judge(attack, figures, accepted, reports, plan))
        faults += [f"the honest client: {each.outcomes}" for each in (without, during, after) if each.failures]
        if attack.leaves and left < LEAST_LEFT:
            faults.append(f"only {left} connections in {attack.leaves}")
        # a worker may still serve a client for a moment
        with contextlib.suppress(AssertionError):
            wait_until(lambda: open_files(daemon) == files, "the open files are the same as before")
        if open_files(daemon) != files:
            faults.append(f"open files: {files} before, {open_files(daemon)} after")
        grown = sum(memory_kib(daemon))
        if grown - memory > MOST_GROWTH_KIB:
            faults.append(f"memory: {memory} KiB before, {grown} KiB after")
    return Trial(
        attack, without, during, total("done", reports), total("bytes", reports), left, (memory, grown),
        by_reason(figures), faults,
    )  # fmt: skip


def total(key: str, reports: Sequence[Report]) -> int:
    return sum(report[key] for report in reports)


def by_reason(figures: Event) -> dict[str, int]:
    return {reason: figures[reason] for reason in REASONS if reason in figures}


def judge(attack: Attack, figures: Event, accepted: int, reports: Sequence[Report], plan: Plan) -> Iterator[str]:
    """Compare the counts of both sides; yield every error in them."""
    if not figures["accepted"] == figures["served"] + figures["dropped"] == accepted:
        yield f"{accepted} clients came: {figures}"
    if figures["dropped"] != sum(by_reason(figures).values()):
        yield f"dropped is not the sum of its reasons: {figures}"
    # an attack that is cut short may miss a reason that takes luck
    if total("done", reports) >= plan.count and not attack.reasons <= set(by_reason(figures)):
        yield f"no client was dropped for {attack.reasons}: {figures}"
    for report in reports:
        if not report["stopped"]:
            yield f"the attack ended too early: {report}"
        if not set(report["outcomes"]) <= attack.outcomes:
            yield f"the attack had other outcomes than {attack.outcomes}: {report}"
