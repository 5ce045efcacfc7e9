"""
The firewall profiles of daytimed, read by the real ufw and the real firewalld.

Each runs in its own mount and network namespaces, with its package and our files laid over the system: the machine and
its firewall do not change.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from harness import DAYTIME_GET, Daemon, running
from harness import run as run_here

from daytimed.config.settings import DEFAULT_ADDRESS
from daytimed.probe import arguments

PROJECT = Path(__file__).parents[2]
#: Where tests/programs unpacks packages.
UNPACKED = PROJECT / ".cache" / "peers"
PORT = 6000

#: Lay the package $1 over the system, with writes going to memory; then do what dpkg would do.
LAY_OVER = r"""
mount -t tmpfs none "$2"
for folder in usr etc; do
    mkdir "$2/$folder" "$2/$folder.work"
    mount -t overlay -o "lowerdir=$1/$folder:/$folder,upperdir=$2/$folder,workdir=$2/$folder.work" none /$folder ||
        exit 9
done
cp -a "$1"/lib/. /usr/lib
for name in iptables ip6tables; do
    for what in '' -save -restore; do ln -sf $name-nft$what /usr/sbin/$name$what; done
done
ip link set lo up
echo ready
exec sleep infinity
"""
#: The installation steps of the package ufw.
SET_UP_UFW = "cp /usr/share/ufw/iptables/*.rules /usr/share/ufw/*.init /usr/share/ufw/ufw.conf /etc/ufw"


class Host(NamedTuple):
    """The namespaces of a host with a package."""

    pid: int

    @property
    def enter(self) -> tuple[str, ...]:
        return ("nsenter", "--target", str(self.pid), "--mount", "--net", "--wd=/")

    def try_run(self, *command: str) -> subprocess.CompletedProcess[bytes]:
        return run_here(*self.enter, *command)

    def run(self, *command: str) -> str:
        """Run a command that must succeed; return its output."""
        done = self.try_run(*command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout.decode()

    def install(self, source: str, folder: str) -> None:
        """Copy a file of the project to the folder where its package installs it."""
        self.run("cp", str(PROJECT / source), folder)


@contextlib.contextmanager
def host_with(package: str, folder: Path) -> Iterator[Host]:
    """Run a host with an unpacked package; skip the test if the package is missing."""
    if not (UNPACKED / package).exists():
        pytest.skip(f"{package} is not installed")
    if run_here("unshare", "--mount", "--net", "true").returncode != 0:
        pytest.skip("mount and network namespaces are not possible here")
    layers = folder / "layers"
    layers.mkdir()
    script = ("sh", "-c", LAY_OVER, "sh", str(UNPACKED / package), str(layers))
    with running("unshare", "--mount", "--net", *script) as started:
        with contextlib.suppress(AssertionError):
            started.wait_for("ready")
        if started.process.poll() == 9:
            pytest.skip("overlayfs is not possible here")
        assert "ready" in started.log.read_text()
        yield Host(started.process.pid)


@pytest.fixture
def ufw(tmp_path: Path) -> Iterator[Host]:
    """A host with ufw and our profile."""
    with host_with("ufw", tmp_path) as host:
        if host.try_run("iptables", "-L").returncode != 0:
            pytest.skip("the kernel here has no nf_tables")
        host.run("sh", "-c", SET_UP_UFW)
        host.install("packaging/ufw/daytimed", "/etc/ufw/applications.d")
        yield host


@pytest.fixture
def firewalld(tmp_path: Path) -> Iterator[Host]:
    """A host with firewalld, not running, and our service."""
    with host_with("firewalld", tmp_path) as host:
        host.install("packaging/firewalld/daytimed.xml", "/usr/lib/firewalld/services")
        yield host


def test_the_port_is_the_same_everywhere() -> None:
    """The daemon, its socket unit, the probe and the firewall profiles use the same port."""
    (listen,) = re.findall(r"^ListenStream=(.*)$", (PROJECT / "systemd/daytimed.socket").read_text(), re.MULTILINE)
    assert DEFAULT_ADDRESS.port == arguments.DEFAULT_PORT == int(listen) == PORT
    assert DEFAULT_ADDRESS.transport == "tcp"


def test_ufw_knows_the_profile(ufw: Host) -> None:
    """The profile has the name of the daemon and its only port."""
    assert "  daytimed\n" in ufw.run("ufw", "app", "list")
    title, port = ufw.run("ufw", "app", "info", "daytimed").split("\n\n")
    assert title.startswith("Profile: daytimed\nTitle: Daytime service\n")
    assert port == f"Port:\n  {PORT}/tcp\n"


def test_ufw_lets_clients_in_by_the_profile(ufw: Host, tmp_path: Path) -> None:
    """With ufw enabled, clients of another host get no reply; `ufw allow daytimed` lets them in until it is deleted."""
    empty = tmp_path / "daytimed.toml"
    empty.write_text("# the defaults\n")
    with running("unshare", "--net", "sh", "-c", "echo ready; exec sleep infinity") as other:
        other.wait_for("ready")
        outside = ("nsenter", "--target", str(other.process.pid), "--net")
        ufw.run("ip", "link", "add", "inside", "type", "veth", "peer", "name", "outside", "netns", outside[2])
        for number, side, enter in ((1, "inside", ufw.enter), (2, "outside", outside)):
            # nodad: the address is usable at once
            run_here(*enter, "ip", "address", "add", f"192.0.2.{number}/24", "dev", side)
            run_here(*enter, "ip", "address", "add", f"2001:db8::{number}/64", "dev", side, "nodad")
            assert run_here(*enter, "ip", "link", "set", side, "up").returncode == 0

        def states(timeout_s: float) -> list[str]:
            ask = (*DAYTIME_GET, "-o", "json", "-t", f"{timeout_s}", "192.0.2.1", "[2001:db8::1]:6000")
            return [json.loads(line)["state"] for line in run_here(*outside, *ask).stdout.splitlines()]

        with Daemon(config=empty, prefix=ufw.enter) as daemon:
            daemon.ready()
            assert states(10) == ["OK", "OK"]
            ufw.run("ufw", "--force", "enable")
            # ufw drops packets without an answer: any deadline shows it
            assert states(0.2) == ["CRITICAL", "CRITICAL"]
            ufw.run("ufw", "allow", "daytimed")
            assert states(10) == ["OK", "OK"]
            ufw.run("ufw", "delete", "allow", "daytimed")
            assert states(0.2) == ["CRITICAL", "CRITICAL"]


def test_firewalld_knows_the_service(firewalld: Host) -> None:
    """The service is valid, has the one port, and can be added to a zone."""
    firewalld.run("firewall-offline-cmd", "--check-config")
    shown = firewalld.run("firewall-offline-cmd", "--info-service=daytimed").splitlines()
    assert shown[:2] == ["daytimed", f"  ports: {PORT}/tcp"]
    firewalld.run("firewall-offline-cmd", "--zone=public", "--add-service=daytimed")
    assert "daytimed" in firewalld.run("firewall-offline-cmd", "--zone=public", "--list-services").split()
