"""
What attacks cost an honest client, written into SECURITY.md.

Each round tries every attack once, on a daemon of its own (tests/support/trials.py). Ratios are taken within a
trial; latencies are medians over the rounds, counts are sums. Run nothing else on the machine: another program's time
slice keeps a client waiting for milliseconds.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import document
import pytest

# attacks and trials are in tests/support, which PYTHONPATH names
from attacks import ATTACKS, Attack
from machine import Machine
from trials import Plan, Trial, try_out

DOCUMENT = Path(__file__).resolve().parents[2] / "SECURITY.md"
BEGIN, END = "<!-- figures: made by make attacks -->", "<!-- end of the figures -->"
#: By how much an attack may multiply the 99th percentile of an honest client.
MOST_RATIO = 3.0
#: A trial ends then: the machine has no CPU left for the attackers.
LONGEST_S = 240.0


def main() -> int:
    """Try all attacks and write the table; return 1 if one of them costs too much."""
    parser = argparse.ArgumentParser(description="Measure what attacks cost an honest client.")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="trials of each attack")
    parser.add_argument("--asks", type=int, default=2000, metavar="N", help="least requests of the honest client")
    parser.add_argument(
        "--attack", action="append", default=[], choices=sorted(ATTACKS), help="only this attack; write no table"
    )
    options = parser.parse_args()
    attacks = [ATTACKS[name] for name in options.attack] or list(ATTACKS.values())
    trials: dict[str, list[Trial]] = {attack.name: [] for attack in attacks}
    bad, machine = False, Machine()
    for turn in range(options.rounds):
        for attack in attacks:
            try:
                # drop the daemon's log
                with contextlib.redirect_stdout(None):
                    trial = try_out(attack, Plan(attack.count, LONGEST_S, options.asks))
            except pytest.skip.Exception as missing:
                print(f"figures: {attack.name} cannot be tried: {missing}", file=sys.stderr)
                return 1
            trials[attack.name].append(trial)
            p99 = f"p99 {trial.without.p99_us} -> {trial.during.p99_us} us"
            print(f"{turn + 1} of {options.rounds}: {attack.name}: {p99}, x{trial.ratio:.2f}", *trial.faults, sep="; ")
            bad = bad or bool(trial.faults)
    for attack in attacks:
        ratio = median(trial.ratio for trial in trials[attack.name])
        if ratio > MOST_RATIO:
            print(f"{attack.name}: the 99th percentile is {ratio:.2f} times that without the attack")
            bad = True
    machine.end()
    if not options.attack:
        lines = [*head(options.rounds, machine), *(row(attack, trials[attack.name]) for attack in attacks)]
        document.fill(DOCUMENT, BEGIN, END, lines)
    return int(bad)


def head(rounds: int, machine: Machine) -> list[str]:
    """Return the lines above the rows."""
    columns = (
        "attack", "what it is", "how much", "honest client: failures", "its p99, without → with",
        "ratio (min-max)", "dropped", "memory, before → after",
    )  # fmt: skip
    return [
        " ".join([machine.conditions(rounds), *machine.disturbances()]),
        "",
        f"| {' | '.join(columns)} |",
        "|---" * len(columns) + "|",
    ]


def row(attack: Attack, trials: Sequence[Trial]) -> str:
    """Return the row of an attack."""
    much = [f"{sum(trial.done for trial in trials):,} {attack.unit}"]
    if (size := sum(trial.bytes for trial in trials)) >= 1e6:
        much.append(f"{size / 1e6:,.1f} MB")
    if attack.leaves:
        much.append(f"{max(trial.left for trial in trials):,} in {attack.leaves} at a time")
    answers = [answer for trial in trials for answer in (trial.without, trial.during)]
    failures = f"{sum(each.failures for each in answers)} of {sum(each.asks for each in answers):,}"
    without, during = (
        median(each) for each in zip(*((t.without.p99_us, t.during.p99_us) for t in trials), strict=True)
    )
    ratios = [trial.ratio for trial in trials]
    dropped = sum((Counter(trial.dropped) for trial in trials), Counter[str]())
    before, after = max((trial.memory_kib for trial in trials), key=lambda each: each[1] - each[0])
    cells = (
        attack.name, attack.what, ", ".join(much), failures, f"{without / 1000:.2f} → {during / 1000:.2f} ms",
        f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
        ", ".join(f"{count:,} {reason}" for reason, count in dropped.items()) or "none",
        f"{before / 1024:.1f} → {after / 1024:.1f} MiB",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
