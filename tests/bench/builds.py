"""The compiled programs of the benchmark: sources beside this file, built into .cache/built."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
#: The packages that tests/programs unpacked, each with a root of its own.
PEERS = ROOT / ".cache/peers"
BUILT = ROOT / ".cache/built"
LIMIT_S = 300.0
CFLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread")


class BuildError(Exception):
    """A program cannot be built; the message is the reason."""


def build(source: str) -> Path:
    """
    Return the program of a source; build it if the source is newer.

    Raises:
        BuildError: If no compiler is installed, or it fails.
    """
    path = HERE / source
    program = BUILT / path.stem
    if program.exists() and program.stat().st_mtime >= path.stat().st_mtime:
        return program
    BUILT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILT) as folder:
        made = Path(folder, path.stem)
        command, variables = _compiler(path, made, Path(folder))
        done = subprocess.run(
            command, env=variables, cwd=folder, timeout=LIMIT_S, capture_output=True, text=True, check=False
        )  # fmt: skip
        if done.returncode != 0:
            raise BuildError(f"{source} cannot be compiled: {done.stderr.strip()}")
        # atomically: another run may be about to start it
        made.replace(program)
    return program


def go() -> Path | None:
    """Return the Go compiler: the newest unpacked one, or the one on the PATH."""
    unpacked = sorted(PEERS.glob("golang-go/usr/lib/go-*/bin/go"))
    found = unpacked[-1] if unpacked else shutil.which("go")
    return Path(found) if found else None


def _compiler(source: Path, program: Path, scratch: Path) -> tuple[list[str], dict[str, str]]:
    """Return the command and its environment."""
    variables = dict(os.environ)
    if source.suffix == ".c":
        compiler = shutil.which("cc")
        if compiler is None:
            raise BuildError("no C compiler (cc); install the package gcc")
        return [compiler, *CFLAGS, "-o", str(program), str(source)], variables
    found = go()
    if found is None:
        raise BuildError("no Go compiler; `tests/programs --unpack golang-go` fetches one")
    variables |= {"GOROOT": str(found.resolve().parents[1]), "GOCACHE": f"{scratch}/cache", "GOPATH": f"{scratch}/path"}
    variables |= {"GO111MODULE": "off", "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
    return [str(found), "build", "-o", str(program), str(source)], variables
