"""What the README says for a host without the package: the programs from pip, in an environment at /opt/daytimed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from package import APT, Host, copy_tree

#: The network of a container is its own: pip comes in a wheel too, and the wheels come with the root.
INSTALL = """
cd /srv/tree &&
python3 -m venv --without-pip /opt/daytimed &&
PYTHONPATH=$(echo /srv/wheels/pip-*.whl) /opt/daytimed/bin/python -m pip install --quiet --no-index \
    --find-links /srv/wheels daytimed &&
packaging/install.py --data --prefix /opt/daytimed &&
systemctl daemon-reload && systemctl enable --now daytimed.socket daytimed.service
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an archive of the tree and of the wheels of it, of what it needs, and of pip."""
    made = tmp_path_factory.mktemp("environment")
    tree = copy_tree(made / "tree")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--wheel-dir"]
    subprocess.run([*command, made / "wheels", tree, "pip"], check=True, stdin=subprocess.DEVNULL, timeout=180)
    subprocess.run(["tar", "-C", made, "-cf", made / "archive", "tree", "wheels"], check=True)
    return made / "archive"


@pytest.fixture(scope="module")
def host(suite: str, archive: Path) -> Iterator[Host]:
    with Host(suite, "environment") as booted:
        booted.run(f"{APT} install python3 tzdata")
        with archive.open("rb") as file:
            booted.run("tar -C /srv -xf -", stdin=file)
        booted.run(INSTALL)
        yield booted


def test_the_service_runs_from_opt(host: Host) -> None:
    """In its whole sandbox, with nothing of the tree or of the system's modules; it is back after a restart."""
    host.run("rm -r /srv/tree /srv/wheels; ! [ -e /usr/lib/python3/dist-packages/structlog ]")
    for action in ("restart", "reload"):
        host.run(f"systemctl {action} daytimed")
        assert host.run("/opt/daytimed/bin/daytime-get").startswith("The Date Time is: ")
    pid = host.run("systemctl show -P MainPID daytimed").strip()
    assert "/opt/daytimed/bin/daytimed" in host.run(f"tr '\\0' ' ' </proc/{pid}/cmdline")
    assert host.run(f"grep ^CapEff /proc/{pid}/status").split()[1] == "0" * 16
    assert host.run("systemctl is-enabled daytimed.socket daytimed.service").split() == ["enabled", "enabled"]
    assert host.run("systemctl list-units --state=failed --plain --no-legend 'dayt*'") == ""


def test_the_other_units_run_from_opt(host: Host) -> None:
    """One process for each client, and the health check."""
    host.run("systemctl start daytime-get.service && systemctl stop daytimed.socket daytimed.service")
    host.run("systemctl start daytimed-inetd.socket")
    assert host.run("/opt/daytimed/bin/daytime-get").startswith("The Date Time is: ")
    host.run("systemctl start daytime-get.service")
