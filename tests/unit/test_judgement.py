"""The benchmark decides only what its rounds prove."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
from judgement import FEWEST, MET, MISSED, NOT_DECIDED, Estimate, Noise, disturbances, estimate, exactly


@pytest.mark.parametrize(
    ("rounds", "outermost"), [(1, 1), (5, 1), (6, 1), (8, 1), (9, 2), (11, 2), (12, 3), (15, 4), (25, 8)]
)
def test_the_interval_of_the_median(rounds: int, outermost: int) -> None:
    """It is that of the sign test, in the tables of order statistics; below six rounds it is the whole range."""
    figures = [float(each) for each in range(1, rounds + 1)]
    random.Random(rounds).shuffle(figures)
    expected = Estimate((rounds + 1) / 2, outermost, rounds + 1 - outermost, rounds >= FEWEST)
    assert expected == estimate(figures)


@pytest.mark.parametrize("rounds", [6, 7, 9, 12])
def test_the_interval_keeps_its_promise(rounds: int) -> None:
    """Of 2,000 runs with skewed figures, at least 94 % have an interval that contains the true median."""
    source = random.Random(867)
    runs = [estimate([source.lognormvariate(0, 0.5) for _ in range(rounds)]) for _ in range(2000)]
    assert sum(each.low <= 1 <= each.high for each in runs) >= 0.94 * len(runs)


@pytest.mark.parametrize(
    ("low", "high", "at_most", "at_least"),
    [
        (0.90, 1.02, MET, MISSED),
        (0.90, 1.03, MET, NOT_DECIDED),
        (1.02, 1.04, NOT_DECIDED, NOT_DECIDED),
        (1.03, 1.10, NOT_DECIDED, MET),
        (1.04, 1.10, MISSED, MET),
    ],
)
def test_a_verdict_needs_the_whole_interval(low: float, high: float, at_most: str, at_least: str) -> None:
    """A limit of 1.03 within the interval decides nothing, and neither do too few rounds."""
    found = Estimate((low + high) / 2, low, high, True)
    assert (at_most, at_least) == (found.verdict(1.03), found.verdict(1.03, at_least=True))
    few = Estimate(found.median, low, high, False)
    assert (NOT_DECIDED, NOT_DECIDED) == (few.verdict(1.03), few.verdict(1.03, at_least=True))


def test_a_count_needs_no_interval() -> None:
    """One wake-up is one too many, none is none."""
    assert (MET, MISSED) == (exactly(0).verdict(0), exactly(1).verdict(0))


@pytest.mark.parametrize(
    ("ratio", "objection"),
    [
        (Estimate(1.01, 0.98, 1.03, True), ""),
        (Estimate(1.03, 1.01, 1.05, True), "does not contain 1"),
        (Estimate(0.97, 0.95, 0.99, True), "does not contain 1"),
        (Estimate(1.08, 0.99, 1.10, True), "by more than the noise"),
        (Estimate(1.00, 0.98, 1.02, False), "fewer than 6 rounds"),
    ],
)
def test_a_server_that_differs_from_itself_decides_nothing(ratio: Estimate, objection: str) -> None:
    """The noise is half the interval of A/A; a run whose A/A is not 1 states why it decides nothing."""
    noise = Noise(ratio)
    assert pytest.approx((ratio.high - ratio.low) / 2) == noise.share
    assert objection in noise.objection()
    assert bool(objection) == bool(noise.objection()) == any("decides no target" in each for each in noise.sentences())


def test_text() -> None:
    """Round brackets are an interval, square ones the least and the greatest."""
    assert "1,234.5 (1,200.0-1,300.0)" == Estimate(1234.5, 1200, 1300, True).text(1)
    assert "0.94 [0.81-1.05]" == Estimate(0.94, 0.81, 1.05, False).text(2)


@pytest.mark.parametrize(
    ("load", "steal", "expected"),
    [(0.5, 0.01, []), (0.6, 0.0, ["machine"]), (0.0, 0.02, ["host"]), (4.0, 0.5, ["machine", "host"])],
)
def test_a_busy_machine_is_stated(load: float, steal: float, expected: list[str]) -> None:
    """On two CPUs: a load average above 0.5 before, or more than a hundredth of the time stolen."""
    assert expected == [each.split()[1] for each in disturbances(load, 2, steal)]
