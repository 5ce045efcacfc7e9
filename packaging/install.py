#!/usr/bin/env python3
"""
Install daytimed under a prefix, or remove it again.

What is installed beside the programs is listed here once, for `make install` and for the packages. `make install` notes
what it has made, and `make uninstall` removes that and nothing else.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
#: Where to, and which files of the project; who may run them there may run them here.
FILES = (
    ("{sysconfdir}/daytimed", "packaging/daytimed.toml"),
    ("{sysconfdir}/init.d", "packaging/sysvinit/daytimed"),
    ("{sysconfdir}/ufw/applications.d", "packaging/ufw/daytimed"),
    ("{firewalldir}/services", "packaging/firewalld/daytimed.xml"),
    ("{prefix}/lib/systemd/system", "systemd/*.s*"),
    ("{prefix}/lib/systemd/system", "systemd/*.timer"),
    ("{prefix}/lib/systemd/system-generators", "systemd/daytimed-generator"),
    ("{prefix}/lib/systemd/catalog", "systemd/daytimed.catalog"),
    ("{prefix}/share/man/man1", "packaging/man/*.1"),
    ("{prefix}/share/man/man5", "packaging/man/*.5"),
    ("{prefix}/share/man/man8", "packaging/man/*.8"),
    ("{prefix}/share/bash-completion/completions", "packaging/completions/bash/*"),
    ("{prefix}/share/fish/vendor_completions.d", "packaging/completions/fish/*"),
    ("{zshdir}", "packaging/completions/zsh/*"),
    ("{prefix}/share/doc/daytimed", "README.md"),
    ("{prefix}/share/doc/daytimed/examples", "systemd/examples/*"),
    ("{prefix}/share/doc/daytimed/examples/monitoring", "packaging/monitoring/*"),
    ("{prefix}/share/doc/daytimed/examples/monitoring/haproxy", "packaging/monitoring/haproxy/*"),
    ("{prefix}/share/doc/daytimed/examples/monitoring/prometheus", "packaging/monitoring/prometheus/*"),
    ("{prefix}/share/doc/daytimed/examples/monitoring/systemd", "packaging/monitoring/systemd/*"),
)
PROGRAMS = {"daytimed": "daytimed.__main__", "daytime-get": "daytimed.probe.__main__"}
PROGRAM = """\
#!{python}
import sys

sys.path.insert(0, {modules!r})
from {module} import main

sys.exit(main())
"""


class Installation:
    """What is installed, or will be, under a prefix."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.prefix: str = options.prefix.rstrip("/")
        self._destdir: str = options.destdir.rstrip("/")
        is_system = self.prefix == "/usr"
        self._directories = {
            "prefix": self.prefix,
            "sysconfdir": options.sysconfdir,
            "zshdir": options.zshdir or f"{self.prefix}/share/zsh/site-functions",
            # firewalld looks in these two places only
            "firewalldir": "/usr/lib/firewalld" if is_system else f"{options.sysconfdir}/firewalld",
        }
        self._config = f"{options.sysconfdir}/daytimed/daytimed.toml"
        self._own = f"{self.prefix}/lib/daytimed"
        self._modules = f"{self._own}/modules"
        self._record = self.place(f"{self._own}/installed")
        self._made: list[str] = []

    def place(self, path: str) -> Path:
        """Return where a path of the installation is now."""
        return Path(self._destdir + path)

    def put_data(self) -> None:
        """Install all but the programs."""
        for directory, pattern in FILES:
            sources = [path for path in sorted(PROJECT.glob(pattern)) if path.is_file()]
            assert sources, pattern
            for source in sources:
                path = f"{directory.format_map(self._directories)}/{source.name}"
                content = self._edited(source)
                if path == self._config and self._is_changed(content):
                    print(f"kept: {self.place(path)}, which is not as this version would have it", file=sys.stderr)
                    self._made.append(path)
                else:
                    self._put(path, content, source.stat().st_mode & 0o111)

    def put_programs(self, python: str, pip: str) -> None:
        """Install the programs, with modules of their own: neither these nor the system's are in the others' way."""
        new = self.place(f"{self._modules}.new")
        self._make_directory(self._own)
        command = [pip, "install", "--quiet", "--disable-pip-version-check", "--target", str(new), str(PROJECT)]
        subprocess.run(command, check=True)
        shutil.rmtree(new / "bin")
        # what runs has its modules until it is restarted: those that it has not loaded yet are there as well
        shutil.rmtree(self.place(self._modules), ignore_errors=True)
        new.rename(self.place(self._modules))
        for name, module in PROGRAMS.items():
            text = PROGRAM.format(python=python, modules=self._modules, module=module)
            self._put(f"{self.prefix}/bin/{name}", text.encode(), 0o111)

    def note(self) -> None:
        """Remove what an earlier version had and this one has not; note what there is."""
        for path in self._noted():
            if path not in self._made and not path.endswith("/"):
                self.place(path).unlink(missing_ok=True)
        directories = [path for path in self._noted() if path.endswith("/") and path not in self._made]
        self._record.write_text("\n".join([*directories, *self._made]) + "\n")

    def remove(self) -> None:
        """Remove what was noted; a directory that others use by now stays, and so does a changed configuration."""
        noted = self._noted()
        if not noted:
            raise SystemExit(f"error: there is no {self._record}: give the PREFIX and DESTDIR of `make install`")
        self._record.unlink()
        shutil.rmtree(self.place(self._modules), ignore_errors=True)
        for path in reversed(noted):
            place = self.place(path)
            if path.endswith("/"):
                if place.is_dir() and not any(place.iterdir()):
                    place.rmdir()
            elif path == self._config and self._is_changed(self._edited(PROJECT / "packaging/daytimed.toml")):
                print(f"kept: {place}, which was changed", file=sys.stderr)
            else:
                place.unlink(missing_ok=True)

    def _noted(self) -> list[str]:
        return self._record.read_text().splitlines() if self._record.exists() else []

    def _edited(self, source: Path) -> bytes:
        """Return what a file is there: the same, but for where the programs are."""
        return source.read_bytes().replace(b"/usr/bin/day", f"{self.prefix}/bin/day".encode())

    def _is_changed(self, content: bytes) -> bool:
        place = self.place(self._config)
        return place.exists() and place.read_bytes() != content

    def _put(self, path: str, content: bytes, executable: int) -> None:
        """Install a file, whole or not at all."""
        place = self.place(path)
        self._make_directory(path.rpartition("/")[0])
        new = place.with_name(place.name + ".new")
        new.write_bytes(content)
        new.chmod(0o644 | executable)
        new.rename(place)
        self._made.append(path)

    def _make_directory(self, path: str) -> None:
        if path and not self.place(path).is_dir():
            self._make_directory(path.rpartition("/")[0])
            self.place(path).mkdir()
            self.place(path).chmod(0o755)
            self._made.append(f"{path}/")


def main() -> None:
    """Do what `make install`, `make uninstall` or a package asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().partition("\n")[0])
    parser.add_argument("--prefix", default="/usr/local")
    parser.add_argument("--destdir", default="", metavar="DIR", help="where the root of the system is")
    parser.add_argument("--sysconfdir", default="/etc", metavar="DIR")
    parser.add_argument("--zshdir", metavar="DIR", help="where zsh looks for completions")
    parser.add_argument("--python", default=sys.executable, help="what the programs are to run with")
    parser.add_argument("--pip", default="pip", help="what the modules are fetched with")
    task = parser.add_mutually_exclusive_group()
    task.add_argument("--data", action="store_true", help="all but the programs, which packages have by other ways")
    task.add_argument("--remove", action="store_true")
    options = parser.parse_args()
    installation = Installation(options)
    if options.remove:
        installation.remove()
        return
    installation.place("/").mkdir(parents=True, exist_ok=True)
    installation.put_data()
    if not options.data:
        installation.put_programs(options.python, options.pip)
        installation.note()


if __name__ == "__main__":
    main()
