"""The attacks of a hostile network, each on a daemon of its own, and what an honest client beside it notices."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from attacks import ATTACKS, Attack
from trials import try_out

ASKS = 300


@pytest.mark.skipif(os.geteuid() != 0, reason="a network of its own, forged sources and ten thousand files need root")
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_an_attack_hurts_no_honest_client(attack: Attack) -> None:
    """While it is under way every reply is whole; after it nothing is left of it, and the figures add up."""
    trial = try_out(attack, attack.quick, ASKS)
    print(f"{attack.name}: {trial.done} {attack.unit}, dropped {trial.dropped}, memory {trial.memory_kib} KiB")
    print(
        f"p99 {trial.without.p99_us} -> {trial.during.p99_us} us, p50 {trial.without.p50_us} -> {trial.during.p50_us}"
    )
    assert trial.faults == []


def test_the_figures_tell_of_every_attack() -> None:
    """SECURITY.md has a row for each of the table, in its order, and no other; `make attacks` writes them."""
    text = Path(__file__).parents[2].joinpath("SECURITY.md").read_text()
    table = text.partition("<!-- figures: made by make attacks -->")[2].partition("<!-- end of the figures -->")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in table.splitlines() if line.startswith("| ")]
    assert rows[1:] == [[attack.name, attack.what] for attack in ATTACKS.values()]
