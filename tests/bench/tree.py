"""What a process tree uses: CPU time, memory, context switches."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

#: socketserver reaps its children twice a second; their CPU time is unknown until then.
_REAPED_S = 2.0
_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def processes(pid: int) -> list[int]:
    """Return a process and its descendants, zombies included."""
    found = [pid]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            children = (task / "children").read_text().split()
            found += [each for child in children for each in processes(int(child))]
    return found


def cpu_ns(pid: int) -> int:
    """Return the CPU time of a tree: nanoseconds of live processes, clock ticks of reaped children."""
    deadline = time.monotonic() + _REAPED_S
    while any(_state(each)[0] == "Z" for each in processes(pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    used = 0
    for each in processes(pid):
        ticks = [int(field) * _TICK_NS for field in _state(each)[11:15]]
        # 0 on a kernel without schedstat
        used += sum(int(line.split()[0]) for line in _of_threads(each, "schedstat")) or sum(ticks[:2])
        used += sum(ticks[2:])
    return used


def pss_mib(pid: int) -> float:
    """Return the memory of a tree; shared memory counts once."""
    kib = 0
    for each in processes(pid):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
            kib += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kib / 1024


def switches(pid: int) -> int:
    """Return the context switches of a tree, voluntary or not."""
    lines = [line for each in processes(pid) for status in _of_threads(each, "status") for line in status.splitlines()]
    return sum(int(line.split()[1]) for line in lines if "voluntary_ctxt_switches:" in line)


def _of_threads(pid: int, name: str) -> list[str]:
    """Return a file of each thread of a process."""
    found = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found.append((task / name).read_text())
    return found


def _state(pid: int) -> list[str]:
    """Return /proc/PID/stat from its third field on, proc(5): 0 is the state, 11 to 14 utime stime cutime cstime."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["X", *"0" * 20]
