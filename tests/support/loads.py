"""Loads of many clients (load.py) beside a test, and their outcomes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from harness import UNTRACED, clean_environment

THREADS, CLIENTS = 50, 2000
#: Bounds a run that hangs; a normal one takes a tenth of it.
LONGEST_S = 180.0
LOAD = Path(__file__).with_name("load.py")


def load(port: int, threads: int = THREADS, clients: int | None = CLIENTS) -> subprocess.Popen[str]:
    """Start a load; without a number of clients, it runs until `outcomes` is called."""
    return subprocess.Popen(
        [sys.executable, str(LOAD), str(port), str(threads), str(clients or "-")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=clean_environment(UNTRACED),
    )  # fmt: skip


def outcomes(running: subprocess.Popen[str]) -> dict[str, int]:
    out, _ = running.communicate(timeout=LONGEST_S)
    print("outcomes of the clients:", out)
    assert running.returncode == 0
    ended: dict[str, int] = json.loads(out)
    del ended["longest_s"], ended["seconds"]
    return ended
