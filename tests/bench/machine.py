"""The machine that figures come from: what it is, and how busy others kept it during the run."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import judgement

#: The fields of the first line of /proc/stat, proc(5), that sum up to all time; guests are in the first two already.
_FIELDS, _STEAL = 8, 7


class Machine:
    """The machine during a run, which begins here."""

    def __init__(self) -> None:
        self._load_before = self._load_after = os.getloadavg()[0]
        self._ticks = _ticks()
        self._steal = 0.0

    def end(self) -> None:
        """End the run."""
        self._load_after = os.getloadavg()[0]
        spent = [after - before for before, after in zip(self._ticks, _ticks(), strict=True)]
        self._steal = spent[_STEAL] / max(1, sum(spent))

    def conditions(self, rounds: int, *versions: str) -> str:
        """
        Return where and when figures were taken.

        Args:
            versions: Of the other programs of the run.
        """
        kernel = ".".join(platform.release().split(".")[:2])
        # which Python it is changes the figures
        whose = " of the distribution" * os.path.realpath(sys.executable).startswith("/usr/bin/")
        congestion = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
        return ", ".join([
            time.strftime("%F"), f"Linux {kernel}", f"{os.cpu_count()} CPUs", f"TCP {congestion}",
            f"Python {platform.python_version()}{whose}", *versions,
            f"load average {self._load_before:.1f} before, {self._load_after:.1f} after",
            f"steal time {self._steal * 100:.1f} %", f"{rounds} round{'s' * (rounds != 1)}.",
        ])  # fmt: skip

    def disturbances(self) -> Iterator[str]:
        """State what else kept it busy, if it was too much."""
        return judgement.disturbances(self._load_before, os.cpu_count() or 1, self._steal)


def _ticks() -> list[int]:
    """Return the CPU time of the machine since its boot, by kind."""
    first = Path("/proc/stat").read_text().partition("\n")[0]
    return [int(field) for field in first.split()[1 : 1 + _FIELDS]]
