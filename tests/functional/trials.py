"""
One attack tried on the real daemon, with an honest client beside it.

Daemon, attackers and honest client are processes in a network namespace of their own. The honest client is run before
the attack and while it is under way; what held before has to hold after it.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from attacks import LEFT, UNDER_WAY, Attack
from harness import (
    DEADLINE_S,
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

from daytimed.reasons import REASONS

HERE = Path(__file__).parent
#: The honest client's own address.
HONEST = "127.7.7.7"
#: More than the log takes at once: it must not differ from one run of the honest client to the other.
WARM_UP = 300
LONGEST_S = 300.0
#: What the daemon's processes may take more of memory: the table of the rates (512 KiB), 4096 addresses remembered by
#: each worker (0.5 MiB), and pages of the interpreter that are shared until somebody counts a reference in them.
MOST_GROWTH_KIB = 3072

FIREWALL = "table ip attacks {{ chain output {{ type filter hook output priority 0;\n{rules}\n}}\n}}\n"


@dataclass(frozen=True)
class Honest:
    """How an honest client was answered."""

    asks: int
    outcomes: dict[str, int]
    p50_us: int
    p99_us: int

    @property
    def failures(self) -> int:
        return self.asks - self.outcomes.get("whole", 0)


@dataclass(frozen=True)
class Trial:
    """What came of an attack."""

    attack: Attack
    without: Honest
    during: Honest
    done: int
    bytes: int
    memory_kib: tuple[int, int]
    """Of master and workers, before and after."""
    dropped: dict[str, int]
    """By reason."""
    faults: list[str]
    """What must not have happened, in sentences."""

    @property
    def ratio(self) -> float:
        return self.during.p99_us / self.without.p99_us


@contextlib.contextmanager
def own_network(firewall: str = "") -> Iterator[tuple[str, ...]]:
    """Have a network namespace with a loopback; yields what runs a command in it. Without one the test is skipped."""
    if run("unshare", "--net", "true").returncode != 0:
        pytest.skip("no network namespace of its own is possible here")
    script = 'ip link set lo up; [ -z "$1" ] || nft "$1" || exit 9; echo ready; exec sleep infinity'
    rules = FIREWALL.format(rules=firewall) if firewall else ""
    if rules:
        program("nft")
    with running("unshare", "--net", "sh", "-c", script, "sh", rules) as leader:
        with contextlib.suppress(AssertionError):
            leader.wait_for("ready")
        if leader.process.poll() == 9:
            pytest.skip(f"nft takes no such rules here: {leader.log.read_text()}")
        yield ("nsenter", "--target", str(leader.process.pid), "--net")


def start(inside: Sequence[str], name: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a client of ours that prints JSON."""
    command = [*inside, sys.executable, str(HERE / name), *map(str, arguments)]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=clean_environment(UNTRACED)
    )


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait until it has ended, and return what it says."""
    out, _ = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 0, f"{process.args!r} ended with {process.returncode}"
    said: dict[str, Any] = json.loads(out)
    return said


@contextlib.contextmanager
def attacked(inside: Sequence[str], attack: Attack, port: int, count: int) -> Iterator[list[dict[str, Any]]]:
    """Have an attack while the body runs; what it yields is filled with the reports of its processes afterwards."""
    each = -(-count // attack.processes)
    attackers = [start(inside, "attacks.py", attack.name, port, each) for _ in range(attack.processes)]
    reports: list[dict[str, Any]] = []
    try:
        for attacker in attackers:
            assert attacker.stdout
            assert attacker.stdout.readline().strip() == UNDER_WAY
        yield reports
        for attacker in attackers:
            attacker.send_signal(signal.SIGTERM)
        reports += [finish(attacker) for attacker in attackers]
    finally:
        for attacker in attackers:
            attacker.kill()
            attacker.wait()
            assert attacker.stdout
            attacker.stdout.close()


def ask_honestly(inside: Sequence[str], attack: Attack, port: int, asks: int) -> Honest:
    return Honest(**finish(start(inside, "honest.py", attack.transport, port, HONEST, asks)))


def memory_kib(daemon: Daemon) -> int:
    """Return what master and workers have of memory, without the files that they share with other programs."""
    kib = 0
    for pid in [daemon.process.pid, *daemon.live_workers()]:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        kib += sum(int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
    return kib


def connections(daemon: Daemon, state: str, port: int) -> int:
    """Count the connections of a port of the daemon in a state, proc_net_tcp(5)."""
    lines = Path(f"/proc/{daemon.process.pid}/net/tcp").read_text().splitlines()[1:]
    return sum(1 for line in lines if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == state)


def open_files(daemon: Daemon) -> dict[int, list[str]]:
    return {pid: descriptors(pid) for pid in [daemon.process.pid, *daemon.live_workers()]}


def try_out(attack: Attack, count: int, asks: int) -> Trial:
    """Try an attack out, so often at least, beside so many questions of an honest client."""
    with (
        own_network(attack.drop) as inside,
        serving("-l", f"{attack.transport}4://127.0.0.1:0", prefix=inside, env={**UNTRACED, **attack.settings}) as daemon,
    ):
        port = daemon.port()
        ask_honestly(inside, attack, port, WARM_UP)
        files, memory = open_files(daemon), memory_kib(daemon)
        without = ask_honestly(inside, attack, port, asks)
        with attacked(inside, attack, port, count) as reports:
            during = ask_honestly(inside, attack, port, asks)
            left = connections(daemon, attack.leaves, port) if attack.leaves else LEFT
        after = ask_honestly(inside, attack, port, 1)
        figures = daemon.statistics(accepted=WARM_UP + 2 * asks + 1)
        faults = list(judge(attack, figures, reports, count))
        faults += [f"the honest client: {each.outcomes}" for each in (without, during, after) if each.failures]
        if left < LEFT:
            faults.append(f"only {left} connections in state {attack.leaves}")
        # a client may be in the hands of a worker for a moment yet
        with contextlib.suppress(AssertionError):
            wait_until(lambda: open_files(daemon) == files, "the open files are those of before")
        if open_files(daemon) != files:
            faults.append(f"open files: {files} before, {open_files(daemon)} after")
        grown = memory_kib(daemon)
        if grown - memory > MOST_GROWTH_KIB:
            faults.append(f"memory: {memory} KiB before, {grown} KiB after")
        dropped = {reason: figures[reason] for reason in REASONS if reason in figures}
    done, size = (sum(report[key] for report in reports) for key in ("done", "bytes"))
    return Trial(attack, without, during, done, size, (memory, grown), dropped, faults)


def judge(attack: Attack, figures: Event, reports: list[dict[str, Any]], count: int) -> Iterator[str]:
    """Say what is wrong with what was counted, on either side."""
    dropped = {reason: figures[reason] for reason in REASONS if reason in figures}
    if not figures["accepted"] == figures["served"] + figures["dropped"]:
        yield f"accepted is not served and dropped: {figures}"
    if figures["dropped"] != sum(dropped.values()):
        yield f"dropped is not the sum of its reasons: {figures}"
    if not attack.reasons <= set(dropped):
        yield f"dropped only for {dropped}"
    for report in reports:
        if report["meanwhile"] is None or (not attack.holds and not report["meanwhile"]):
            yield f"the attack was not under way all the time: {report}"
        if not set(report["outcomes"]) <= attack.outcomes:
            yield f"the attack ended otherwise: {report}"
    if sum(report["done"] for report in reports) < count:
        yield f"less than {count}: {reports}"
