"""
A booted Debian system for the tests: systemd-nspawn with a root that mmdebstrap made.

The container has its own control group tree and network. A run leaves only the cached root: unless its changes must
last, the system boots on a writable layer in memory.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

PROJECT = Path(__file__).parents[2]
ROOTS = PROJECT / ".cache" / "roots"
NEEDED = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "nsenter": "util-linux",
    "unshare": "util-linux",
}

#: Bounds for what hangs; a busy machine may take long.
BOOT_S = 300.0
COMMAND_S = 300.0

_BEGIN = """
mkdir "$1"; echo $$ >"$1/cgroup.procs"; shift
SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 exec "$@"
"""
_END = """
[ -d "$1" ] || exit 0
echo 1 >"$1/cgroup.kill"
until find "$1" -depth -type d -exec rmdir {} + 2>/dev/null; do sleep 0.1; done
"""


def missing() -> str:
    """Return why these tests cannot run, or an empty text."""
    if os.geteuid() != 0:
        return "booting a container needs root"
    packages = sorted({package for program, package in NEEDED.items() if shutil.which(program) is None})
    return f"not installed: {' '.join(packages)}" if packages else ""


def make_root(suite: str, purpose: str, packages: str, options: tuple[str, ...] = ()) -> Path:
    """
    Return the cached root of a Debian release; make it if it is missing or its packages have changed.

    Args:
        suite: The release.
        purpose: Distinguishes the roots of one release.
        packages: The packages to install, separated by commas.
        options: More options of mmdebstrap.
    """
    root = ROOTS / f"{suite}-{purpose}"
    recipe = ROOTS / f"{suite}-{purpose}.recipe"
    # the same for every clone of the project
    text = " ".join(("2", packages, *options)).replace(f"{PROJECT}/", "")
    if recipe.exists() and recipe.read_text() == text:
        return root
    shutil.rmtree(root, ignore_errors=True)
    ROOTS.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [
            "mmdebstrap", "--quiet", "--variant=minbase", f"--include={packages}",
            # also for later installations: nothing needs to survive a crash of this machine
            "--dpkgopt=force-unsafe-io", *options, suite, str(root),
        ],
        check=True, stdin=subprocess.DEVNULL, timeout=900,
    )  # fmt: skip
    recipe.write_text(text)
    return root


def with_groups(script: str, *arguments: str) -> list[str]:
    """
    Return a command that runs a script where /sys/fs/cgroup is a pure cgroup2.

    systemd 258 and later require that, and two booted containers need separate groups.
    """
    mounted = "umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup\n"
    return ["unshare", "--mount", "--propagation", "private", "sh", "-ec", mounted + script, "sh", *arguments]


class Container:
    """A booted system. Use it in a `with`."""

    def __init__(self, root: Path, name: str, *, volatile: bool = True, init: str = "systemd") -> None:
        self.root = root
        self.name = name
        self._init = init
        self._volatile = "overlay" if volatile else "no"

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        # not named by a pid, which an earlier container may have had
        self.group = f"/sys/fs/cgroup/daytimed-test-{folder.name}"
        self._log = (folder / "console").open("w+")
        # another init has a terminal as its console, like a host, and a script in /srv that reports the end of the boot
        other = ["--console=read-only", f"--bind={folder}/notify:/srv/notify"]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(str(folder / "notify"))
            self._process = subprocess.Popen(
                with_groups(
                    _BEGIN, self.group,
                    "systemd-nspawn", "--quiet", f"--directory={self.root}", f"--machine={self.name}", "--register=no",
                    "--keep-unit", "--private-network", "--notify-ready=yes", f"--volatile={self._volatile}",
                    "--capability=all", "--system-call-filter=bpf @clock adjtimex clock_adjtime", "--boot",
                    *(["--console=pipe"] if self._init == "systemd" else other),
                ),
                env={**os.environ, "NOTIFY_SOCKET": str(folder / "notify")},
                stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT,
            )  # fmt: skip
            self._leader = self._wait_for_boot(notify)
        return self

    def _wait_for_boot(self, notify: socket.socket) -> int:
        leader, deadline = 0, time.monotonic() + BOOT_S
        # a container that has ended sends nothing: look at the process every second
        notify.settimeout(1)
        while True:
            try:
                lines = notify.recv(65536).decode(errors="replace").splitlines()
            except TimeoutError:
                has_ended = self._process.poll() is not None
                if not has_ended and time.monotonic() < deadline:
                    continue
                how = "has ended" if has_ended else f"did not boot within {BOOT_S:g} s"
                said = self.console()
                self._end()
                raise AssertionError(f"{self.name} {how}:\n{said}") from None
            for line in lines:
                name, _, value = line.partition("=")
                if name == "X_NSPAWN_LEADER_PID":
                    leader = int(value)
                if line == "READY=1" and leader:
                    return leader

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.run("poweroff", check=False)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(60)
        self._end()

    def _end(self) -> None:
        subprocess.run(with_groups(_END, self.group), check=True, timeout=COMMAND_S)
        self._process.wait(COMMAND_S)
        self._log.close()
        self._folder.cleanup()

    def reboot(self) -> None:
        """Power it off and boot it again; a volatile system loses its changes."""
        self.__exit__(None, None, None)
        self.__enter__()

    def popen(self, command: str, stdin: int | IO[bytes] = subprocess.DEVNULL) -> subprocess.Popen[str]:
        """Start a shell command in the container."""
        spaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd"]
        enter = ["nsenter", "--target", str(self._leader), *spaces, "sh", "-c", command]
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        return subprocess.Popen(
            enter, env=env, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def run(self, command: str, *, check: bool = True, stdin: int | IO[bytes] = subprocess.DEVNULL) -> str:
        """Run a shell command in the container and return its output."""
        process = self.popen(command, stdin)
        printed, _ = process.communicate(timeout=COMMAND_S)
        if check and process.returncode != 0:
            raise AssertionError(f"{command}: status {process.returncode}\n{printed}\n{self.journal()}")
        return printed

    def fails(self, command: str) -> str:
        """Run a command that must fail; return its output."""
        process = self.popen(command)
        printed, _ = process.communicate(timeout=COMMAND_S)
        assert process.returncode != 0, printed
        return printed

    def shut_down(self) -> str:
        """Power off; return the output of the console."""
        self.run("poweroff", check=False)
        self._process.wait(60)
        return self.console()

    def console(self) -> str:
        """Return the output of the console so far."""
        return Path(self._log.name).read_text(errors="replace")

    def journal(self) -> str:
        """Return the newest lines of the daemon's journal."""
        return self.run("journalctl --no-pager -n 60 -u daytimed -u daytimed.socket -o short-monotonic", check=False)

    def until(self, command: str, what: str, answer: str = "") -> str:
        """Repeat a command until it succeeds and its output matches the answer; return the output."""
        deadline = time.monotonic() + COMMAND_S
        while True:
            process = self.popen(command)
            printed, _ = process.communicate(timeout=COMMAND_S)
            if process.returncode == 0 and re.search(answer, printed, re.MULTILINE):
                return printed
            assert time.monotonic() < deadline, f"never came true: {what}\n{printed}\n{self.journal()}"
