"""Defaults fit each other: the number of workers, the CPUs, and the memory that the unit allows."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest
from groups import control_group
from harness import UNTRACED, fetch, serving

PROJECT = Path(__file__).parents[2]
#: Enough for each worker to run all of its code several times.
CLIENTS = 40


def with_cpus(number: int, folder: Path) -> Mapping[str, str]:
    """Return the environment of a program that may use this many CPUs."""
    (folder / "sitecustomize.py").write_text(f"import os\nos.sched_getaffinity = lambda pid: {{*range({number})}}\n")
    return {**UNTRACED, "PYTHONPATH": str(folder)}


@pytest.mark.parametrize(("quota", "expected"), [(None, 8), (0.5, 1), (1.5, 2), (64, 8)])
def test_a_cpu_quota_is_a_limit_of_the_workers(quota: float | None, expected: int, tmp_path: Path) -> None:
    """On 64 CPUs, of which the control group may use a part, there is a worker for each CPU of that part, at most 8."""
    with control_group("cpu") as group:
        if quota:
            group.limit_cpus(quota)
        with serving(env=with_cpus(64, tmp_path), prefix=group.prefix) as daemon:
            assert len(daemon.live_workers()) == expected


@pytest.mark.parametrize(
    ("cpus", "listeners", "workers"), [(1, 1, 1), (1024, 1, 8), (1024, 8, 6), (64, 48, 1), (1024, 64, 1)]
)
def test_default_workers_fit_the_memory_of_the_unit(cpus: int, listeners: int, workers: int, tmp_path: Path) -> None:
    """For any number of CPUs and listeners, start, load and reload stay below the MemoryHigh= of the unit."""
    unit = (PROJECT / "systemd/daytimed.service").read_text()
    high = int(re.findall(r"(?m)^MemoryHigh=(\d+)M$", unit)[0]) << 20
    config, names = tmp_path / "daytimed.toml", [f"own-{number}" for number in range(listeners)]
    config.write_text("".join(f'[[listener]]\nname = "{name}"\naddress = "127.0.0.1:0"\n' for name in names))
    with control_group("memory") as group:
        with serving(config=config, env=with_cpus(cpus, tmp_path), prefix=group.prefix) as daemon:
            assert len(daemon.live_workers()) == listeners * workers
            for reloads in (1, 2):
                for name in names:
                    for _ in range(CLIENTS * workers):
                        assert fetch(daemon.port(name))
                daemon.send(signal.SIGHUP)
                daemon.wait_events("daemon_reloaded", reloads)
        peak = group.peak()
    print(f"{cpus} CPUs, {listeners} listeners: {peak / (1 << 20):.1f} MiB")
    assert peak < high
