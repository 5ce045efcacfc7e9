"""The attacks of a hostile network, each on its own daemon, beside an honest client."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from attacks import ATTACKS, UNDER_WAY, Attack
from disturbances import killing
from harness import DEADLINE_S, UNTRACED, Daemon, serving
from load import ENOUGH
from trials import Plan, start, started, stop, try_out, wait_for

ASKS, LONGEST_S = 300, 5.0


@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace, forged sources and ten thousand files need root")
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_an_attack_hurts_no_honest_client(attack: Attack) -> None:
    """During an attack every reply is whole; after it nothing is left behind, and the figures add up."""
    trial = try_out(attack, Plan(attack.quick, LONGEST_S, ASKS))
    print(f"{attack.name}: {trial.done} {attack.unit}, dropped {trial.dropped}, memory {trial.memory_kib} KiB")
    print(
        f"p99 {trial.without.p99_us} -> {trial.during.p99_us} us, p50 {trial.without.p50_us} -> {trial.during.p50_us}"
    )
    assert trial.faults == []


#: The burst is that of one second, so that a machine that stalls for less costs the source nothing.
RATE = BURST = 500
#: The tries take seconds, so that the rate contributes more than the burst.
PROCESSES, TRIES = 4, 15_000


@pytest.mark.parametrize("disturb", [contextlib.nullcontext, killing], ids=["left alone", "killed all the time"])
def test_the_rate_is_exact_under_contention(disturb: Callable[[Daemon], AbstractContextManager[object]]) -> None:
    """
    One source that asks eight workers without a pause gets its burst and its rate, within a tenth, even if a worker is
    killed every 100 ms: no dead worker keeps a part of the rate from the others.
    """
    limit = {"DAYTIMED_ACCESS_RATE": str(RATE), "DAYTIMED_ACCESS_BURST": str(BURST)}
    with serving("-w", "8", env={**UNTRACED, **limit}) as daemon:
        arguments = ("attacks.py", "rate-limited flood", daemon.port(), TRIES, DEADLINE_S)
        with disturb(daemon), started(*(start((), *arguments) for _ in range(PROCESSES))) as attackers:
            wait_for(UNDER_WAY, attackers)
            wait_for(ENOUGH, attackers)
            reports = stop(attackers)
    elapsed_s = max(report["last"] for report in reports) - min(report["started"] for report in reports)
    served = sum(report["outcomes"].get("whole", 0) for report in reports)
    tries, share = sum(report["done"] for report in reports), BURST + RATE * elapsed_s
    print(f"{served} of {tries} tries served in {elapsed_s:.2f} s: {served / share:.3f} of the share")
    assert 0.9 <= served / share <= 1.1


def test_the_figures_show_every_attack() -> None:
    """SECURITY.md has one row for each attack in the table, in the same order; `make attacks` writes them."""
    text = Path(__file__).parents[2].joinpath("SECURITY.md").read_text()
    table = text.partition("<!-- figures: made by make attacks -->")[2].partition("<!-- end of the figures -->")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in table.splitlines() if line.startswith("| ")]
    assert rows[1:] == [[attack.name, attack.what] for attack in ATTACKS.values()]
