"""What the README says for a host without the package: the programs from pip, in an environment at /opt/daytimed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import SUITES
from container import PROJECT, Container, make_root

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
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the tree and the wheels of it, of what it needs, and of pip."""
    made = tmp_path_factory.mktemp("environment")
    ignored = shutil.ignore_patterns(".*", "__pycache__", "build", "dist")
    tree = shutil.copytree(PROJECT, made / "tree", ignore=ignored, symlinks=True)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--wheel-dir"]
    subprocess.run([*command, made / "wheels", tree, "pip"], check=True, stdin=subprocess.DEVNULL, timeout=180)
    return made


@pytest.fixture(scope="module", params=SUITES)
def host(request: pytest.FixtureRequest, folder: Path) -> Iterator[Container]:
    root = make_root(request.param)
    shutil.rmtree(root / "srv")
    shutil.copytree(folder, root / "srv")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    with Container(root, f"daytimed-environment-{request.param}") as booted:
        booted.run(INSTALL)
        yield booted


def test_the_service_runs_from_opt(host: Container) -> None:
    """In its whole sandbox, with nothing of the tree or of the system's modules; it is back after a restart."""
    host.run("rm -r /srv/tree /srv/wheels /usr/lib/python3/dist-packages/daytimed /usr/bin/dayt*", check=False)
    for action in ("restart", "reload"):
        host.run(f"systemctl {action} daytimed")
        assert host.run("/opt/daytimed/bin/daytime-get").startswith("The Date Time is: ")
    pid = host.run("systemctl show -P MainPID daytimed").strip()
    assert "/opt/daytimed/bin/daytimed" in host.run(f"tr '\\0' ' ' </proc/{pid}/cmdline")
    assert host.run(f"grep ^CapEff /proc/{pid}/status").split()[1] == "0" * 16
    assert host.run("systemctl is-enabled daytimed.socket daytimed.service").split() == ["enabled", "enabled"]
    assert host.run("systemctl list-units --state=failed --plain --no-legend 'dayt*'") == ""


def test_the_other_units_run_from_opt(host: Container) -> None:
    """One process for each client, and the health check."""
    host.run("systemctl start daytime-get.service && systemctl stop daytimed.socket daytimed.service")
    host.run("systemctl start daytimed-inetd.socket")
    assert host.run("/opt/daytimed/bin/daytime-get").startswith("The Date Time is: ")
    host.run("systemctl start daytime-get.service")
