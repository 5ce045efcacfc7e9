"""The known word that a person probably meant."""

from __future__ import annotations

import pytest

from daytimed.nearest import hint_at_flag, nearest

FLAGS = ["-c", "--config", "--check", "--pidfile"]
ELSEWHERE = {"-p": "-l PORT", "--port": "-l PORT", "-v": "--log-level debug"}


@pytest.mark.parametrize(
    ("word", "expected"),
    [("--chek", "--check"), ("--CHECK", "--check"), ("-C", "-c"), ("", ""), ("-x", ""), ("x" * 10_000, "")],
)
def test_nearest(word: str, expected: str) -> None:
    """The nearest known word is the one that looks alike, in any case of letters."""
    assert expected == nearest(word, FLAGS)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("--chek", "; did you mean --check?"),
        ("--chek=x", "; did you mean --check?"),
        ("-check", "; did you mean --check?"),
        ("check", "; did you mean --check?"),
        ("chek", ""),
        ("-p", "; use -l PORT"),
        ("-p6000", "; use -l PORT"),
        ("-pidfile", "; did you mean --pidfile?"),
        ("--port=1", "; use -l PORT"),
        ("-vv", "; use --log-level debug"),
        ("--nonsense", ""),
        ("--con", "; did you mean --config?"),
        ("-", ""),
        ("--", ""),
        ("", ""),
    ],
)
def test_hint_at_flag(word: str, expected: str) -> None:
    """An unknown flag gets the flag that does what it does elsewhere, else the one that looks alike."""
    assert expected == hint_at_flag(word, FLAGS, ELSEWHERE)
