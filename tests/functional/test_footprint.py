"""The cost of an idle daemon: its loaded modules and the memory of its processes."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from harness import UNTRACED, fetch, serving

from daytimed.deferral import OPTIONAL

#: Modules that structlog and the standard library would load, and modules that only other configurations need.
UNWANTED = {
    "asyncio", "ssl", "hashlib", "random", "uuid", "logging", "threading", "concurrent.futures", "subprocess",
    "structlog.stdlib", "structlog.threadlocal", "daemon", "tomllib", "zoneinfo", "sysconfig", "difflib", "shutil",
    "selectors", "locale", "encodings.idna", "stringprep", "unicodedata",
}  # fmt: skip
NEEDED = {"structlog", "argparse", "socket", "daytimed.master", "daytimed.worker"}

#: Enough for each worker to run all of its code several times.
CLIENTS = 2000
FEW, MANY = 2, 10
MIB = 1 << 20
MOST_FOR_A_TREE = 20 * MIB
#: The target is 1.5. Python 3.11 needs most of it: reading an object writes its reference count, which later versions
#: avoid for many objects. On a busy machine, one run can measure up to 0.1 more than another.
MOST_FOR_A_WORKER = (1.6 if sys.version_info < (3, 12) else 1.5) * MIB


def loaded_by(lines: list[str]) -> list[str]:
    """Return the modules in the output of `-X importtime`."""
    return [line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")]


def test_a_serving_daemon_has_loaded_nothing_that_it_does_not_need() -> None:
    """Neither a start nor a client loads an unwanted module, and after the first fork no module is loaded."""
    program = (sys.executable, "-X", "importtime", "-m", "daytimed")
    with serving("-w", "2", program=program, env=UNTRACED) as daemon:
        for _ in range(10):
            assert fetch(daemon.port())
        daemon.statistics(10)
        # the last event before the fork of the workers, which would not share their imports
        opened = next(number for number, line in enumerate(daemon.lines) if "listener_opened" in line)
        before, after = loaded_by(daemon.lines[:opened]), loaded_by(daemon.lines[opened:])
    assert set(before) & UNWANTED == set()
    assert set(before) >= NEEDED
    assert after == []


def test_libraries_that_happen_to_be_installed_are_not_loaded(tmp_path: Path) -> None:
    """Installed libraries that structlog uses for optional features are not loaded."""
    for name in OPTIONAL:
        (tmp_path / f"{name}.py").write_text("raise SystemExit('loaded')\n")
    with serving(env={**UNTRACED, "PYTHONPATH": str(tmp_path)}) as daemon:
        assert fetch(daemon.port())


class Memory(NamedTuple):
    """Bytes of the whole daemon, with shared memory divided among its processes (PSS)."""

    total: int
    anonymous: int
    """Without mapped files, whose share depends on the other Python processes of the machine."""


def memory_with(workers: int) -> Memory:
    """Return the memory of a daemon after each of its workers has served."""
    with serving("-w", str(workers), env=UNTRACED) as daemon:
        for _ in range(CLIENTS):
            fetch(daemon.port())
        daemon.statistics(CLIENTS)
        figures: Counter[str] = Counter()
        for pid in (daemon.process.pid, *daemon.live_workers()):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
                name, size, _ = line.split()
                figures[name] += 1024 * int(size)
        return Memory(figures["Pss:"], figures["Pss_Anon:"])


def test_workers_share_the_memory_of_the_master() -> None:
    """A daemon with two workers is small, and each further worker adds little: it shares the rest with the master."""
    few, many = memory_with(FEW), memory_with(MANY)
    further = (many.anonymous - few.anonymous) / (MANY - FEW)
    print(f"{few.total / MIB:.2f} MiB with {FEW} workers, {further / MIB:.2f} MiB for each further one")
    assert few.total < MOST_FOR_A_TREE
    assert 0 < further < MOST_FOR_A_WORKER
