"""Clocks of programs under test that are wrong, as libfaketime makes them."""

from __future__ import annotations

from pathlib import Path

import pytest

#: Shifts the clock of a program that is started with it, without any privilege.
LIBFAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)

needs_faketime = pytest.mark.skipif(LIBFAKETIME is None, reason="faketime is not installed")


def shifted(shift_s: float) -> dict[str, str]:
    """Return the environment of a program whose clock is ahead by so much; its timers stay as they are."""
    return {"LD_PRELOAD": str(LIBFAKETIME), "FAKETIME": f"{shift_s:+f}", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def forget_shift(pid: int) -> None:
    """Remove what a shifted program leaves behind that ends by a signal."""
    for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
        Path("/dev/shm", name).unlink(missing_ok=True)
