"""
The Debian package: the life of an installation, and the build.

The tests of a release follow that life: each begins where the previous one ends.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from clients import bring_load, none_is_lost
from container import PROJECT
from package import APT, NEXT_VERSION, SUITES, Host, build, copy_tree, in_builder, make_host, package

UNITS = "daytimed.socket daytimed.service"
CONFIG = "/etc/daytimed/daytimed.toml"


@pytest.fixture(scope="module")
def host(suite: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Boot a release that keeps its changes across a reboot, without the package."""
    root = tmp_path_factory.mktemp("life") / suite
    subprocess.run(["cp", "-ax", make_host(suite), root], check=True)
    with Host(suite, "life", root=root) as booted:
        bring_load(booted)
        yield booted


def states(host: Host, question: str, units: str = UNITS) -> list[str]:
    return host.run(f"systemctl {question} {units}", check=False).split()


def assert_it_serves(host: Host) -> None:
    assert host.run("daytime-get").startswith("The Date Time is: ")
    assert states(host, "is-active") == ["active", "active"]


def test_install_leaves_it_running(host: Host) -> None:
    """`apt install` of the file enables, starts and serves at once; optional units are installed and off."""
    host.install()
    assert_it_serves(host)
    assert states(host, "is-enabled") == ["enabled", "enabled"]
    optional = "daytimed-inetd.socket daytime-get.timer"
    assert states(host, "is-enabled", optional) == ["disabled", "disabled"]
    assert states(host, "is-active", optional) == ["inactive", "inactive"]
    assert states(host, "is-enabled", "daytimed-inetd@.service daytime-get.service") == ["static", "static"]
    assert host.run("daytimed --check") == f"{CONFIG}: ok\n"
    assert host.run("systemctl list-units --state=failed --plain --no-legend 'dayt*'") == ""
    assert host.run("journalctl -u daytimed -q --no-pager DAYTIMED_EVENT=listener_address_ignored") == ""


def test_what_comes_with_it_is_found(host: Host) -> None:
    """The manual, the catalog, the examples and the configuration are where their readers search for them."""
    host.until("journalctl -u daytimed -x --no-pager | grep 'Every listener has its workers'", "the event is explained")
    for page in ("daytimed.8", "daytime-get.1", "daytimed.toml.5"):
        name, section = page.rsplit(".", 1)
        assert host.run(f"MANWIDTH=100 man --warnings {section} {name} 2>&1 >/run/page") == ""
        text = host.run("cat /run/page")
        source = (PROJECT / "packaging/man" / page).read_text()
        for heading in re.findall(r"^\.Sh (.*)", source, re.MULTILINE):
            assert re.search(rf"^{heading}$", text, re.MULTILINE), f"{page}: {heading}"
    assert "daytimed" in host.run("man -k 'daytime'")
    assert "port-13.conf" in host.run("ls /usr/share/doc/daytimed/examples")
    assert host.run(f"cat {CONFIG}") == (PROJECT / "packaging/daytimed.toml").read_text()
    conffiles = host.run("dpkg-query -W -f '${Conffiles}' daytimed").split()[::2]
    assert sorted(conffiles) == [CONFIG, "/etc/init.d/daytimed", "/etc/ufw/applications.d/daytimed"]


#: For `daytimed --log-l`, bash and fish print their offers; zsh prints the registered completion and its file.
SHELLS = {
    "bash": """. /usr/share/bash-completion/bash_completion; COMP_WORDS=(daytimed --log-l) COMP_CWORD=1 COMP_LINE=\"$*\"
        _comp_load daytimed 2>/dev/null || _completion_loader daytimed; set -- $(complete -p daytimed)
        while [ $1 != -F ]; do shift; done; $2 daytimed --log-l daytimed; echo ${COMPREPLY[@]}""",
    "fish": "complete -C 'daytimed --log-l'",
    "zsh": "autoload -Uz compinit && compinit -u -D && whence -w $_comps[daytimed] && cat $^fpath/_daytimed(N)",
}


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shells_complete_its_options(host: Host, shell: str) -> None:
    """Each shell finds the completion of the package in its folder for packages."""
    # the tests of the manual have run: from here on, its index need not follow each package
    host.run("rm -f /var/lib/man-db/auto-update")
    host.run(f"{APT} install bash-completion zsh fish")
    script = SHELLS[shell].replace("'", "'\\''")
    told = host.run(f"{shell} -c '{script}'")
    print(told)
    assert "--log-level" in told


def test_the_environment_of_python_does_not_end_the_probe(host: Host) -> None:
    """Variables with which Python would not start, and exit with 1 (WARNING), change nothing about the probe."""
    variables = "PYTHONHASHSEED=x PYTHONHOME=/nowhere PYTHONPATH=/nowhere PYTHONIOENCODING=x"
    assert host.run(f"env {variables} daytime-get").startswith("The Date Time is: ")


def test_the_probe_without_its_modules_is_unknown(host: Host) -> None:
    """While an upgrade replaces the modules, the exit status is 3 (UNKNOWN), with one line and no traceback."""
    probe = "/usr/lib/python3/dist-packages/daytimed/probe"
    printed = host.run(f"mv {probe} {probe}.away; daytime-get 2>&1; echo $?; mv {probe}.away {probe}")
    assert printed == "daytime-get: cannot load its modules\n3\n"


def test_reload_works_and_waits(host: Host) -> None:
    """`systemctl reload` works on systemd 252 too, and waits for the end where systemd supports it."""
    host.run("systemctl reload daytimed")
    host.until("journalctl -u daytimed DAYTIMED_EVENT=daemon_reloaded -q --no-pager | grep .", "it has reloaded")
    knows = int(host.run("systemctl --version").split()[1]) >= 253
    assert knows == ("kill" not in host.run("systemctl show -P ExecReload daytimed"))


def test_it_is_back_after_a_reboot(host: Host) -> None:
    """After a reboot, the first client is served."""
    host.reboot()
    assert host.run("daytime-get").startswith("The Date Time is: ")
    host.until(f"systemctl is-active {UNITS}", "both run")


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (f"sed -i 's/^workers .*/workers = \"four\"/' {CONFIG}", "workers: "),
        (f"chmod 600 {CONFIG}", "Permission denied"),
        (f"rm {CONFIG} && mkdir {CONFIG}", "Is a directory"),
    ],
    ids=["value", "permissions", "folder"],
)
def test_an_upgrade_with_a_wrong_file_says_what_is_wrong(host: Host, break_it: str, reason: str) -> None:
    """An upgrade with a file that the service cannot load is complete, reports the error, and keeps the port open."""
    host.run(f"cp {CONFIG} /srv/kept && {break_it}")
    told = host.install(NEXT_VERSION)
    print(told)
    assert "\ndaytimed: warning: the service cannot start with this configuration:\n" in told
    assert re.search(rf"^daytimed: {CONFIG}: .*{reason}", told, re.MULTILINE)
    assert host.run("dpkg-query -W -f '${Status} ${Version}' daytimed") == f"install ok installed {NEXT_VERSION}-1"
    assert states(host, "is-active", "daytimed.socket") == ["active"]
    waiting = host.popen("exec daytime-get -t 60")
    host.run(f"rm -rf {CONFIG}; cp /srv/kept {CONFIG} && service daytimed restart")
    assert waiting.communicate(timeout=120)[0].startswith("The Date Time is: ")
    assert "daytimed: warning" not in host.install()
    assert_it_serves(host)


def test_an_upgrade_under_load_loses_nobody(host: Host) -> None:
    """An upgrade under load serves all clients and keeps the configuration of the administrator."""
    host.run(f"sed -i 's/^level = .*/level = \"warning\"/' {CONFIG} && systemctl reload daytimed")
    pid = host.run("systemctl show -P MainPID daytimed")
    with none_is_lost(host):
        host.install(NEXT_VERSION)
    assert host.run("systemctl show -P MainPID daytimed") != pid, "the new version does not run"
    assert NEXT_VERSION in host.run("daytimed --version")
    assert 'level = "warning"' in host.run(f"cat {CONFIG}")
    assert_it_serves(host)
    assert states(host, "is-enabled") == ["enabled", "enabled"]


def test_another_version_keeps_off_what_is_off(host: Host) -> None:
    """Another version leaves disabled units disabled, and enabled ones running."""
    others = "daytimed-inetd.socket daytime-get.timer"
    host.run(f"systemctl disable --now {UNITS} && systemctl enable --now {others}")
    host.install()
    for question, off, on in (("is-enabled", "disabled", "enabled"), ("is-active", "inactive", "active")):
        assert states(host, question) == [off, off]
        assert states(host, question, others) == [on, on]
    assert host.run("daytime-get").startswith("The Date Time is: ")
    host.run(f"systemctl disable --now {others} && systemctl enable --now {UNITS}")


def test_remove_stops_it_and_keeps_the_configuration(host: Host) -> None:
    """After removal nothing runs or listens, not even units that the administrator started; the conffile stays."""
    host.run("systemctl enable --now daytime-get.timer")
    host.run(f"{APT} remove daytimed")
    assert host.run("ss -Hltn 'sport = 6000'") == ""
    assert host.run("pgrep -f '[b]in/daytimed'", check=False) == ""
    assert host.run("systemctl list-units --all --plain --no-legend --state=active 'dayt*'") == ""
    assert host.run("ls /etc/daytimed").split() == ["daytimed.toml"]


#: Everything a package could leave, without kernel file systems, files that others keep writing, and dpkg's records.
SURVEY = r"""
find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /tmp -o -path /var/log/journal -o -path /run/log \
    -o -path /var/cache/apt -o -path /var/lib/apt -o -path /run/systemd/units -o -path /run/udev -o -path /srv \) \
    -prune \
    -o -printf '%M %u:%g %p %l\n' | grep -Ev ' (/var/(log|cache|lib/dpkg|backups)|/run/systemd/journal/streams)/' | sort
find /run/systemd/generator* -printf '%p %l\n' | sort
getent passwd; getent group
systemctl list-unit-files --no-legend | sort
journalctl --list-catalog | sort
ss -Hltnu
"""


@pytest.mark.skipif(set(SUITES) != {"bookworm", "trixie"}, reason="needs both Debian 12 and 13")
def test_purge_leaves_nothing(host: Host) -> None:
    """
    After use, reload, enable, disable and purge, files, links, users, units and catalog are as before.

    The package was built on the other release: one file works on both.
    """
    host.run(f"{APT} purge daytimed")
    before = host.run(SURVEY).splitlines()
    assert len(before) > 5000
    other = "trixie" if host.suite == "bookworm" else "bookworm"
    host.install(built_on=other)
    assert_it_serves(host)
    assert host.run("dpkg --verify daytimed") == ""
    during = set(host.run(SURVEY).splitlines()) - set(before)
    print(f"{len(before)} lines before, {len(during)} more while it is installed")
    assert len(during) > 50
    host.run("systemctl enable --now daytime-get.timer; systemctl reload daytimed; systemctl restart daytimed")
    host.run("systemctl disable --now daytimed.service daytimed.socket; systemctl enable --now daytimed-inetd.socket")
    assert host.run("daytime-get").startswith("The Date Time is: ")
    host.run("systemctl stop daytimed-inetd.socket")
    host.fails("systemctl start daytime-get.service")
    host.run(f"{APT} purge daytimed")
    assert "dayt" not in host.run("systemctl list-units --failed --plain --no-legend")
    after = host.run(SURVEY).splitlines()
    assert (set(after) - set(before), set(before) - set(after)) == (set(), set())
    assert "dayt" not in host.run("ls -R /etc /var/lib/systemd /var/lib/dpkg/info")
    # the empty slice of the instances belongs to systemd
    assert "dayt" not in host.run("systemctl list-units --all --plain --no-legend --type=service,socket,timer")


def test_its_own_test_passes(host: Host, tmp_path: Path) -> None:
    """Autopkgtest installs the file, and the test in the source package passes."""
    host.run(f"{APT} install autopkgtest dpkg-dev")
    tree = copy_tree(tmp_path / "tree")
    shutil.copytree(tree / "packaging/debian", tree / "debian")
    subprocess.run(["tar", "-C", tree, "-cf", tmp_path / "archive", "."], check=True)
    host.copy(tmp_path / "archive", "/srv/tree/archive")
    file = package(host.suite)
    host.copy(file, f"/srv/{file.name}")
    restrictions = "--ignore-restrictions=isolation-container"
    printed = host.run(f"cd /srv/tree && tar -xf archive && autopkgtest {restrictions} -B /srv/{file.name} . -- null")
    print(printed)
    assert re.search(r"^smoke +PASS$", printed, re.MULTILINE)


# -- the build -------------------------------------------------------------------------------------------------------


def test_the_tests_ran_when_it_was_built(suite: str) -> None:
    """The build runs the unit tests on the Python and libraries of the release."""
    log = (build(suite) / "build.log").read_text()
    (passed,) = re.findall(r"^=+ (\d+) passed.* in .*=+$", log, re.MULTILINE)
    print(suite, passed, "passed")
    assert int(passed) > 1000


def test_lintian_says_nothing(suite: str) -> None:
    """With every tag on, lintian reports nothing except overridden tags, which the overrides file explains."""
    lintian = "lintian --no-cfg -EvIL +pedantic --show-overrides --fail-on none *.changes"
    printed = in_builder(suite, lintian, build(suite), "/srv/dist")
    print(printed)
    assert re.findall(r"^[EWIPXC]: .*", printed, re.MULTILINE) == []
    assert "O: daytimed: executable-in-usr-lib" in printed, "lintian shows the overridden tags"


def test_two_builds_are_bit_identical(suite: str, tmp_path: Path) -> None:
    """Another folder, umask, time zone, language and time give the same bytes, and `make deb` creates only dist/."""
    tree = copy_tree(tmp_path / "tree")
    before = set(tree.rglob("*"))
    settings = "umask 077; export TZ=Asia/Kolkata LC_ALL=C.UTF-8 HOME=/ DEB_BUILD_OPTIONS=nocheck;"
    in_builder(suite, f"{settings} make deb", tree, "/home/somebody/else")
    files = [package(suite), *(tree / "dist").glob("*.deb")]
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    print(suite, *digests)
    assert len(digests) == 2
    assert digests[0] == digests[1]
    left = {path.relative_to(tree).parts[0] for path in set(tree.rglob("*")) - before}
    assert left == {"dist"}
