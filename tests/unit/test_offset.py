"""The offset of a clock: the bounds of one sample, and the agreement of several."""

from __future__ import annotations

import unit_help  # noqa: F401 - its settings of hypothesis
from hypothesis import given
from hypothesis import strategies as st

from daytimed.probe.offset import Interval, bound, intersect
from daytimed.probe.reading import Reading

NS = 1_000_000_000


def intervals(*ends: tuple[int, int]) -> list[Interval]:
    return [Interval(low, high) for low, high in ends]


def found(*ends: tuple[int, int]) -> tuple[int, int, int]:
    interval, count = intersect(intervals(*ends))
    return interval.low, interval.high, count


@given(
    offset=st.integers(-(10**15), 10**15),
    asked=st.integers(0, 2 * 10**18),
    there=st.integers(0, 10**9),
    back=st.integers(0, 10**9),
    resolution=st.sampled_from([1, 1000, 10**6, NS, 60 * NS]),
)
def test_one_sample_holds_the_offset(offset: int, asked: int, there: int, back: int, resolution: int) -> None:
    """The interval contains the true offset, whatever the delay of each path and the resolution of the format."""
    clock = asked + there + offset
    reading = Reading("any", clock // resolution * resolution, resolution, "UTC")
    interval = bound(reading, asked, asked + there + back)
    assert interval.at_ns == asked + there + back
    assert interval.low <= offset <= interval.high
    late = 10_000_000 if resolution >= NS else 0
    assert there + back + resolution + late == interval.high - interval.low


def test_clock_that_is_late() -> None:
    """A server of whole seconds may show the previous one for a tick of the kernel, as time(2) does."""
    reading = Reading("xinetd", 10 * NS, NS, "UTC")
    just_after = 11 * NS + 9_000_000
    interval = bound(reading, just_after, just_after)
    assert interval.low <= 0 <= interval.high


def test_advance_of_nist() -> None:
    """A line with an advance of half a second was sent half a second earlier."""
    reading = Reading("nist", 10 * NS, NS, "UTC")
    reading.advance_ns = NS // 2
    interval = bound(reading, 9 * NS, 9 * NS)
    assert (NS // 2, NS + NS // 2 + 10_000_000) == (interval.low, interval.high)


def test_seconds() -> None:
    """Offset and uncertainty are the middle and half the width of the interval, in seconds."""
    interval = Interval(-NS, 2 * NS)
    assert (0.5, 1.5) == (interval.offset_s, interval.uncertainty_s)


def test_agreement() -> None:
    """Intervals that all overlap narrow each other; intervals that touch agree."""
    assert (3, 5, 3) == found((0, 5), (3, 9), (-1, 7))
    assert (5, 5, 2) == found((0, 5), (5, 9))
    assert (1, 2, 1) == found((1, 2))


@given(
    rate=st.floats(-500e-6, 500e-6),
    offset=st.integers(-(10**12), 10**12),
    gaps=st.lists(st.integers(0, 20 * NS), min_size=1, max_size=30),
    there=st.integers(0, 10**6),
    back=st.integers(0, 10**6),
)
def test_clocks_that_drift(rate: float, offset: int, gaps: list[int], there: int, back: int) -> None:
    """Samples of a clock with the largest drift all agree, and contain its offset at the last one."""
    taken, at = [], 0
    for gap in gaps:
        at += gap
        read_at = at + there
        clock = read_at + offset + round(read_at * rate)
        taken.append(bound(Reading("any", clock, 1, "UTC"), at, at + there + back))
    interval, agreeing = intersect(taken)
    assert agreeing == len(taken)
    assert interval.low - 2 <= offset + rate * (at + there) <= interval.high + 2


def test_majority() -> None:
    """The majority wins over an outlier, as in the examples of Marzullo's algorithm."""
    assert (11, 12, 3) == found((8, 12), (11, 13), (10, 12))
    assert (11, 12, 2) == found((8, 12), (11, 13), (14, 15))
    assert (9, 9, 2) == found((8, 9), (9, 12), (10, 12))


@given(ends=st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 20)), min_size=1, max_size=12))
def test_no_place_is_in_more(ends: list[tuple[int, int]]) -> None:
    """No value lies in more of the intervals, and the result lies in the number of them that it reports."""
    made = intervals(*((low, low + width) for low, width in ends))
    interval, count = intersect(made)

    def depth(value: float) -> int:
        return sum(each.low <= value <= each.high for each in made)

    assert count == max(depth(value) for value in range(-51, 72))
    assert count == depth(interval.low) == depth(interval.high) == depth((interval.low + interval.high) / 2)
