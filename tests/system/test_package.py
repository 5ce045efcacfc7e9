"""The Debian package: built in a clean Debian, installed, upgraded, removed and purged in booted ones."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import SUITES
from container import PROJECT, Container, make_root

from daytimed import __version__

#: Together more than 10,000 clients; as often as an upgrade needs.
THREADS, CLIENTS = 16, 2500
NEXT_VERSION = "99.0"
CONTROL = PROJECT / "packaging/debian/control"
#: What the package depends on comes with the root as archives only: its network is its own.
DEPENDENCIES = "python3 python3-structlog python3-daemon tzdata"
INSTALL = "env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq"
DOWNLOADED = (
    "--skip=cleanup/apt",
    f"--customize-hook=chroot $1 {INSTALL} --install-recommends --download-only {DEPENDENCIES} >/dev/null",
)
UNITS = "daytimed.socket daytimed.service"
#: What lintian may say: there is no script for other inits yet, and no manual while packaging/man has no pages.
EXPLAINED = {"package-supports-alternative-init-but-no-init.d-script"}
if not list((PROJECT / "packaging/man").glob("*.[158]")):
    EXPLAINED.add("no-manual-page")


def make_build_root(suite: str) -> Path:
    """Return a release with what the package says that it needs to be built, and nothing more but lintian."""
    fields = hashlib.sha256(CONTROL.read_bytes()).hexdigest()
    hooks = (
        f"--customize-hook=mkdir -p $1/root/{fields}/debian && cp {CONTROL} $1/root/{fields}/debian/",
        f"--customize-hook=chroot $1 apt-get build-dep -y -qq --no-install-recommends /root/{fields} >/dev/null",
    )
    return make_root(suite, "build", "build-essential,lintian,procps,iproute2", hooks)


def in_build_root(suite: str, command: str, place: Path, inside: str) -> str:
    """Run a command in a clean release, with a folder of the host's at another path inside."""
    done = subprocess.run(
        [
            "systemd-nspawn", "--quiet", f"--directory={make_build_root(suite)}", f"--machine=daytimed-build-{suite}",
            "--register=no", "--keep-unit", "--private-network", "--volatile=overlay", f"--bind={place}:{inside}",
            "--system-call-filter=adjtimex clock_adjtime", "--console=pipe", "sh", "-c",
            f"ip link set lo up; cd {inside} && {command}",
        ],
        check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def copy_tree(to: Path) -> Path:
    shutil.copytree(
        PROJECT,
        to,
        ignore=shutil.ignore_patterns(".*", "__pycache__", "build", "dist"),
        symlinks=True,
        dirs_exist_ok=True,
    )
    return to


@functools.cache
def keep() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


@functools.cache
def build(suite: str, version: str = __version__, inside: str = "/srv/daytimed", settings: str = "") -> Path:
    """Build a version of the package, and return its file."""
    place = copy_tree(Path(tempfile.mkdtemp(dir=keep().name)))
    if version != __version__:
        init, changelog = place / "daytimed/__init__.py", place / "packaging/debian/changelog"
        init.write_text(init.read_text().replace(__version__, version))
        entries = changelog.read_text()
        changelog.write_text(entries.replace(__version__, version, 1) + "\n" + entries)
    in_build_root(suite, f"{settings} make deb", place, inside)
    (package,) = (place / "dist").glob("daytimed_*_all.deb")
    return package


@pytest.fixture(params=SUITES)
def suite(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def make_host(suite: str, *packages: Path) -> Path:
    """Return the root of a fresh release that has the packages in /srv, not installed, and the load."""
    root = make_root(suite, "package", "systemd,systemd-sysv,dbus,iproute2,procps", DOWNLOADED)
    for old in (root / "srv").iterdir():
        old.unlink()
    for package in packages:
        shutil.copy(package, root / "srv")
    shutil.copy(PROJECT / "tests/functional/load.py", root / "srv")
    shutil.copy(PROJECT / "packaging/debian/tests/smoke", root / "srv")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    return root


@pytest.fixture
def host(suite: str) -> Iterator[Container]:
    """Boot a fresh release with the package in /srv."""
    with Container(make_host(suite, build(suite), build(suite, NEXT_VERSION)), f"daytimed-package-{suite}") as booted:
        yield booted


def install(host: Container, version: str = __version__) -> None:
    host.run(f"{INSTALL} /srv/daytimed_{version}-1_all.deb")


def states(host: Container, question: str, units: str) -> list[str]:
    return host.run(f"systemctl {question} {units}", check=False).split()


def test_versions_are_one() -> None:
    """The newest entry of the package's changelog is of the version of the program."""
    newest = (PROJECT / "packaging/debian/changelog").read_text().split("\n", 1)[0]
    assert newest.startswith(f"daytimed ({__version__}-")


def test_install_leaves_it_running(host: Container) -> None:
    """`apt install` of the file alone: running, enabled, answering at once; what is optional is there and off."""
    install(host)
    assert host.run("daytime-get").startswith("The Date Time is: ")
    assert states(host, "is-active", UNITS) == ["active", "active"]
    assert states(host, "is-enabled", UNITS) == ["enabled", "enabled"]
    optional = "daytimed-inetd.socket daytime-get.timer"
    assert states(host, "is-enabled", optional) == ["disabled", "disabled"]
    assert states(host, "is-active", optional) == ["inactive", "inactive"]
    assert states(host, "is-enabled", "daytimed-inetd@.service daytime-get.service") == ["static", "static"]
    assert host.run("daytimed --check") == "/etc/daytimed/daytimed.toml: ok\n"
    assert host.run("systemctl list-units --state=failed --plain --no-legend 'dayt*'") == ""
    # the catalog is in use, the example of the service is where the README says
    host.until("journalctl -u daytimed -x --no-pager | grep 'Every listener has its workers'", "the event is explained")
    assert "port-13.conf" in host.run("ls /usr/share/doc/daytimed/examples")
    assert host.run("cat /etc/daytimed/daytimed.toml") == (PROJECT / "packaging/daytimed.toml").read_text()
    assert host.run("dpkg-query -W -f '${Conffiles}' daytimed").split()[0] == "/etc/daytimed/daytimed.toml"


def test_reload_works_and_waits(host: Container) -> None:
    """`systemctl reload` works on systemd 252 too, and where systemd knows how to wait for it nothing hinders that."""
    install(host)
    host.run("systemctl reload daytimed")
    host.until("journalctl -u daytimed DAYTIMED_EVENT=daemon_reloaded -q --no-pager | grep .", "it has reloaded")
    knows = int(host.run("systemctl --version").split()[1]) >= 253
    assert knows == ("kill" not in host.run("systemctl show -P ExecReload daytimed"))


def test_it_is_back_after_a_reboot(suite: str, tmp_path: Path) -> None:
    """Installed, powered off, booted again: the first client is answered."""
    root = tmp_path / "root"
    subprocess.run(["cp", "-a", make_host(suite, build(suite)), root], check=True)
    with Container(root, f"daytimed-reboot-{suite}", volatile=False) as host:
        install(host)
    with Container(root, f"daytimed-reboot-{suite}", volatile=False) as host:
        assert host.run("daytime-get").startswith("The Date Time is: ")
        host.until(f"systemctl is-active {UNITS}", "both run")


def test_an_upgrade_under_load_loses_nobody(host: Container) -> None:
    """A new version replaces the old one while clients come: all of them are served, and the new one serves."""
    install(host)
    # a setting of the administrator's
    host.run("sed -i 's/^level = .*/level = \"warning\"/' /etc/daytimed/daytimed.toml && systemctl reload daytimed")
    pid = host.run("systemctl show -P MainPID daytimed")
    rounds = f"until [ -e /run/upgraded ]; do python3 /srv/load.py 6000 {THREADS} {CLIENTS} && echo || exit 1; done"
    load = host.popen(rounds)
    install(host, NEXT_VERSION)
    host.run("touch /run/upgraded")
    printed, _ = load.communicate(timeout=300)
    print("outcomes of the clients:", printed)
    assert load.returncode == 0
    outcomes = [json.loads(line) for line in printed.splitlines()]
    assert max(each.pop("longest_s") for each in outcomes) < 30, "a client waited as long as nobody would"
    assert sum(each.pop("seconds") for each in outcomes) > 0
    assert outcomes == [{"whole": THREADS * CLIENTS}] * len(outcomes)
    assert len(outcomes) >= 1
    assert host.run("systemctl show -P MainPID daytimed") != pid, "the new version does not run"
    assert NEXT_VERSION in host.run("daytimed --version")
    assert 'level = "warning"' in host.run("cat /etc/daytimed/daytimed.toml")
    assert states(host, "is-active", UNITS) == ["active", "active"]
    assert states(host, "is-enabled", UNITS) == ["enabled", "enabled"]


def test_an_upgrade_keeps_off_what_is_off(host: Container) -> None:
    """Units that the administrator has disabled stay so, those that are enabled as well."""
    install(host)
    host.run(f"systemctl disable {UNITS} && systemctl enable daytime-get.timer")
    install(host, NEXT_VERSION)
    assert states(host, "is-enabled", UNITS) == ["disabled", "disabled"]
    assert states(host, "is-enabled", "daytime-get.timer") == ["enabled"]


def test_remove_stops_it_and_keeps_the_configuration(host: Container) -> None:
    """Removed: nothing of it runs or listens, not even what the administrator has started; the conffile stays."""
    install(host)
    host.run("systemctl enable --now daytime-get.timer")
    host.run("DEBIAN_FRONTEND=noninteractive apt-get remove -y -qq daytimed")
    assert host.run("ss -Hltn 'sport = 6000'") == ""
    assert host.run("pgrep -f '[b]in/daytimed'", check=False) == ""
    assert host.run("systemctl list-units --all --plain --no-legend --state=active 'dayt*'") == ""
    assert host.run("ls /etc/daytimed").split() == ["daytimed.toml"]
    # and back
    install(host)
    assert host.run("daytime-get").startswith("The Date Time is: ")


#: Everything a package could leave; without the kernel's, what others write all the time, and what dpkg and apt note.
SURVEY = r"""
find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /tmp -o -path /var/log/journal -o -path /run/log \
    -o -path /var/cache/apt -o -path /var/lib/apt -o -path /run/systemd/units -o -path /run/udev \) -prune \
    -o -printf '%M %u:%g %p %l\n' | grep -Ev ' (/var/(log|cache|lib/dpkg|backups)|/run/systemd/journal/streams)/' | sort
find /run/systemd/generator* -printf '%p %l\n' | sort
getent passwd; getent group
systemctl list-unit-files --no-legend | sort
journalctl --list-catalog | sort
ss -Hltnu
"""


def test_purge_leaves_nothing(host: Container) -> None:
    """Used, reloaded, switched on and off, and purged: files, links, users, units and catalog are as before."""
    host.run(f"{INSTALL} {DEPENDENCIES}")
    before = host.run(SURVEY).splitlines()
    assert len(before) > 5000
    install(host)
    during = set(host.run(SURVEY).splitlines()) - set(before)
    print(f"{len(before)} lines before, {len(during)} more while it is installed")
    assert len(during) > 50
    host.run("systemctl enable --now daytime-get.timer; systemctl reload daytimed; systemctl restart daytimed")
    host.run("systemctl disable --now daytimed.service daytimed.socket; systemctl enable --now daytimed-inetd.socket")
    assert host.run("daytime-get").startswith("The Date Time is: ")
    host.run("DEBIAN_FRONTEND=noninteractive apt-get purge -y -qq daytimed")
    after = host.run(SURVEY).splitlines()
    assert (set(after) - set(before), set(before) - set(after)) == (set(), set())
    assert "dayt" not in host.run("ls -R /etc /var/lib/systemd /var/lib/dpkg/info")
    # the empty slice of the instances is systemd's
    assert "dayt" not in host.run("systemctl list-units --all --plain --no-legend --type=service,socket,timer")


@pytest.mark.skipif(set(SUITES) != {"bookworm", "trixie"}, reason="it is about Debian 12 and 13")
def test_one_file_serves_both_releases() -> None:
    """The package that was built on Debian 12 runs and reloads on 13, and 13's replaces it there, and the reverse."""
    for there, here in (("bookworm", "trixie"), ("trixie", "bookworm")):
        root = make_host(here, build(there), build(here, NEXT_VERSION))
        with Container(root, f"daytimed-other-{here}") as host:
            install(host)
            # the test that the package brings along for autopkgtest
            print(host.run("/srv/smoke"))
            install(host, NEXT_VERSION)
            assert host.run("systemctl reload daytimed && daytime-get").startswith("The Date Time is: ")
            assert host.run("dpkg --verify daytimed") == ""


def test_lintian_says_nothing_that_is_not_explained(suite: str) -> None:
    """With every tag there is switched on."""
    folder = build(suite).parent
    printed = in_build_root(
        suite, "lintian --no-cfg -EvIL +pedantic --show-overrides --fail-on none *.changes", folder, "/srv/dist"
    )
    print(printed)
    tags = re.findall(r"^[EWIPXC]: daytimed: (\S+)", printed, re.MULTILINE)
    assert set(tags) <= EXPLAINED
    assert "O: daytimed: executable-in-usr-lib" in printed, "what is overridden is seen"


def test_two_builds_are_bit_identical(suite: str) -> None:
    """Another folder, umask, time zone and language, and another time: the same bytes."""
    other = build(
        suite, inside="/home/somebody/else", settings="umask 077; export TZ=Asia/Kolkata LC_ALL=C.UTF-8 HOME=/;"
    )
    first, second = (hashlib.sha256(package.read_bytes()).hexdigest() for package in (build(suite), other))
    print(suite, first)
    assert first == second


def test_the_tree_stays_clean(tmp_path: Path) -> None:
    """`make deb` leaves dist/ behind and nothing else."""
    suite = SUITES[0]
    place = copy_tree(tmp_path / "tree")
    before = sorted(os.fspath(path) for path in place.rglob("*"))
    in_build_root(suite, "make deb", place, "/srv/daytimed")
    after = sorted(os.fspath(path) for path in place.rglob("*"))
    left = [path for path in after if path not in before]
    assert left
    assert all(Path(path).relative_to(place).parts[0] == "dist" for path in left)
