"""The commands of the README, as an administrator would paste them: all of them, in their order, on a fresh host."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from container import PROJECT
from package import APT, Host, package

PORTS = "ss -Hltn 'sport = :13 or sport = :6000'"


def sections() -> dict[str, list[str]]:
    """Return the commands of each section of the part that says how it is run."""
    part = (PROJECT / "README.md").read_text().partition("\n## Running it\n")[2].partition("\n## ")[0]
    found = {}
    for section in part.split("\n### ")[1:]:
        blocks = re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
        found[section.partition("\n")[0]] = "".join(blocks).splitlines()
    return found


#: After a section: what is asked then, and what has to be found in the answer.
CLAIMS = {
    "Install": (
        "systemctl is-enabled daytimed.socket daytimed.service; daytime-get",
        "enabled\nenabled\nThe Date Time",
    ),
    "First look": ("systemctl show -P StatusText daytimed", r"Serving 1 listener with \d+ workers?; \d+ repl"),
    "Ports": (f"{PORTS}; ufw show added", r"\A[^\n]*:6000 [^\n]*\nAdded [^\n]*\nufw allow daytimed"),
    "Formats": ("daytime-get", r"^[A-Z][a-z]+day, [A-Z][a-z]+ \d+, \d{4} "),
    "Who may ask": ("daytimed --print-config; daytime-get", r'deny = \["192.0.2.0/24", "2001:db8::/32"\](?s:.*)day, '),
    "Logs": ("journalctl -u daytimed -n 1 DAYTIMED_EVENT=statistics", r"\d+ served"),
    "Health checks": ("systemctl start daytime-get.service && systemctl is-active daytime-get.timer", r"^active$"),
    "Reload and restart": (
        "systemctl is-active daytimed.socket daytimed.service; daytime-get",
        r"active\nactive\n.*day, ",
    ),
    "Hardening": ("systemctl show -P DynamicUser,PrivateNetwork,CapabilityBoundingSet daytimed", r"^yes\nyes\n\n?$"),
    "Moving over from xinetd or inetd": (
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
    """Boot a fresh release that has the package in dist/, a firewall, and the xinetd to move over from."""
    with Host(suite, "readme") as booted:
        booted.copy(package(suite), f"/srv/dist/{package(suite).name}")
        booted.run("echo 'APT::Get::Assume-Yes \"true\";' >/etc/apt/apt.conf.d/90yes")
        booted.run(f"{APT} install ufw xinetd; sed -i s/=.yes/=.no/ /etc/xinetd.d/daytime; systemctl restart xinetd")
        yield booted


@pytest.mark.parametrize("section", sections())
def test_the_commands_of(host: Host, section: str) -> None:
    """Each of them succeeds, and then the host is as the section says."""
    if section.startswith("Moving over"):
        # who moves over has not read what is before
        host.copy(PROJECT / "packaging/daytimed.toml", "/etc/daytimed/daytimed.toml")
        host.run("rm -r /etc/systemd/system/daytimed.socket.d")
    for command in sections()[section]:
        print("#", command)
        print(host.run(f"cd /srv && export DEBIAN_FRONTEND=noninteractive && {command}"))
    question, answer = CLAIMS[section]
    # a signal has been sent when kill has ended, and so has a reload on systemd 252; it has not been acted upon
    told = host.until(question, f"what {section!r} claims", answer)
    print("#", question, told, sep="\n")


def test_every_section_has_commands() -> None:
    """What is found here is what the README has."""
    assert list(sections()) == list(CLAIMS)
    assert all(sections().values())
