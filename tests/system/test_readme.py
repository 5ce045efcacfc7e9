"""All commands of the README, in their order, pasted by an administrator on a fresh host."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from container import PROJECT
from package import APT, Host, package

PORTS = "ss -Hltn 'sport = :13 or sport = :6000'"


def sections() -> dict[str, list[str]]:
    """Return the commands of each section that has any."""
    found = {}
    for section in (PROJECT / "README.md").read_text().split("\n## ")[1:]:
        if blocks := re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL):
            found[section.partition("\n")[0]] = "".join(blocks).splitlines()
    return found


#: For each section: a command to run after it, and a pattern that its output has to match.
CLAIMS = {
    "Install": (
        "systemctl is-enabled daytimed.socket daytimed.service; daytime-get",
        "enabled\nenabled\nThe Date Time",
    ),
    "Where things are": (
        "systemctl show -P StatusText daytimed",
        r"Serving 1 listener with \d+ workers?; \d+ repl",
    ),
    "Ports": (f"{PORTS}; ufw show added", r"\A[^\n]*:6000 [^\n]*\nAdded [^\n]*\nufw allow daytimed"),
    "Formats": ("daytime-get", r"^[A-Z][a-z]+day, [A-Z][a-z]+ \d+, \d{4} "),
    "Access": ("daytimed --print-config; daytime-get", r'deny = \["192.0.2.0/24", "2001:db8::/32"\](?s:.*)day, '),
    "Logs": ("journalctl -u daytimed -n 1 DAYTIMED_EVENT=statistics", r"\d+ served"),
    "Health checks": ("systemctl start daytime-get.service && systemctl is-active daytime-get.timer", r"^active$"),
    "Reload, restart, stop": (
        "systemctl is-active daytimed.socket daytimed.service; daytime-get",
        r"active\nactive\n.*day, ",
    ),
    "Hardening": ("systemctl show -P DynamicUser,PrivateNetwork,CapabilityBoundingSet daytimed", r"^yes\nyes\n\n?$"),
    "Moving over from inetd or xinetd": (
        f"{PORTS}; systemctl start daytime-get.service && daytime-get localhost:13",
        r"(?s)\*:13 .*\d\d [A-Z]{3} \d{4} ",
    ),
    "Uninstall": (
        "ls -d /etc/daytimed /usr/bin/daytim* 2>&1; ss -Hltn 'sport = :13' | wc -l",
        r"(?s)(No such.*){2}^0$",
    ),
}


@pytest.fixture(scope="module")
def host(suite: str) -> Iterator[Host]:
    """Boot a fresh release with the package in dist/, a firewall, and an xinetd to move over from."""
    with Host(suite, "readme") as booted:
        booted.copy(package(suite), f"/srv/dist/{package(suite).name}")
        booted.run("echo 'APT::Get::Assume-Yes \"true\";' >/etc/apt/apt.conf.d/90yes")
        booted.run(f"{APT} install ufw xinetd; sed -i s/=.yes/=.no/ /etc/xinetd.d/daytime; systemctl restart xinetd")
        yield booted


@pytest.mark.parametrize("section", sections())
def test_the_commands_of(host: Host, section: str) -> None:
    """Each command succeeds, and then the host is in the state that the section claims."""
    if section.startswith("Moving over"):
        # an administrator who moves over starts here: undo the sections before
        host.copy(PROJECT / "packaging/daytimed.toml", "/etc/daytimed/daytimed.toml")
        host.run("rm -r /etc/systemd/system/daytimed.socket.d")
    for command in sections()[section]:
        print("#", command)
        print(host.run(f"cd /srv && export DEBIAN_FRONTEND=noninteractive && {command}"))
    question, answer = CLAIMS[section]
    # kill, and a reload by systemd 252, return once the signal is sent, not once it is handled
    printed = host.until(question, f"the claim of {section!r}", answer)
    print("#", question, printed, sep="\n")


def test_every_section_has_a_claim() -> None:
    """Each section with commands has a claim, and the README has no block that is not run."""
    assert list(sections()) == list(CLAIMS)
    assert {"sh"} == {*re.findall(r"^```(\w+)$", (PROJECT / "README.md").read_text(), re.MULTILINE)}
    assert all(command.strip() for commands in sections().values() for command in commands)
