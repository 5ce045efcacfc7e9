"""The ranges of monitoring plugins."""

from __future__ import annotations

import pytest
import unit_help  # noqa: F401 - its settings of hypothesis
from hypothesis import given
from hypothesis import strategies as st

from daytimed.probe.ranges import parse


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        # the table of the Monitoring Plugins Development Guidelines
        ("10", [0, 5, 10], [-0.1, 10.1]),
        ("10:", [10, 11], [9.9, -1]),
        ("~:10", [-99, 10], [10.1]),
        ("10:20", [10, 15, 20], [9.9, 20.1]),
        ("@10:20", [9.9, 20.1], [10, 15, 20]),
        (":10", [0, 10], [-1, 11]),
        ("-5:5", [-5, 0, 5], [-5.1, 5.1]),
        ("@0", [1, -1], [0]),
        ("0.5:1e3", [0.5, 1000], [0.4, 1001]),
    ],
)
def test_range(text: str, good: list[float], bad: list[float]) -> None:
    """A value outside the range alerts, or inside with @, as in the guidelines."""
    found = parse(text)
    assert [False] * len(good) == [found.is_beyond(value, value) for value in good]
    assert [True] * len(bad) == [found.is_beyond(value, value) for value in bad]


@pytest.mark.parametrize(
    ("text", "low", "high", "expected"),
    [
        ("-1:1", 0.5, 1.5, False),
        ("-1:1", 1.1, 1.5, True),
        ("-1:1", -1.5, -1.1, True),
        ("-1:1", -9, 9, False),
        ("@1:2", 1.2, 1.8, True),
        ("@1:2", 1.2, 2.1, False),
    ],
)
def test_whole_interval(text: str, low: float, high: float, expected: bool) -> None:
    """An interval alerts only if every value in it does."""
    assert expected == parse(text).is_beyond(low, high)


def test_where_a_value_is_that_alerts() -> None:
    """A value that alerts is inside with @, and beyond without."""
    assert ["beyond 10", "beyond ~:10", "inside 10:20"] == [parse(text).said for text in ("10", "~:10", "@10:20")]


def test_zero_has_no_sign() -> None:
    """Zero is written without a sign."""
    assert ["0", "0"] == [str(parse(text, symmetric=True)) for text in ("0", "1e-12")]


def test_bare_number_of_an_offset() -> None:
    """For an offset, a bare number N means -N to N, and is written that way in the performance data."""
    assert ["-2:2", "@-2:2", "2", "2:", "~:2", "-1:2"] == [
        str(parse(text, symmetric)) for text, symmetric in
        [("2", True), ("@2", True), ("2", False), ("2:", True), ("~:2", True), ("-1:2", True)]
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "x",
        "1_0",
        " 1",
        "\u0661",
        "1e300",
        "0x1",
        "1:x",
        "5:1",
        "nan",
        "1:nan",
        "inf",
        "inf:",
        "~",
        "1:2:3",
        "-1",
        "~:~",
        "9" * 400,
        "9" * 400 + ":",
        "-" + "9" * 400 + ":",
    ],
)
def test_no_range(text: str) -> None:
    """An invalid range is refused, so that no typing error makes a limit alert always or never."""
    with pytest.raises(ValueError, match="is not a range; use N, N:, ~:N, N:M or @N:M, the smaller number first"):
        parse(text)


@given(text=st.text("@:~-+.0123456789einf", max_size=8) | st.text())
def test_what_is_written_reads_back(text: str) -> None:
    """Any text is a range that reads back the same, or is refused in one printable line."""
    try:
        found = parse(text)
    except ValueError as error:
        assert str(error).isprintable()
        return
    again = parse(str(found))
    assert pytest.approx((found.start, found.end)) == (again.start, again.end)
    assert found.inverted == again.inverted
