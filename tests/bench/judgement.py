"""
What the figures of a run prove: intervals, noise and verdicts.

This module is pure: it takes figures and returns figures or sentences.

The interval lies between two order statistics of the rounds and comes from the sign test: it contains the true median
with at least CONFIDENCE, whatever the distribution. A bootstrap of the median would be too narrow for so few rounds:
its 95 % interval of seven rounds covers about 88 %.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import comb

CONFIDENCE = 0.95
INTERVAL = f"{CONFIDENCE * 100:.0f} % interval"
MET, MISSED, NOT_DECIDED = "met", "missed", "not decided"
#: A load average for each CPU above this, before the run: other programs use a quarter of the machine.
MOST_LOAD = 0.25
#: Steal time as a share of all CPU time: a third of the smallest difference that is judged, 3 %.
MOST_STEAL = 0.01


@dataclass(frozen=True)
class Estimate:
    """A median with its interval, or with the least and the greatest figure where too few rounds make no interval."""

    median: float
    low: float
    high: float
    is_interval: bool

    def text(self, digits: int) -> str:
        """Return `median (low-high)`, or `median [low-high]` for the least and the greatest."""
        opening, closing = "()" if self.is_interval else "[]"
        return f"{self.median:,.{digits}f} {opening}{self.low:,.{digits}f}-{self.high:,.{digits}f}{closing}"

    def verdict(self, limit: float, *, at_least: bool = False) -> str:
        """Hold the interval against a limit: decide only if all of it lies on one side."""
        if self.is_interval and (self.low >= limit if at_least else self.high <= limit):
            return MET
        if self.is_interval and (self.high < limit if at_least else self.low > limit):
            return MISSED
        return NOT_DECIDED


def estimate(figures: Sequence[float]) -> Estimate:
    """Return the median of the rounds and its interval."""
    ordered, depth = sorted(figures), _depth(len(figures))
    outermost = max(depth, 1)
    return Estimate(statistics.median(ordered), ordered[outermost - 1], ordered[-outermost], depth > 0)


def exactly(count: float) -> Estimate:
    """Return a figure that has no spread, such as a count."""
    return Estimate(count, count, count, True)


def _depth(rounds: int) -> int:
    """Return which order statistic from either end bounds the interval; 0 if even the outermost is too near."""
    tails = itertools.accumulate(comb(rounds, number) / 2**rounds for number in range(rounds))
    return sum(1 for _ in itertools.takewhile(lambda tail: tail <= (1 - CONFIDENCE) / 2, tails))


#: The fewest rounds that have an interval.
FEWEST = next(rounds for rounds in itertools.count(1) if _depth(rounds))
LEGEND = (
    f"In brackets: (a-b) is the {INTERVAL} of the median;"
    f" [a-b] is the least and the greatest figure, where fewer than {FEWEST} rounds make no interval."
)


@dataclass(frozen=True)
class Noise:
    """The ratio of a server to itself: a run measures daytimed twice in each round (A/A)."""

    ratio: Estimate

    @property
    def share(self) -> float:
        """Half the width of the interval."""
        return (self.ratio.high - self.ratio.low) / 2

    def objection(self) -> str:
        """Return why the run decides nothing, if so."""
        if not self.ratio.is_interval:
            return f"fewer than {FEWEST} rounds make no {INTERVAL}"
        if not self.ratio.low <= 1 <= self.ratio.high:
            return "the interval of A/A does not contain 1"
        if abs(self.ratio.median - 1) > self.share:
            return "the median of A/A differs from 1 by more than the noise"
        return ""

    def sentences(self) -> Iterator[str]:
        """State the noise, and whether the run decides anything."""
        noise = f"{self.share * 100:.1f} %" if self.ratio.is_interval else "unknown"
        yield f"A/A (CPU a reply of daytimed / daytimed, again): {self.ratio.text(3)}, noise {noise}."
        if why := self.objection():
            yield f"This run decides no target: {why}."


def disturbances(load: float, cpus: int, steal: float) -> Iterator[str]:
    """
    State what else kept the machine busy, if it was too much.

    Args:
        load: The load average before the run; during the run the clients of the benchmark make most of it.
        steal: A share of all CPU time of the run.
    """
    if load > MOST_LOAD * cpus:
        yield f"The machine was busy: a load average of {load:.1f} before the run is above {MOST_LOAD} for each CPU."
    if steal > MOST_STEAL:
        yield f"The host was busy: a steal time of {steal * 100:.1f} % is above {MOST_STEAL * 100:.0f} %."
