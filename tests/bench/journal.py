"""
A private journal: a real systemd-journald in a mount namespace, with /run in memory.

Its socket has the queue length that systemd sets when it boots a host. It stores entries in memory without a rate
limit, so that every entry that arrives can be counted.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

_JOURNALD = "/lib/systemd/systemd-journald"
_PATIENCE_S = 10.0
#: The value that systemd sets at boot.
_QUEUE = 512
_SETTINGS = """\
[Journal]
Storage=volatile
RuntimeMaxUse=1G
RateLimitIntervalSec=0
ReadKMsg=no
Audit=no
ForwardToSyslog=no
"""
_NAMESPACES = ("unshare", "--mount", "--net")
_START = f"""
mount -t tmpfs none /run && mkdir -p /run/systemd/journald.conf.d && echo "$1" >/run/systemd/journald.conf.d/own.conf &&
echo {_QUEUE} >/proc/sys/net/unix/max_dgram_qlen && exec {_JOURNALD}
"""


class Journal:
    """A running journal."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._root = Path(f"/proc/{pid}/root")

    def command(self, folder: Path, command: Sequence[str]) -> list[str]:
        """Return a command that runs another one in a folder, with this journal."""
        within = ["nsenter", "--mount", "--target", str(self.pid)]
        return [*within, "sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", str(folder), *command]

    def is_up(self) -> bool:
        """Return whether it accepts entries."""
        return (self._root / "run/systemd/journal/socket").exists()

    def fields(self, event: str, field: str) -> list[str]:
        """Return a field of all entries of an event."""
        place = str(self._root / "run/log/journal")
        command = ["journalctl", "-q", "-D", place, "-o", "cat", f"--output-fields={field}", f"DAYTIMED_EVENT={event}"]
        return subprocess.check_output(command, text=True).split()

    def account(self, clients: int) -> tuple[int, int]:
        """Wait until every client is logged or reported as lost; return how many are logged, and lost."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            logged = len(self.fields("client_served", "PRIORITY"))
            lost = sum(map(int, self.fields("log_lost", "DAYTIMED_LOST")))
            if logged + lost >= clients or time.monotonic() > deadline:
                return logged, lost
            time.sleep(0.1)


def why_missing() -> str | None:
    """Return why a private journal cannot run here, if so."""
    if os.geteuid() != 0:
        return "needs root"
    programs = (_JOURNALD, "journalctl", "unshare", "nsenter")
    if missing := [each for each in programs if shutil.which(each) is None]:
        return f"{' and '.join(missing)} is not installed"
    if subprocess.run([*_NAMESPACES, "true"], capture_output=True, check=False).returncode:
        return "cannot create a mount namespace here (in a chroot, for example)"
    return None


@contextlib.contextmanager
def running() -> Iterator[Journal]:
    """Run a journal around the body."""
    null = subprocess.DEVNULL
    command = [*_NAMESPACES, "sh", "-c", _START, "sh", _SETTINGS]
    process = subprocess.Popen(command, stdin=null, stdout=null, stderr=null)
    try:
        journal, deadline = Journal(process.pid), time.monotonic() + _PATIENCE_S
        while not journal.is_up():
            if process.poll() is not None or time.monotonic() > deadline:
                raise OSError("systemd-journald does not start in a namespace of its own")
            time.sleep(0.01)
        yield journal
    finally:
        process.terminate()
        process.wait(_PATIENCE_S)
