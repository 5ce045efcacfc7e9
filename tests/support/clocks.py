"""Wrong clocks for programs under test, by libfaketime."""

from __future__ import annotations

from pathlib import Path

import pytest

#: Shifts the clock of a program that preloads it, without privileges.
LIBFAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)

needs_faketime = pytest.mark.skipif(LIBFAKETIME is None, reason="faketime is not installed")


def shifted(shift_s: float) -> dict[str, str]:
    """Return an environment that sets the clock of a program ahead by `shift_s`; its timers are unaffected."""
    return {"LD_PRELOAD": str(LIBFAKETIME), "FAKETIME": f"{shift_s:+f}", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def forget_shift(pid: int) -> None:
    """Remove the shared memory that a shifted program leaves behind when a signal ends it."""
    for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
        Path("/dev/shm", name).unlink(missing_ok=True)
