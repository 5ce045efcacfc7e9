"""The examples for Icinga and Nagios, run in both."""

from __future__ import annotations

import grp
import json
import os
import pwd
import re
import time
from pathlib import Path
from typing import Any

import pytest
from examples import installed, shipped
from harness import DAYTIME_GET, needs, program, run, running, serving, wait_until
from plugins import figures_of
from servers import refusing

USER, GROUP = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name


def icinga_results(state_file: Path) -> dict[str, Any]:
    """Return the last result of each service from Icinga's state file, a sequence of netstrings."""
    data = state_file.read_bytes()
    results = {}
    while data:
        length, _, rest = data.partition(b":")
        entry = json.loads(rest[: int(length)])
        data = rest[int(length) + 1 :]
        if entry["type"] == "Service":
            results[entry["name"]] = entry["update"]["last_check_result"]
    return results


@needs("icinga2")
def test_icinga(tmp_path: Path) -> None:
    """
    Icinga 2 accepts the example, runs its checks and reads their output.

    Each custom variable becomes its option, and every option that affects the state has a variable.
    """
    example = shipped(tmp_path, "icinga2.conf")
    with serving("-l", "tcp4://127.0.0.1:0", "-l", "udp4://127.0.0.1:0") as daemon, refusing() as refused:
        tcp, udp = (int(address.rpartition(":")[2]) for address in daemon.bound())
        hosts: dict[str, dict[str, Any]] = {
            "plain": {"port": tcp},
            "refused": {"port": refused.port},
            "options": {
                "port": tcp, "ipv4": True, "timeout": 4, "samples": 2, "interval": 0.1, "zone": "UTC",
                "offset_warning": "-1:2", "offset_critical": 3, "response_warning": "~:1", "response_critical": 2,
            },
            "any": {"port": tcp, "any": True},
            "six": {"address": "localhost", "port": tcp, "ipv6": True},
            "target": {"target": f"udp://127.0.0.1:{udp}"},
            "targets": {"target": [f"udp://127.0.0.1:{udp}", f"127.0.0.1:{tcp}"]},
        }  # fmt: skip
        configuration = tmp_path / "main.conf"
        commands = tmp_path / "commands"
        configuration.write_text(
            f'const PluginDir = "/usr/lib/nagios/plugins"\ninclude <itl>\ninclude <plugins>\ninclude "{example}"\n'
            'object IcingaApplication "app" { }\nobject CheckerComponent "checker" { }\n'
            f'object ExternalCommandListener "command" {{\n  command_path = "{commands}"\n}}\n'
            + "".join(
                f'object Host "{name}" {{\n  check_command = "passive"\n  address = "127.0.0.1"\n'
                "  vars.daytime = true\n"
                + "".join(f"  vars.daytime_{key} = {json.dumps(value)}\n" for key, value in variables.items())
                + "}\n"
                for name, variables in hosts.items()
            )
        )
        folders = {name: tmp_path / name.lower() for name in ("DataDir", "LogDir", "CacheDir", "InitRunDir")}
        for folder in folders.values():
            folder.mkdir()
        paths = {**folders, "ConfigDir": tmp_path, "PidPath": tmp_path / "pid"}
        constants = {**{name: str(path) for name, path in paths.items()}, "RunAsUser": USER, "RunAsGroup": GROUP}
        command = [program("icinga2"), "daemon", "-c", str(configuration)]
        for name, constant in constants.items():
            command += ["-D", f"{name}={constant}"]

        checked = run(*command, "-C")
        assert checked.returncode == 0, checked.stdout.decode()
        assert b"Instantiated 7 Services" in checked.stdout
        warnings = [line for line in checked.stdout.splitlines() if b"warning" in line]
        # about the pipe by which this test orders the checks, from Icinga 2.16
        assert [
            line for line in warnings if b"warning/ExternalCommandListener: This feature is DEPRECATED" not in line
        ] == []

        with running(*command, "-x", "debug") as icinga:
            wait_until(lambda: commands.exists() or icinga.process.poll() is not None, "Icinga takes commands")
            with commands.open("w") as pipe:
                now = int(time.time())
                pipe.writelines(f"[{now}] SCHEDULE_FORCED_SVC_CHECK;{host};daytime;{now}\n" for host in hosts)
            # every service starts as UNKNOWN
            icinga.wait_for(r"State Change: Checkable '\w+!daytime' \w+ state change from UNKNOWN", len(hosts))
            icinga.stop()
        results = icinga_results(folders["DataDir"] / "icinga2.state")

    codes = {host: results[f"{host}!daytime"]["exit_status"] for host in hosts}
    outputs = {host: results[f"{host}!daytime"]["output"] for host in hosts}
    lines = {host: results[f"{host}!daytime"]["command"] for host in hosts}
    assert codes == {**dict.fromkeys(hosts, 0), "refused": 2, "six": 2}, outputs
    assert outputs["plain"].startswith("DAYTIME OK: ")
    assert outputs["refused"].startswith("DAYTIME CRITICAL: ")
    assert all(line[:3] == [installed(tmp_path), "-o", "nagios"] for line in lines.values())
    figures = figures_of(" ".join(results["plain!daytime"]["performance_data"]))
    assert list(figures) == ["time", "offset"]
    assert (figures["offset"].warn, figures["offset"].crit, figures["time"].warn) == ("-1:1", "-5:5", "1")
    # the figures of every target, although Icinga reads performance data on the first line only
    assert len(figures_of(" ".join(results["targets!daytime"]["performance_data"]))) == 4
    figures = figures_of(" ".join(results["options!daytime"]["performance_data"]))
    assert (figures["offset"].warn, figures["time"].warn, figures["time"].max) == ("-1:2", "~:1", 4)

    keys = set(re.findall(r'"(-[-\w]+)" = {', example.read_text()))
    assert {word for line in lines.values() for word in line if word in keys} == keys
    usage = run(*DAYTIME_GET, "--help").stdout.decode()
    options = set(re.findall(r"(?<!\S)(--[a-z][-a-z]+|-[A-Za-z46])\b", usage))
    # the output is not for Icinga's users to choose, and --send is not for daytime servers
    assert options - keys == {"-o", "-q", "-v", "--send", "--max-bytes", "--version", "--help"}


@needs("nagios4")
@pytest.mark.skipif(not Path("/etc/nagios4/objects/templates.cfg").exists(), reason="nagios4-common is not installed")
@pytest.mark.parametrize("up", [True, False])
def test_nagios(tmp_path: Path, up: bool) -> None:
    """Nagios accepts the example without warnings, runs the check, and separates text from figures."""
    with serving() as daemon, refusing() as refused:
        port = daemon.port() if up else refused.port
        shipped(tmp_path, "nagios.cfg", {"!6000!": f"!{port}!"}, "objects")
        (tmp_path / "objects" / "host.cfg").write_text(
            "define host {\n host_name localhost\n address 127.0.0.1\n max_check_attempts 1\n check_period 24x7\n"
            " contact_groups admins\n notification_period 24x7\n notification_interval 0\n}\n"
        )
        (tmp_path / "results").mkdir()
        written = tmp_path / "figures"
        files = ["log_file", "lock_file", "object_cache_file", "command_file", "status_file", "temp_file"]
        settings = {
            **{name: tmp_path / name for name in [*files, "query_socket"]},
            "temp_path": tmp_path, "check_result_path": tmp_path / "results", "cfg_dir": tmp_path / "objects",
            "nagios_user": USER, "nagios_group": GROUP, "use_syslog": 0, "check_for_updates": 0,
            "enable_notifications": 0, "retain_state_information": 0, "execute_host_checks": 0,
            "service_inter_check_delay_method": "n", "illegal_macro_output_chars": "`~$&|'\"<>",
            "process_performance_data": 1, "service_perfdata_file": written,
            "service_perfdata_file_template": r"$SERVICESTATE$\t$SERVICEOUTPUT$\t$SERVICEPERFDATA$\tEND",
        }  # fmt: skip
        configuration = tmp_path / "nagios.cfg"
        configuration.write_text(
            "".join(f"{name}={value}\n" for name, value in settings.items())
            + "".join(
                f"cfg_file=/etc/nagios4/objects/{name}.cfg\n"
                for name in ("commands", "contacts", "timeperiods", "templates")
            )
        )
        checked = run(program("nagios4"), "-v", str(configuration))
        assert checked.returncode == 0, checked.stdout.decode()
        assert b"Total Warnings: 0" in checked.stdout, checked.stdout.decode()
        with running(program("nagios4"), str(configuration)):
            wait_until(lambda: written.exists() and "\tEND\n" in written.read_text(), "Nagios has a result")
        state, text, figures, _ = written.read_text().splitlines()[0].split("\t")
    assert state == ("OK" if up else "CRITICAL")
    assert text.startswith(f"DAYTIME {state}: ")
    if up:
        assert figures_of(figures)["offset"].crit == "-5:5"
