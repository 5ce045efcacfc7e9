#!/usr/bin/env python3
"""
Install daytimed under a prefix, or remove it.

This is the only list of the files that accompany the programs: `make install` and the packages use it. `make install`
records what it creates, and `make uninstall` removes exactly that.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
#: Directories, and the files of the project to install there. An installed file is executable if its source is.
FILES = (
    ("/etc/daytimed", "packaging/daytimed.toml"),
    ("/etc/init.d", "packaging/sysvinit/daytimed"),
    ("/etc/ufw/applications.d", "packaging/ufw/daytimed"),
    ("{firewalldir}/services", "packaging/firewalld/daytimed.xml"),
    ("{systemddir}/system", "systemd/*.s*"),
    ("{systemddir}/system", "systemd/*.timer"),
    ("{systemddir}/system-generators", "systemd/daytimed-generator"),
    ("{systemddir}/catalog", "systemd/daytimed.catalog"),
    ("{prefix}/share/man/man1", "packaging/man/*.1"),
    ("{prefix}/share/man/man5", "packaging/man/*.5"),
    ("{prefix}/share/man/man8", "packaging/man/*.8"),
    ("{prefix}/share/bash-completion/completions", "packaging/completions/bash/*"),
    ("{prefix}/share/fish/vendor_completions.d", "packaging/completions/fish/*"),
    ("{zshdir}", "packaging/completions/zsh/*"),
    ("{prefix}/share/doc/daytimed", "README.md"),
    ("{prefix}/share/doc/daytimed", "SECURITY.md"),
    ("{prefix}/share/doc/daytimed/examples", "systemd/examples/*"),
    ("{prefix}/share/doc/daytimed/examples/second-listener", "systemd/examples/second-listener/*"),
    ("{prefix}/share/doc/daytimed/examples/monitoring", "packaging/monitoring/*"),
    ("{prefix}/share/doc/daytimed/examples/monitoring/haproxy", "packaging/monitoring/haproxy/*"),
    ("{prefix}/share/doc/daytimed/examples/monitoring/prometheus", "packaging/monitoring/prometheus/*"),
    ("{prefix}/share/doc/daytimed/examples/monitoring/systemd", "packaging/monitoring/systemd/*"),
)
PROGRAMS = {"daytimed": "daytimed.__main__", "daytime-get": "daytimed.probe.__main__"}
# -I: no modules of the system or of the user are mixed with these
PROGRAM = """\
#!{python} -I
import sys

sys.path.insert(0, {modules!r})
from {module} import main

sys.exit(main())
"""


#: What comes next, by the kind of host.
STAGED = """\
Installed in {destdir}, for a host that has it as its root. There, run:
    systemctl daemon-reload && systemctl enable --now daytimed.socket daytimed.service
or, without systemd:
    /etc/init.d/daytimed start
"""
SYSTEMD = """\
Installed. Start it now and at every boot:
    systemctl daemon-reload
    systemctl enable --now daytimed.socket daytimed.service
After an upgrade, use the new version:
    systemctl restart daytimed
"""
SYSVINIT = """\
Installed. Start it now:
    /etc/init.d/daytimed restart
And at every boot, on Debian:
    update-rc.d daytimed defaults
"""
ANYWHERE = """\
Ask it:
    {prefix}/bin/daytime-get
Configuration: {config}. Manual: man -M {prefix}/share/man daytimed
"""
REMOVED_SYSTEMD = """\
Removed. End what still runs:
    systemctl disable --now daytimed.socket daytimed.service
    systemctl daemon-reload
"""
REMOVED_SYSVINIT = """\
Removed. End what still runs:
    kill $(cat /run/daytimed.pid)
And on Debian, remove its links:
    update-rc.d daytimed remove
"""


class Installation:
    """An installation under a prefix, present or planned."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.prefix = os.path.normpath(options.prefix)
        if not re.fullmatch(r"(/[A-Za-z0-9_.+-]+)+", self.prefix):
            # units, scripts and interpreter lines contain the prefix without quotes
            raise SystemExit(f"error: PREFIX={options.prefix}: must be an absolute path of A-Z a-z 0-9 _ . + -")
        self._destdir: str = os.path.abspath(options.destdir).rstrip("/") if options.destdir else ""
        is_system = self.prefix == "/usr"
        self._directories = {
            "prefix": self.prefix,
            "zshdir": options.zshdir or f"{self.prefix}/share/zsh/site-functions",
            # systemd and firewalld each search two directories only
            "systemddir": "/usr/lib/systemd" if is_system else "/usr/local/lib/systemd",
            "firewalldir": "/usr/lib/firewalld" if is_system else "/etc/firewalld",
        }
        self._config = "/etc/daytimed/daytimed.toml"
        own = f"{self.prefix}/lib/daytimed"
        self._modules = f"{own}/modules"
        self._shipped = f"{own}/daytimed.toml"
        self._record = f"{own}/installed"
        self._noted = self._read_record()

    def place(self, path: str) -> Path:
        """Return the present location of an installed path."""
        return Path(self._destdir + path)

    def data(self) -> dict[str, tuple[bytes, int]]:
        """Return the content and the mode of every file except the programs."""
        files = {}
        for directory, pattern in FILES:
            sources = [path for path in sorted(PROJECT.glob(pattern)) if path.is_file()]
            assert sources, pattern
            for source in sources:
                content = source.read_bytes().replace(b"/usr/bin/day", f"{self.prefix}/bin/day".encode())
                mode = 0o755 if source.stat().st_mode & 0o100 else 0o644
                files[f"{directory.format_map(self._directories)}/{source.name}"] = content, mode
        return files

    def put(self, files: dict[str, tuple[bytes, int]]) -> None:
        """Install files, each one atomically."""
        for path, (content, mode) in files.items():
            place = self.place(path)
            place.parent.mkdir(parents=True, exist_ok=True)
            new = place.with_name(f"{place.name}.new")
            new.write_bytes(content)
            new.chmod(mode)
            new.rename(place)

    def install(self, *, programs: bool) -> None:
        """Install everything, or everything except the programs, over an earlier version."""
        data = self.data()
        files = {self._shipped: data[self._config], **data}
        if not self._destdir and has_systemd():
            # useless under systemd, and `systemctl enable` would create links for it that nothing removes
            del files["/etc/init.d/daytimed"]
        if programs:
            files |= self._programs()
        for path in files:
            if path not in self._noted and path != self._config and self.place(path).exists():
                raise SystemExit(
                    f"error: {self.place(path)} exists, and this script did not install it: remove what did"
                )
        with tempfile.TemporaryDirectory() as folder:
            # pip can fail, so it runs before any change
            modules = fetch_modules(Path(folder)) if programs else None
            self._note(files)
            if modules:
                self._put_modules(modules)
        if self._is_config_changed():
            print(f"kept: {self.place(self._config)}; the new file is {self.place(self._shipped)}", file=sys.stderr)
            del files[self._config]
        self.put(files)
        for path in self._noted - self._read_record():
            self._unlink(path)
        self._say((STAGED if self._destdir else SYSTEMD if has_systemd() else SYSVINIT) + ANYWHERE)

    def remove(self) -> None:
        """Remove the recorded files; keep a changed configuration, and directories with files of others."""
        if not self._noted:
            raise SystemExit(f"error: no {self.place(self._record)}: use the PREFIX and DESTDIR of `make install`")
        kept = {self._record}
        if self._is_config_changed():
            print(f"kept: {self.place(self._config)}", file=sys.stderr)
            kept.add(self._config)
        for path in (self._modules, f"{self._modules}.new", f"{self._modules}.old"):
            remove_tree(self.place(path))
        directories = {path for path in self._noted if path.endswith("/")}
        for path in self._noted - directories - kept:
            self._unlink(path)
        # only now: an interrupted removal can be repeated
        self.place(self._record).unlink()
        for path in sorted(directories, reverse=True):
            place = self.place(path)
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()
        if not self._destdir:
            self._say(REMOVED_SYSTEMD if has_systemd() else REMOVED_SYSVINIT)

    def _say(self, text: str) -> None:
        print(text.format(prefix=self.prefix, destdir=self._destdir, config=self._config), end="")

    def _programs(self) -> dict[str, tuple[bytes, int]]:
        # not the interpreter of a virtual environment, which may disappear
        python = getattr(sys, "_base_executable", sys.executable)
        if python.startswith(("/home/", "/root/")):
            print(f"warning: services cannot run {python}; install with PYTHON=/usr/bin/python3", file=sys.stderr)
        files = {}
        for name, module in PROGRAMS.items():
            text = PROGRAM.format(python=python, modules=self._modules, module=module)
            files[f"{self.prefix}/bin/{name}"] = text.encode(), 0o755
        return files

    def _unlink(self, path: str) -> None:
        # check first: after an interrupted installation, the directory may be missing too
        if os.path.lexists(self.place(path)):
            self.place(path).unlink()

    def _put_modules(self, modules: Path) -> None:
        place = self.place(self._modules)
        new, old = place.with_name("modules.new"), place.with_name("modules.old")
        for leftover in (new, old):
            remove_tree(leftover)
        shutil.copytree(modules, new)
        if place.exists():
            place.rename(old)
        new.rename(place)
        remove_tree(old)

    def _note(self, files: Iterable[str]) -> None:
        """Record these files, the directories to create for them, and those created before."""
        paths = {self._record, *files}
        parents = {str(parent) for path in paths for parent in Path(path).parents}
        directories = {path for path in self._noted if path.endswith("/")}
        directories |= {f"{parent}/" for parent in parents if not self.place(parent).exists()}
        # record before creating, so an interrupted installation can be removed
        self.put({self._record: ("\n".join(sorted(paths | directories)).encode(), 0o644)})

    def _read_record(self) -> set[str]:
        record = self.place(self._record)
        return set(record.read_text().splitlines()) if record.exists() else set()

    def _is_config_changed(self) -> bool:
        config, shipped = self.place(self._config), self.place(self._shipped)
        return config.exists() and not (shipped.exists() and shipped.read_bytes() == config.read_bytes())


def has_systemd() -> bool:
    """Return whether this host runs systemd, sd_booted(3)."""
    return Path("/run/systemd/system").is_dir()


def remove_tree(folder: Path) -> None:
    """Remove a folder, if it exists."""
    if folder.exists():
        try:
            shutil.rmtree(folder)
        except OSError as error:
            # the error names only the last component of the path
            raise OSError(error.errno, error.strerror, str(folder)) from None


def fetch_modules(folder: Path) -> Path:
    """Return a folder with the modules and their dependencies, for the Python that runs this."""
    # in a temporary environment: the system may have no pip, and the user's environment must not change
    modules = folder / "modules"
    pip = [str(folder / "venv/bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    try:
        venv.create(folder / "venv", symlinks=True, with_pip=True)
        subprocess.run([*pip, "--no-user", "--target", str(modules), str(PROJECT)], check=True)
    except subprocess.CalledProcessError:
        raise SystemExit("error: pip failed, see above; nothing has changed") from None
    # programs that pip wrote for the temporary environment, which is removed with this folder
    shutil.rmtree(modules / "bin")
    return modules


def main() -> None:
    """Run `make install`, `make uninstall` or the installation of a package."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().partition("\n")[0])
    parser.add_argument("--prefix", default="/usr/local")
    parser.add_argument("--destdir", default="", metavar="DIR", help="root directory of the target system")
    parser.add_argument("--zshdir", metavar="DIR", help="directory of zsh completions")
    task = parser.add_mutually_exclusive_group()
    task.add_argument("--data", action="store_true", help="install all but the programs, which pip has installed")
    task.add_argument("--package", action="store_true", help="the same for a package, which has its own record")
    task.add_argument("--remove", action="store_true", help="remove what is recorded")
    options = parser.parse_args()
    # everyone may read the installation, whatever the umask of the installer
    os.umask(0o022)
    installation = Installation(options)
    try:
        if options.remove:
            installation.remove()
        elif options.package:
            installation.put(installation.data())
        else:
            installation.install(programs=not options.data)
    except OSError as error:
        raise SystemExit(f"error: {error.filename}: {error.strerror}") from None


if __name__ == "__main__":
    main()
