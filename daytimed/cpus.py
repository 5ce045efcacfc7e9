"""
CPUs: how many this process may use, and how many workers a listener gets by default.

The affinity mask and the CPU quota of every control group above this process limit it (cgroups(7)). What cannot be read
is no limit.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

MOST_PER_LISTENER = 8
#: The default workers of all listeners together; with more listeners than this, each has one. With kernel memory, a
#: worker that has served takes 1.9 MiB, a new one 1.1 MiB, and the master 12 MiB. A reload needs both for a moment: at
#: most 149 MiB was measured, and 208 MiB with 64 listeners. MemoryHigh= of the unit leaves room for page cache too.
MOST = 48

_MOUNT = r"(\S+ ){3}(?P<root>\S+) (?P<point>\S+) .* - (?P<kind>cgroup2?) \S* (?P<options>\S+)"


def default_workers(cpus: int, listeners: int) -> int:
    """Return the number of workers of a listener that sets none."""
    return max(1, min(cpus, MOST_PER_LISTENER, MOST // listeners))


def usable_cpus() -> int:
    """Return the number of CPUs that this process may use; a part of one counts as one."""
    folders = cgroup_folders(_read("/proc/self/cgroup"), _read("/proc/self/mountinfo"))
    quotas = [quota for folder in folders if (quota := _quota_of(folder))]
    return min([len(os.sched_getaffinity(0)), *quotas])


def cgroup_folders(membership: str, mounts: str) -> Iterator[str]:
    """
    Yield the folders that may hold a CPU quota of a process: its control group in each hierarchy, and the ancestors.

    Args:
        membership: Its /proc/PID/cgroup.
        mounts: Its /proc/PID/mountinfo, proc_pid_mountinfo(5).
    """
    paths = {}
    for line in membership.split("\n"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "cpu" in controllers.split(","):
            paths["cgroup"] = path
        elif number == "0":
            paths["cgroup2"] = path
    for line in mounts.split("\n"):
        mount = re.match(_MOUNT, line) if " - cgroup" in line else None
        if not mount or (mount["kind"] == "cgroup" and "cpu" not in mount["options"].split(",")):
            continue
        root, path = mount["root"].rstrip("/"), paths.get(mount["kind"], "")
        names = [name for name in path[len(root) :].split("/") if name]
        # a mount can show another part of the hierarchy, without the group of this process
        if path and f"{path}/".startswith(f"{root}/") and ".." not in names:
            point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), mount["point"])
            yield from ("/".join([point, *names[:depth]]) for depth in range(len(names) + 1))


def _quota_of(folder: str) -> int:
    """Return the number of CPUs that the quota of a control group allows, rounded up; 0 if it has none."""
    text = _read(f"{folder}/cpu.max") or " ".join(_read(f"{folder}/cpu.cfs_{each}_us") for each in ("quota", "period"))
    quota, _, period = text.partition(" ")
    try:
        # no quota is `max`, or -1
        return max(0, -(-int(quota) // int(period)))
    except (ValueError, ZeroDivisionError):
        return 0


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""
