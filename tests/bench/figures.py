"""
What the attacks of a hostile network cost an honest client, written into SECURITY.md.

In each round every attack is tried once, on a daemon of its own (tests/support/trials.py). All ratios are taken
within a trial; the figures of latency are medians over the rounds, counts are sums.
Other programs on the machine can spoil them: whoever has a time slice keeps a client waiting for milliseconds.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import document
import pytest

# of tests/support, which PYTHONPATH names
from attacks import ATTACKS, Attack
from trials import Plan, Trial, try_out

DOCUMENT = Path(__file__).resolve().parents[2] / "SECURITY.md"
BEGIN, END = "<!-- figures: made by make attacks -->", "<!-- end of the figures -->"
#: What an attack may do to the 99th percentile of an honest client.
MOST_RATIO = 3.0
#: A trial that takes longer is cut short: the machine has no CPU to spare for the attackers.
LONGEST_S = 240.0


def main() -> int:
    """Try everything, write the table; return 1 if an honest client has noticed too much."""
    parser = argparse.ArgumentParser(description="Measure what attacks cost an honest client.")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="how often each attack is tried")
    parser.add_argument("--asks", type=int, default=2000, metavar="N", help="questions of the honest client, at least")
    parser.add_argument("--attack", action="append", default=[], choices=sorted(ATTACKS), help="only this; no table")
    options = parser.parse_args()
    attacks = [ATTACKS[name] for name in options.attack] or list(ATTACKS.values())
    trials: dict[str, list[Trial]] = {attack.name: [] for attack in attacks}
    bad, busy = False, os.getloadavg()[0]
    for turn in range(options.rounds):
        for attack in attacks:
            try:
                # the daemon's log
                with contextlib.redirect_stdout(None):
                    trial = try_out(attack, Plan(attack.count, LONGEST_S, options.asks))
            except pytest.skip.Exception as missing:
                print(f"{attack.name} cannot be tried: {missing}", file=sys.stderr)
                return 1
            trials[attack.name].append(trial)
            p99 = f"p99 {trial.without.p99_us} -> {trial.during.p99_us} us"
            print(f"{turn + 1} of {options.rounds}: {attack.name}: {p99}, x{trial.ratio:.2f}", *trial.faults, sep="; ")
            bad = bad or bool(trial.faults)
    for attack in attacks:
        ratio = median(trial.ratio for trial in trials[attack.name])
        if ratio > MOST_RATIO:
            print(f"{attack.name}: the 99th percentile is {ratio:.2f} times that without it")
            bad = True
    if not options.attack:
        lines = [*head(options.rounds, busy), *(row(attack, trials[attack.name]) for attack in attacks)]
        document.fill(DOCUMENT, BEGIN, END, lines)
    return int(bad)


def head(rounds: int, busy: float) -> list[str]:
    """Return the text above the rows."""
    columns = (
        "attack", "what it is", "how much", "honest client: failures", "its p99, without → with",
        "ratio (min-max)", "dropped", "memory, before → after",
    )  # fmt: skip
    return [
        document.conditions(busy, rounds),
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
