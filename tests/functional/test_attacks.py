"""The attacks of a hostile network, each on a daemon of its own, and what an honest client beside it notices."""

from __future__ import annotations

import os

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
    print(f"p99 {trial.without.p99_us} -> {trial.during.p99_us} us, p50 {trial.without.p50_us} -> {trial.during.p50_us}")
    assert trial.faults == []
