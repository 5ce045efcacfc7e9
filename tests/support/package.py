"""The Debian package, built in clean releases of Debian, and the hosts that install it."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from container import PROJECT, Container, make_root, missing

from daytimed import __version__

SUITES = os.environ.get("SYSTEM_TEST_SUITE", "bookworm trixie").split()
PACKAGES = PROJECT / ".cache" / "packages"
CONTROL = PROJECT / "packaging/debian/control"
NEXT_VERSION = "99.0"
APT = "env DEBIAN_FRONTEND=noninteractive apt-get -y -qq"
#: Dependencies of the package and programs of the tests, downloaded only: a booted host cannot reach a mirror.
DOWNLOADED = (
    "python3 python3-structlog python3-daemon tzdata"
    " python3-venv ufw xinetd bash-completion fish zsh autopkgtest dpkg-dev"
)


def make_host(suite: str) -> Path:
    """Return a release with systemd, the tools of the tests, and the archives of packages to install."""
    fetch = f"chroot $1 {APT} install --install-recommends --download-only {DOWNLOADED} >/dev/null"
    hosts = "printf '127.0.0.1 localhost\\n::1 localhost\\n' >$1/etc/hosts"
    options = ("--skip=cleanup/apt", f"--customize-hook={fetch}", f"--customize-hook={hosts}")
    return make_root(suite, "host", "systemd,systemd-sysv,dbus,iproute2,procps,man-db", options)


def make_builder(suite: str) -> Path:
    """Return a release with the declared build dependencies of the package, the checkers, and rpm."""
    fields = hashlib.sha256(CONTROL.read_bytes()).hexdigest()
    hooks = (
        f"--customize-hook=mkdir -p $1/root/{fields}/debian && cp {CONTROL} $1/root/{fields}/debian/",
        f"--customize-hook=chroot $1 {APT} build-dep --no-install-recommends /root/{fields} >/dev/null",
    )
    return make_root(suite, "builder", "build-essential,lintian,rpm,rpmlint,iproute2", hooks)


def in_builder(suite: str, command: str, place: Path, inside: str) -> str:
    """Run a command in a clean release, with a folder mounted at another path inside; return its output."""
    done = subprocess.run(
        [
            "systemd-nspawn", "--quiet", f"--directory={make_builder(suite)}", "--volatile=overlay",
            f"--machine=daytimed-{suite}-{os.getpid()}", "--register=no", "--keep-unit", "--private-network",
            "--console=pipe", f"--bind={place}:{inside}",
            "sh", "-c", f"ip link set lo up && cd {inside} && {command}",
        ],
        check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def copy_tree(to: Path, version: str = __version__) -> Path:
    """Copy the project, with another version number if given."""
    ignored = shutil.ignore_patterns(".*", "__pycache__", "build", "dist")
    shutil.copytree(PROJECT, to, ignore=ignored, symlinks=True, dirs_exist_ok=True)
    if version != __version__:
        init, changelog = to / "daytimed/__init__.py", to / "packaging/debian/changelog"
        init.write_text(init.read_text().replace(__version__, version))
        entries = changelog.read_text()
        changelog.write_text(entries.replace(__version__, version, 1) + "\n" + entries)
    return to


def digest(tree: Path) -> str:
    """Return a digest of the state of the project."""
    state = hashlib.sha256()
    for path in sorted(path for path in tree.rglob("*") if path.is_file()):
        state.update(f"{path.relative_to(tree)} {path.stat().st_mode} {path.stat().st_size}\n".encode())
        state.update(path.read_bytes())
    return state.hexdigest()[:16]


@functools.cache
def build(suite: str, version: str = __version__) -> Path:
    """Return the folder with a version of the package, its .changes and .buildinfo; build it once for each state."""
    with tempfile.TemporaryDirectory() as folder:
        tree = copy_tree(Path(folder) / "tree", version)
        dist = PACKAGES / f"{suite}-{version}-{digest(tree)}"
        if not dist.exists():
            # the build runs the tests; a version that differs only in its number skips them
            options = "" if version == __version__ else "DEB_BUILD_OPTIONS=nocheck"
            in_builder(suite, f"{options} make deb", tree, "/srv/daytimed")
            PACKAGES.mkdir(parents=True, exist_ok=True)
            for old in PACKAGES.glob(f"{suite}-{version}-*"):
                shutil.rmtree(old)
            shutil.move(tree / "dist", dist)
    return dist


def package(suite: str, version: str = __version__) -> Path:
    """Return the .deb file of a version."""
    (found,) = build(suite, version).glob("daytimed_*_all.deb")
    return found


class Host(Container):
    """A booted release, without the package at first."""

    def __init__(self, suite: str, name: str, *, root: Path | None = None, init: str = "systemd") -> None:
        # without its own root, the host loses its changes
        super().__init__(root or make_host(suite), f"daytimed-{name}-{suite}", volatile=root is None, init=init)
        self.suite = suite

    def copy(self, source: Path, to: str) -> None:
        """Copy a file to the host."""
        with source.open("rb") as file:
            self.run(f"mkdir -p {os.path.dirname(to)}; cat >{to}", stdin=file)

    def install(self, version: str = __version__, built_on: str | None = None) -> str:
        """Install the .deb file and its dependencies."""
        file = package(built_on or self.suite, version)
        self.copy(file, f"/srv/{file.name}")
        return self.run(f"{APT} install --allow-downgrades /srv/{file.name}")


def prepare(suite: str) -> None:
    """Make the roots and packages, which takes long."""
    make_host(suite)
    make_builder(suite)
    build(suite)
    build(suite, NEXT_VERSION)


if __name__ == "__main__":
    if problem := missing():
        sys.exit(f"make system-test: {problem}")
    with ThreadPoolExecutor() as pool:
        list(pool.map(prepare, SUITES))
