"""The rate limit of each source."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from unit_help import NS

from daytimed.config.checks import LEAST_RATE
from daytimed.rates import RateLimit

SECRET = b"sixteen bytes...."
RATES = st.floats(0.001, 1_000_000)
BURSTS = st.integers(1, 1_000_000)
STEPS = st.lists(st.integers(0, 3 * NS), max_size=60)


def cells(count: int = 64) -> memoryview[int]:
    return memoryview(bytearray(8 * count)).cast("Q")


class Limited:
    """The limit of a worker, which remembers the cells of each host."""

    def __init__(self, limit: RateLimit) -> None:
        self._limit = limit
        self._places: dict[str, list[int]] = {}

    def take(self, host: str, now_ns: int) -> bool:
        place = self._places.setdefault(host, self._limit.place(host))
        return self._limit.take(place, now_ns)


def rate_limit(rate: float, burst: int, table: memoryview[int] | None = None) -> RateLimit:
    return RateLimit(cells() if table is None else table, rate, burst, SECRET)


def limited(rate: float, burst: int, table: memoryview[int] | None = None) -> Limited:
    return Limited(rate_limit(rate, burst, table))


def test_rate_of_one_source() -> None:
    """A source gets its burst at once, and then its rate."""
    limit = limited(rate=2.0, burst=3)
    times = [NS] * 4 + [NS + NS // 2] * 2 + [2 * NS, 2 * NS, 60 * NS, 60 * NS, 60 * NS, 60 * NS]
    expected = [True, True, True, False, True, False, True, False, True, True, True, False]
    assert expected == [limit.take("192.0.2.1", now) for now in times]


@pytest.mark.parametrize(("rate", "interval_us"), [(1_000_000.0, 1), (1.0, 1_000_000), (4.0, 250_000)])
def test_interval_is_exact(rate: float, interval_us: int) -> None:
    """The next reply is granted after one interval of the rate, and not a microsecond before."""
    limit, now_us = limited(rate, burst=1), 10_000_000
    times_us = [now_us, now_us + interval_us - 1, now_us + interval_us]
    assert [True, False, True] == [limit.take("192.0.2.1", each * 1000) for each in times_us]


@given(steps=STEPS, rate=st.floats(0.1, 1000), burst=st.integers(1, 10))
def test_rate_is_kept_over_any_stretch(steps: list[int], rate: float, burst: int) -> None:
    """Between any two moments, a source gets at most its burst and its rate for the time between them."""
    limit = limited(rate, burst)
    times = [now for now in accumulate(steps) if limit.take("2001:db8::1", now)]
    interval_us = max(1, round(1_000_000 / rate))
    for first in range(len(times)):
        for last in range(first, len(times)):
            passed_us = times[last] // 1000 - times[first] // 1000
            assert last - first + 1 <= burst + passed_us // interval_us


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:0:0:2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", False),
        ("fe80::1%eth0", "fe80::1%eth1", False),
        ("febf::1%2", "febf::2%2", False),
        ("febf::1%2", "febf::1%3", False),
        ("64:ff9b::c000:201", "64:ff9b::c633:6401", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
    ],
)
def test_sources(one: str, other: str, shared: bool) -> None:
    """A source is an IPv4 address or an IPv6 /64, except a /64 that is a whole link or all of IPv4."""
    limit = limited(rate=1.0, burst=1, table=cells(2 * 65536))
    assert (True, not shared) == (limit.take(one, NS), limit.take(other, NS))


def test_rate_is_one_for_all_workers() -> None:
    """Workers that share the table and the secret share the rate."""
    table = cells()
    one, other = limited(1.0, 2, table), limited(1.0, 2, table)
    assert [True, True, False, False] == [each.take("192.0.2.1", NS) for each in (one, other, one, other)]


@pytest.mark.parametrize("late_ns", [1000, NS])
def test_rate_is_kept_by_a_worker_that_decides_late(late_ns: int) -> None:
    """A worker that read its clock before another worker used up the burst grants no second burst."""
    table = cells()
    one, other = limited(1.0, 2, table), limited(1.0, 2, table)
    assert [True, True, False] == [one.take("192.0.2.1", NS + late_ns) for _ in range(3)]
    assert [False] * 3 == [other.take("192.0.2.1", NS) for _ in range(3)]


def test_largest_burst_at_the_lowest_rate_ends() -> None:
    """The largest burst at the lowest rate ends, though its time is more than a cell can hold."""
    limit = limited(LEAST_RATE, 1_000_000)
    now_ns = 3 * 365 * 86400 * NS
    taken = next(count for count in range(1_000_001) if not limit.take("192.0.2.1", now_ns))
    assert 100_000 < taken <= 1_000_000


def test_flood_of_sources_shuts_nobody_out() -> None:
    """After any number of sources, a new one is still granted a reply."""
    limit = limited(rate=0.001, burst=2, table=cells(16))
    flood = [limit.take(f"10.0.{index >> 8}.{index & 255}", NS) for index in range(1000)]
    assert ([True] * 1000, True) == (flood, limit.take("192.0.2.1", NS))


@given(
    start_us=st.sampled_from([7_200_000_000, 1 << 46, 1 << 47, 3 << 46, (1 << 48) - 5_000_000, 1 << 48, (1 << 49) + 1])
)
def test_rate_on_a_machine_that_has_run_for_years(start_us: int) -> None:
    """The rate stays the same when CLOCK_MONOTONIC is, or becomes, more than a cell can hold."""
    table = cells(16)
    limit, taken = limited(rate=1.0, burst=3, table=table), []
    for index in range(8):
        limit.take(f"10.0.0.{index}", 3600 * NS)
    for second in range(10):
        now_ns = start_us * 1000 + second * NS
        taken += [limit.take(host, now_ns) for host in ("192.0.2.1", "192.0.2.2") * 2]
    burst, after = [True] * 4, [True, True, False, False]
    assert burst + [True] * 4 + after * 8 == taken


def test_source_is_found_where_another_worker_has_put_it() -> None:
    """A worker that remembers the cell of a source finds the source after it has moved to another cell."""
    table = cells(16)
    one, other = limited(0.001, 3, table), limited(0.001, 3, table)
    assert one.take("192.0.2.1", NS)
    table[:] = memoryview(bytes(128)).cast("Q")
    for index in range(5):
        other.take(f"10.0.0.{index}", NS)
    taken = [other.take("192.0.2.1", NS), one.take("192.0.2.1", NS), one.take("192.0.2.1", NS)]
    assert ([True, True, True], False, False) == (taken, one.take("192.0.2.1", NS), other.take("192.0.2.1", NS))


def test_flood_of_sources_frees_nobody_who_has_had_more() -> None:
    """A flood of sources that have used less does not displace a source that has used up its share."""
    limit = limited(rate=0.001, burst=9, table=cells(16))
    share = [limit.take("192.0.2.1", NS) for _ in range(10)]
    for index in range(1000):
        limit.take(f"10.0.{index >> 8}.{index & 255}", NS)
    assert ([True] * 9 + [False], False) == (share, limit.take("192.0.2.1", NS))


@given(rate=RATES, burst=BURSTS, now_ns=st.integers(0, 10**17))
@example(rate=LEAST_RATE, burst=1_000_000, now_ns=10**17)
def test_rate_works_at_any_value_that_is_accepted(rate: float, burst: int, now_ns: int) -> None:
    """At any rate that the configuration accepts, a source gets its burst, and then nothing at the same moment."""
    limit = limited(rate, burst)
    tries = min(burst, 20) + 1
    assert [True] * (tries - 1) + [burst >= tries] == [limit.take("192.0.2.1", now_ns) for _ in range(tries)]
