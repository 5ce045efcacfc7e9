"""The README's steps for a host without the package: the programs from pip, in an environment at /opt/daytimed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from container import PROJECT
from package import APT, Host, copy_tree

#: A container cannot reach the package index: the wheels come with the archive.
PIP = "export PIP_NO_INDEX=1 PIP_FIND_LINKS=/srv/wheels"


def readme() -> str:
    """Return the README's commands for it."""
    section = (PROJECT / "README.md").read_text().partition("\n## Install\n")[2].partition("\n## ")[0]
    lines = re.findall(r"^    (.*)$", section, re.MULTILINE)
    assert len(lines) == 3
    return " && ".join(lines)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an archive of the tree, with its wheel and those of its dependencies."""
    made = tmp_path_factory.mktemp("environment")
    tree = copy_tree(made / "tree")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--wheel-dir"]
    subprocess.run([*command, made / "wheels", tree, "hatchling"], check=True, stdin=subprocess.DEVNULL, timeout=600)
    subprocess.run(["tar", "-C", made, "-cf", made / "archive", "tree", "wheels"], check=True)
    return made / "archive"


@pytest.fixture(scope="module")
def host(suite: str, archive: Path) -> Iterator[Host]:
    with Host(suite, "environment") as booted:
        booted.run(f"{APT} install python3-venv tzdata")
        with archive.open("rb") as file:
            booted.run("tar -C /srv -xf -", stdin=file)
        booted.run(f"{PIP}; cd /srv/tree; {readme()}")
        yield booted


def test_the_service_runs_from_opt(host: Host) -> None:
    """The service runs in its whole sandbox without the tree and the modules of the system, also after a restart."""
    host.run("mv /srv/tree /srv/away; ! [ -e /usr/lib/python3/dist-packages/structlog ]")
    for action in ("restart", "reload"):
        host.run(f"systemctl {action} daytimed")
        assert host.run("/opt/daytimed/bin/daytime-get").startswith("The Date Time is: ")
    pid = host.run("systemctl show -P MainPID daytimed").strip()
    assert "/opt/daytimed/bin/daytimed" in host.run(f"tr '\\0' ' ' </proc/{pid}/cmdline")
    assert host.run(f"grep ^CapEff /proc/{pid}/status").split()[1] == "0" * 16
    assert host.run("systemctl is-enabled daytimed.socket daytimed.service").split() == ["enabled", "enabled"]
    assert host.run("systemctl list-units --state=failed --plain --no-legend 'dayt*'") == ""


def test_the_other_units_run_from_opt(host: Host) -> None:
    """The inetd units and the health check run from /opt too."""
    host.run("systemctl start daytime-get.service && systemctl stop daytimed.socket daytimed.service")
    host.run("systemctl start daytimed-inetd.socket")
    assert host.run("/opt/daytimed/bin/daytime-get").startswith("The Date Time is: ")
    host.run("systemctl start daytime-get.service")


def test_its_units_are_removed(host: Host) -> None:
    """A second installation keeps a changed configuration; removal leaves nothing else."""
    install = "/srv/away/packaging/install.py --prefix /opt/daytimed"
    host.run(f"echo '# mine' >>/etc/daytimed/daytimed.toml; {install} --data")
    host.run("systemctl disable --now daytimed.socket daytimed.service daytimed-inetd.socket")
    host.run(f"{install} --remove")
    assert host.run("tail -n 1 /etc/daytimed/daytimed.toml") == "# mine\n"
    left = host.run("find / -xdev \\( -path /opt -o -path /srv -o -path /proc \\) -prune -o -name '*dayt*' -print")
    assert left.split() == ["/etc/daytimed", "/etc/daytimed/daytimed.toml"]
