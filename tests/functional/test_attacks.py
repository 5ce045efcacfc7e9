"""The attacks of a hostile network, each on a daemon of its own, and what an honest client beside it notices."""

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


@pytest.mark.skipif(os.geteuid() != 0, reason="a network of its own, forged sources and ten thousand files need root")
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_an_attack_hurts_no_honest_client(attack: Attack) -> None:
    """While it is under way every reply is whole; after it nothing is left of it, and the figures add up."""
    trial = try_out(attack, Plan(attack.quick, LONGEST_S, ASKS))
    print(f"{attack.name}: {trial.done} {attack.unit}, dropped {trial.dropped}, memory {trial.memory_kib} KiB")
    print(
        f"p99 {trial.without.p99_us} -> {trial.during.p99_us} us, p50 {trial.without.p50_us} -> {trial.during.p50_us}"
    )
    assert trial.faults == []


#: Of a second, so that a machine that stands still for less costs the source nothing.
RATE = BURST = 500
#: It takes seconds, so that there is more of the rate than of the burst.
PROCESSES, TRIES = 4, 15_000


@pytest.mark.parametrize("disturb", [contextlib.nullcontext, killing], ids=["left alone", "killed all the time"])
def test_the_rate_is_exact_under_contention(disturb: Callable[[Daemon], AbstractContextManager[object]]) -> None:
    """
    Eight workers and one source that never pauses: it has its burst and its rate, within a tenth; no worker that is
    killed every 100 ms keeps any of it from the others.
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


def test_the_figures_tell_of_every_attack() -> None:
    """SECURITY.md has a row for each of the table, in its order, and no other; `make attacks` writes them."""
    text = Path(__file__).parents[2].joinpath("SECURITY.md").read_text()
    table = text.partition("<!-- figures: made by make attacks -->")[2].partition("<!-- end of the figures -->")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in table.splitlines() if line.startswith("| ")]
    assert rows[1:] == [[attack.name, attack.what] for attack in ATTACKS.values()]
