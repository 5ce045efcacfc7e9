"""A control group of its own for a program under test, of either version of cgroups(7)."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from harness import wait_until


class Group(NamedTuple):
    """A control group."""

    folder: Path

    @property
    def prefix(self) -> list[str]:
        """The prefix that runs a command in it."""
        return ["sh", "-c", f'echo $$ >{self.folder}/cgroup.procs; exec "$@"', "sh"]

    def limit_cpus(self, cpus: float) -> None:
        """Set the CPU quota."""
        if (self.folder / "cpu.max").exists():
            (self.folder / "cpu.max").write_text(f"{cpus * 100_000:.0f} 100000")
        else:
            (self.folder / "cpu.cfs_quota_us").write_text(f"{cpus * 100_000:.0f}")

    def peak(self) -> int:
        """Return the most memory that it has had, in bytes."""
        for name in ("memory.peak", "memory.max_usage_in_bytes"):
            if (self.folder / name).exists():
                return int((self.folder / name).read_text())
        pytest.skip("this kernel does not record the peak of a control group")


def _hierarchy(controller: str) -> Path | None:
    """Return where new groups have this controller."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, point, kind, options, *_ = line.split()
        if kind == "cgroup" and controller in options.split(","):
            return Path(point)
        if kind == "cgroup2" and controller in Path(point, "cgroup.subtree_control").read_text().split():
            return Path(point)
    return None


@contextlib.contextmanager
def control_group(controller: str) -> Iterator[Group]:
    """Make a control group with this controller; skip the test where that is not possible."""
    hierarchy = _hierarchy(controller)
    try:
        folder = Path(tempfile.mkdtemp(prefix="daytimed-test-", dir=hierarchy)) if hierarchy else None
    except OSError:
        folder = None
    if folder is None:
        pytest.skip(f"cannot make a control group with the controller {controller} here")
    try:
        yield Group(folder)
    finally:
        # a process that has ended leaves its group a moment later
        wait_until(lambda: not (folder / "cgroup.procs").read_text(), "the control group is empty")
        folder.rmdir()
