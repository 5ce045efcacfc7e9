"""Usable CPUs, and the default number of workers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daytimed import cpus
from daytimed.cpus import MOST, MOST_PER_LISTENER, cgroup_folders, default_workers

V1 = "30 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct\n"
V2 = "29 22 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
OTHER = "31 25 0:28 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"


@pytest.mark.parametrize(
    ("listeners", "expected"),
    [(1, [1, 2, 8, 8]), (2, [1, 2, 8, 8]), (6, [1, 2, 8, 8]), (8, [1, 2, 6, 6]), (24, [1, 2, 2, 2]), (64, [1] * 4)],
)
def test_default_workers(listeners: int, expected: list[int]) -> None:
    """A listener has one worker for each CPU, at most 8, and fewer beside many listeners."""
    assert expected == [default_workers(number, listeners) for number in (1, 2, 8, 1024)]


@given(number=st.integers(1, 1 << 16), listeners=st.integers(1, 2048))
def test_default_workers_are_bounded(number: int, listeners: int) -> None:
    """Every listener has a worker, and all have at most MOST, or one each."""
    each = default_workers(number, listeners)
    assert 1 <= each <= min(number, MOST_PER_LISTENER)
    assert each * listeners <= max(MOST, listeners)


@pytest.mark.parametrize(
    ("membership", "mounts", "expected"),
    [
        ("0::/\n", V2, ["/sys/fs/cgroup"]),
        ("0::/a/b\n", V2, ["/sys/fs/cgroup", "/sys/fs/cgroup/a", "/sys/fs/cgroup/a/b"]),
        ("4:memory:/m\n3:cpu,cpuacct:/a\n", OTHER + V1, ["/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/a"]),
        ("3:cpuset:/a\n", OTHER + V1 + V2, []),
        # both (hybrid): the first is of v1
        ("2:cpu:/a\n0::/b\n", V1 + V2, [
            "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/a", "/sys/fs/cgroup", "/sys/fs/cgroup/b",
        ]),
        # a container without a namespace of its own: the mount shows its group as the root
        ("0::/pods/x\n", V2.replace(" / ", " /pods/x "), ["/sys/fs/cgroup"]),
        ("0::/pods/x/y\n", V2.replace(" / ", " /pods/x "), ["/sys/fs/cgroup", "/sys/fs/cgroup/y"]),
        # a mount of another group, or of one with a similar name
        ("0::/pods/x\n", V2.replace(" / ", " /pods/y "), []),
        ("0::/pods/xy\n", V2.replace(" / ", " /pods/x "), []),
        # the root of the namespace is not above the process, or is the one of another namespace
        ("0::/../x\n", V2, []),
        ("0::/../x\n", V2.replace(" / ", " /.. "), ["/sys/fs/cgroup", "/sys/fs/cgroup/x"]),
        # elsewhere, twice, with a space and without a source
        ("0::/a:b c\n", "1 2 0:1 / /my\\040own rw - cgroup2  rw\n", ["/my own", "/my own/a:b c"]),
        ("0::/\n", V2 + V2.replace("/sys/fs/cgroup", "/mnt"), ["/sys/fs/cgroup", "/mnt"]),
        ("", "", []),
        ("0::/a\n", "", []),
        ("", V1 + V2, []),
        ("garbage\n::\n0\n", "- cgroup\n - cgroup2\n1 2 - cgroup2 a b\n", []),
    ],
)  # fmt: skip
def test_folders(membership: str, mounts: str, expected: list[str]) -> None:
    """The folders are those of the group of the process and of its visible ancestors, wherever they are mounted."""
    assert expected == list(cgroup_folders(membership, mounts))


@given(membership=st.text(), mounts=st.text())
def test_garbage_has_no_folders(membership: str, mounts: str) -> None:
    """Text that is not of the kernel raises no error."""
    assert list(cgroup_folders(membership, mounts)) == []


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 64),
        ({"cpu.max": "max 100000\n"}, 64),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "100001 100000\n"}, 2),
        ({"cpu.max": "1 1000000\n"}, 1),
        ({"cpu.max": "99900000 100000\n"}, 64),
        ({"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}, 64),
        ({"cpu.cfs_quota_us": "250000\n", "cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu.cfs_quota_us": "250000\n"}, 64),
        # every ancestor counts
        ({"../cpu.max": "200000 100000\n", "cpu.max": "800000 100000\n"}, 2),
        ({"../cpu.max": "800000 100000\n", "cpu.max": "200000 100000\n"}, 2),
        # garbage
        ({"cpu.max": ""}, 64),
        ({"cpu.max": "four\n"}, 64),
        ({"cpu.max": "100000 0\n"}, 64),
        ({"cpu.max": "-100000 100000\n"}, 64),
        ({"cpu.max": "9" * 5000}, 64),
        ({"cpu.max": "\udcff\n"}, 64),
    ],
)
def test_usable_cpus(files: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest quota of the group and its ancestors caps the affinity; other text does not."""
    group = tmp_path / "cgroup" / "group"
    group.mkdir(parents=True)
    for name, text in files.items():
        (group / name).write_text(text, errors="surrogateescape")
    read = {
        "/proc/self/cgroup": "0::/group\n",
        "/proc/self/mountinfo": V2.replace("/sys/fs/cgroup", str(group.parent)),
    }
    real = cpus._read
    monkeypatch.setattr(cpus, "_read", lambda path: read.get(path) or real(path))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    assert expected == cpus.usable_cpus()


def test_cpus_of_this_process() -> None:
    """There is at least one, and at most those of the affinity mask."""
    assert 1 <= cpus.usable_cpus() <= len(os.sched_getaffinity(0))
