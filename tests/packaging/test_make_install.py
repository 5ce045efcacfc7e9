"""`make install` and `make uninstall`: real runs in a copy of the tree, with DESTDIR as the root of another host."""

from __future__ import annotations

import importlib.util
import os
import shutil
import stat
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
from harness import clean_environment, program, run, serving

from daytimed import __version__

PROJECT = Path(__file__).parents[2]
MAKE_S = 180.0
CONFIG = "etc/daytimed/daytimed.toml"


class Installed(NamedTuple):
    """A root with an installation, the final prefix, the tree, and the content of the root before."""

    root: Path
    prefix: Path
    tree: Path
    before: dict[str, tuple[str, bytes]]

    def place(self, path: str) -> Path:
        return Path(f"{self.root}{self.prefix}/{path}")


def survey(root: Path) -> dict[str, tuple[str, bytes]]:
    """Return the mode and the content of everything in a root."""
    return {
        str(path.relative_to(root)): (stat.filemode(path.lstat().st_mode), path.read_bytes() if path.is_file() else b"")
        for path in (root, *root.rglob("*"))
    }


def make(tree: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run make with a umask of 077 and the Python of a virtual environment."""
    return subprocess.run(
        ["make", "-s", f"PYTHON={sys.executable}", *arguments], cwd=tree, umask=0o077, timeout=MAKE_S, check=False,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=clean_environment({"COVERAGE_PROCESS_CONFIG": "", **environment}),
    )  # fmt: skip


def copy_tree(to: Path) -> Path:
    ignored = shutil.ignore_patterns(".*", "__pycache__", "build", "dist")
    return Path(shutil.copytree(PROJECT, to, ignore=ignored, symlinks=True))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Install into a DESTDIR with a blank, relative to the tree, and a PREFIX that ends with a slash."""
    folder = tmp_path_factory.mktemp("install")
    tree, root, prefix = copy_tree(folder / "tree"), folder / "the root", folder / "prefix"
    # files of other programs
    for path in ("etc/init.d/other", "usr/local/lib/systemd/system/other.service"):
        (root / path).parent.mkdir(parents=True)
        (root / path).write_text("other\n")
    before, before_tree = survey(root), survey(tree)
    done = make(tree, "install", f"PREFIX={prefix}/", "DESTDIR=../the root")
    print(done.stdout)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-7:] == [
        f"Installed in {root}, for a host that has it as its root. There, run:",
        "    systemctl daemon-reload && systemctl enable --now daytimed.socket daytimed.service",
        "or, without systemd:",
        "    /etc/init.d/daytimed start",
        "Ask it:",
        f"    {prefix}/bin/daytime-get",
        f"Configuration: /etc/daytimed/daytimed.toml. Manual: man -M {prefix}/share/man daytimed",
    ]
    assert survey(tree) == before_tree, "the tree does not change"
    # the prefix leads into the root, as on the target host
    prefix.symlink_to(f"{root}{prefix}")
    return Installed(root, prefix, tree, before)


def test_it_runs_without_the_tree(installed: Installed) -> None:
    """Both programs run with their installed modules, which are compiled: a run as root adds no file."""
    whole = survey(installed.root)
    installed.tree.rename(installed.tree.with_name("elsewhere"))
    try:
        with serving(program=[f"{installed.prefix}/bin/daytimed"]) as daemon:
            told = run(f"{installed.prefix}/bin/daytime-get", f"127.0.0.1:{daemon.port()}")
            assert told.stdout.startswith(b"The Date Time is: ")
        for name in ("daytimed", "daytime-get"):
            done = run(f"{installed.prefix}/bin/{name}", "--version", env=clean_environment({"PYTHONPATH": "/nowhere"}))
            assert done.stdout.decode() == f"{name} {__version__}\n"
        pidfile = installed.root.parent / "pid"
        # python-daemon is installed too
        done = run(f"{installed.prefix}/bin/daytimed", "--daemon", "--pidfile", str(pidfile), "-l", "127.0.0.1:-1")
        assert b"-1" in done.stderr
    finally:
        installed.tree.with_name("elsewhere").rename(installed.tree)
    assert survey(installed.root) == whole


def test_everyone_may_read_it(installed: Installed) -> None:
    """Everyone may read the files, whatever the umask: services run as other users."""
    for path, (mode, _) in survey(installed.root).items():
        if path not in installed.before:
            assert mode in ("-rw-r--r--", "-rwxr-xr-x", "drwxr-xr-x"), path


def test_the_programs_do_not_need_the_environment_that_installed_them(installed: Installed) -> None:
    """The first line names the Python of the system, not of the environment; no program names the root."""
    for name in ("daytimed", "daytime-get"):
        text = installed.place(f"bin/{name}").read_text()
        assert not text.startswith(f"#!{sys.prefix}/") or sys.prefix == sys.base_prefix
        assert "the root" not in text


def test_units_and_scripts_name_the_programs_where_they_are(installed: Installed) -> None:
    """No file names /usr/bin/daytimed, and systemd-analyze verify accepts the units."""
    for path, (_, content) in survey(installed.root).items():
        assert b"/usr/bin/day" not in content or "/modules/" in path, path
    assert f"DAEMON={installed.prefix}/bin/daytimed\n" in (installed.root / "etc/init.d/daytimed").read_text()
    units = sorted((installed.root / "usr/local/lib/systemd/system").glob("dayt*"))
    assert len(units) == 6
    done = run(program("systemd-analyze"), "verify", "--man=no", *map(str, units))
    assert done.returncode == 0, done.stderr


def test_the_manuals_are_found(installed: Installed) -> None:
    """man(1) finds each manual below the prefix."""
    pages = run(program("man"), "-M", f"{installed.prefix}/share/man", "-w", "daytimed", "daytime-get", "daytimed.toml")
    assert len(pages.stdout.splitlines()) == 3, pages.stderr


@pytest.fixture
def copy(installed: Installed, tmp_path: Path) -> Installed:
    """Return a copy of the installation."""
    return installed._replace(root=Path(shutil.copytree(installed.root, tmp_path / "root", symlinks=True)))


def test_uninstall_leaves_what_was_there(copy: Installed) -> None:
    """Uninstall restores the root exactly; a second run reports why it does nothing."""
    where = (f"PREFIX={copy.prefix}", f"DESTDIR={copy.root}")
    done = make(copy.tree, "uninstall", *where)
    assert (done.returncode, done.stdout) == (0, "")
    assert survey(copy.root) == copy.before
    done = make(copy.tree, "uninstall", *where)
    assert done.returncode != 0
    assert done.stdout.startswith(
        f"error: no {copy.root}{copy.prefix}/lib/daytimed/installed: use the PREFIX and DESTDIR of `make install`\n"
    )


@pytest.fixture
def installer(installed: Installed, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Return the script as a module; it uses the environment of the tests in place of a new one with pip."""
    spec = importlib.util.spec_from_file_location("installer", installed.tree / "packaging/install.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(venv, "create", lambda path, **_: path.symlink_to(sys.prefix))
    umask = os.umask(0o022)
    yield module
    os.umask(umask)


@pytest.fixture
def fetched(installer: ModuleType, installed: Installed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the modules that pip has fetched already."""
    monkeypatch.setattr(installer, "fetch_modules", lambda folder: installed.place("lib/daytimed/modules"))


def install(installer: ModuleType, monkeypatch: pytest.MonkeyPatch, copy: Installed, *options: str) -> None:
    where = ("--prefix", str(copy.prefix), "--destdir", str(copy.root))
    monkeypatch.setattr(sys, "argv", ["install.py", *where, *options])
    installer.main()


def test_a_failed_pip_changes_nothing(copy: Installed, installer: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a package index, pip fails: the script reports it, and the installation does not change."""
    whole = survey(copy.root)
    for name, value in (("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", ""), ("PIP_CONFIG_FILE", os.devnull)):
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit, match=r"^error: pip failed, see above; nothing has changed$"):
        install(installer, monkeypatch, copy)
    assert survey(copy.root) == whole


@pytest.mark.usefixtures("fetched")
def test_a_new_version_replaces_the_old_one(
    copy: Installed, installer: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An upgrade removes obsolete files and keeps a changed configuration; so does `make uninstall`."""
    obsolete = f"{copy.prefix}/share/obsolete/file"
    record = copy.place("lib/daytimed/installed")
    record.write_text(f"{record.read_text()}\n{obsolete}\n{copy.prefix}/share/obsolete/")
    copy.place("share/obsolete").mkdir()
    copy.place("share/obsolete/file").touch()
    copy.place("bin/daytimed").write_text("old")
    copy.place("lib/daytimed/modules/old.py").touch()
    config = copy.root / CONFIG
    config.write_text("workers = 1\n")
    install(installer, monkeypatch, copy)
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"kept: {config}; the new file is {copy.root}{copy.prefix}/lib/daytimed/daytimed.toml"
    )
    assert not copy.place("share/obsolete/file").exists()
    assert not copy.place("lib/daytimed/modules/old.py").exists()
    assert copy.place("bin/daytimed").read_bytes() != b"old"
    assert config.read_text() == "workers = 1\n"
    # a file of another program, in a directory that the installation created
    copy.place("share/doc/theirs").touch()
    install(installer, monkeypatch, copy, "--remove")
    assert capsys.readouterr().err == f"kept: {config}\n"
    left = set(survey(copy.root)) - set(copy.before)
    theirs = copy.place("share/doc/theirs").relative_to(copy.root)
    expected = {CONFIG, "etc/daytimed", str(theirs)} | {str(each) for each in theirs.parents if each.name}
    assert left == expected


@pytest.mark.usefixtures("fetched")
@pytest.mark.parametrize("systemd", [True, False])
def test_what_comes_next_is_said(
    copy: Installed, installer: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    systemd: bool,
) -> None:  # fmt: skip
    """Without DESTDIR, the last words are the commands that start it or end it, for this host's init."""
    monkeypatch.setattr(installer, "has_systemd", lambda: systemd)
    monkeypatch.setattr(installer.Installation, "place", lambda self, path: Path(f"{copy.root}{path}"))
    for task, begin, command in (
        ((), "Installed. Start it now", "systemctl enable --now" if systemd else "/etc/init.d/daytimed restart"),
        (("--remove",), "Removed. End what still runs", "systemctl disable --now" if systemd else "kill $(cat /run/"),
    ):
        monkeypatch.setattr(sys, "argv", ["install.py", "--prefix", str(copy.prefix), *task])
        installer.main()
        told = capsys.readouterr().out
        assert told.startswith(begin)
        assert f"\n    {command}" in told
        assert ("init.d" in told) is (not systemd and not task)
        assert (f"    {copy.prefix}/bin/daytime-get\n" in told) is (not task)


@pytest.mark.usefixtures("fetched")
def test_an_unchanged_configuration_follows_the_version(
    copy: Installed, installer: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upgrade replaces a configuration that nobody has changed."""
    config = copy.root / CONFIG
    for path in (config, copy.place("lib/daytimed/daytimed.toml")):
        path.write_text("# of an older version\n")
    install(installer, monkeypatch, copy)
    assert config.read_bytes() == (PROJECT / "packaging/daytimed.toml").read_bytes()


@pytest.mark.usefixtures("fetched")
def test_files_of_others_are_not_replaced(
    tmp_path: Path, installed: Installed, installer: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a file of another package is in the way, such as an init script, nothing is installed."""
    other = tmp_path / "etc/init.d/daytimed"
    other.parent.mkdir(parents=True)
    other.touch()
    before = survey(tmp_path)
    with pytest.raises(SystemExit) as raised:
        install(installer, monkeypatch, installed._replace(root=tmp_path))
    assert str(raised.value) == f"error: {other} exists, and this script did not install it: remove what did"
    assert survey(tmp_path) == before


@pytest.mark.usefixtures("fetched")
def test_what_is_left_half_done_can_be_removed(
    tmp_path: Path, installed: Installed, installer: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are recorded before they are created: an interrupted installation can be removed completely."""
    before = survey(tmp_path)
    half = installed._replace(root=tmp_path)
    blocking = tmp_path / "usr/local/lib"
    blocking.parent.mkdir(parents=True)
    blocking.touch()
    with pytest.raises(SystemExit, match=r"^error: .*/usr/local/lib.*: Not a directory$"):
        install(installer, monkeypatch, half)
    assert half.place("lib/daytimed/modules/daytimed").is_dir()
    install(installer, monkeypatch, half, "--remove")
    blocking.unlink()
    blocking.parent.rmdir()
    blocking.parent.parent.rmdir()
    assert survey(tmp_path) == before


@pytest.mark.parametrize("prefix", ["", "usr", "/opt/my programs", "/", "//usr", "/o%t"])
def test_a_prefix_that_cannot_work_is_reported(prefix: str) -> None:
    """A prefix that units, scripts and interpreter lines cannot contain is an error."""
    done = make(PROJECT, "install", f"PREFIX={prefix}", "DESTDIR=/nonexistent/root")
    sentence = f"error: PREFIX={prefix}: must be an absolute path of A-Z a-z 0-9 _ . + -\n"
    assert done.stdout.startswith(sentence)


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_without_the_permission_it_says_where(installed: Installed) -> None:
    """A user without write permission gets one line that names the path, before anything changes."""
    whole = survey(installed.root)
    script = [str(installed.tree / "packaging/install.py"), "--prefix", str(installed.prefix)]
    done = run(
        "setpriv", "--reuid=54323", "--regid=54323", "--clear-groups", "--inh-caps=+dac_read_search",
        "--ambient-caps=+dac_read_search", "--bounding-set=-all,+dac_read_search",
        sys.executable, *script, "--destdir", str(installed.root), "--remove",
        # this user cannot write coverage data
        env=clean_environment({"COVERAGE_PROCESS_CONFIG": ""}),
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.decode() == f"error: {installed.place('lib/daytimed/modules')}: Permission denied\n"
    assert survey(installed.root) == whole
