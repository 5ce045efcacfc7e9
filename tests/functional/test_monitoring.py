"""
The examples of packaging/monitoring in the programs they are written for.

What is run is what is shipped: in a copy, the path of the probe becomes that of the probe under test, and addresses and
folders become those of the test; nothing else is changed.
"""

from __future__ import annotations

import calendar
import contextlib
import copy
import grp
import importlib
import importlib.util
import json
import os
import pwd
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from harness import DAYTIME_GET, DAYTIMED, DEADLINE_S, clean_environment, run, serving, wait_until

EXAMPLES = Path(__file__).parents[2] / "packaging" / "monitoring"
SYSTEMD = Path(__file__).parents[2] / "systemd"
INSTALLED = "/usr/bin/daytime-get"

USER, GROUP = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name

# services and plugins are not on everyone's PATH
PROGRAMS = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin", "/usr/lib/nagios/plugins"])


def program(name: str) -> str:
    return shutil.which(name, path=PROGRAMS) or name


def needs(*names: str) -> pytest.MarkDecorator:
    missing = [name for name in names if shutil.which(name, path=PROGRAMS) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{' and '.join(missing)} is not installed")


def needs_module(*names: str) -> pytest.MarkDecorator:
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"the Python package {' and '.join(missing)} is not installed")


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a path that is the probe under test."""
    if len(DAYTIME_GET) == 1:
        return DAYTIME_GET[0]
    path = tmp_path_factory.mktemp("bin") / "daytime-get"
    path.write_text(f'#!/bin/sh\nexec {shlex.join(DAYTIME_GET)} "$@"\n')
    path.chmod(0o755)
    return str(path)


Shipped = Callable[..., Path]


@pytest.fixture
def shipped(tmp_path: Path, probe: str) -> Shipped:
    """Return how to copy an example, with the probe under test and other replacements; each has to be there."""

    def copied(name: str, replacements: dict[str, str] | None = None, folder: str = ".") -> Path:
        text = (EXAMPLES / name).read_text().replace(INSTALLED, probe)
        for old, new in (replacements or {}).items():
            assert old in text, f"no {old!r} in {name}"
            text = text.replace(old, new)
        path = tmp_path / folder / Path(name).name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(stat.S_IMODE((EXAMPLES / name).stat().st_mode))
        return path

    return copied


class Program(NamedTuple):
    """A program of others that runs, and where it writes."""

    process: subprocess.Popen[bytes]
    log: Path

    def wait_for(self, pattern: str, count: int = 1) -> list[str]:
        """Wait until it has written that."""

        def found() -> list[str]:
            return re.findall(pattern, self.log.read_text(errors="replace"))

        wait_until(lambda: len(found()) >= count or self.process.poll() is not None, pattern)
        assert len(found()) >= count, f"ended without {pattern!r}"
        return found()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(DEADLINE_S)


@contextlib.contextmanager
def running(*command: str, **options: Any) -> Iterator[Program]:
    """Have a program that runs until the test is done with it."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        with log.open("wb") as out:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=clean_environment(),
                start_new_session=True, **options,
            )  # fmt: skip
        started = Program(process, log)
        try:
            yield started
            if process.poll() is None:
                started.stop()
        finally:
            # and whoever it has left behind
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            print(f"--- output of {shlex.join(command)}", log.read_text(errors="replace"), sep="\n")


@contextlib.contextmanager
def refusing() -> Iterator[int]:
    """Have a port that refuses."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@contextlib.contextmanager
def silent() -> Iterator[int]:
    """Have a port that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@contextlib.contextmanager
def saying(reply: Callable[[], bytes], clients: int = 1) -> Iterator[int]:
    """Have a server that says that, to so many clients."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for _ in range(clients):
                client, _ = listener.accept()
                with client:
                    client.sendall(reply())

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


def unix_time(ahead_s: int = 0) -> Callable[[], bytes]:
    return lambda: b"%d\r\n" % (int(time.time()) + ahead_s)


def rfc868(ahead_s: int) -> Callable[[], bytes]:
    return lambda: (int(time.time()) + 2_208_988_800 + ahead_s).to_bytes(4, "big")


def nist(health: int) -> Callable[[], bytes]:
    def line() -> bytes:
        now = time.gmtime()
        day = calendar.timegm(now) // 86400 + 40587
        return f"\n{day} {time.strftime('%y-%m-%d %H:%M:%S', now)} 00 0 {health} 50.0 UTC(NIST) * \n".encode()

    return line


# --- what the guidelines say of a plugin's output (developer guidelines of the monitoring plugins, "Performance data")

STATES = {"OK": 0, "WARNING": 1, "CRITICAL": 2, "UNKNOWN": 3}
_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?"
_RANGE = rf"@?(?:(?:~|{_NUMBER}):(?:{_NUMBER})?|{_NUMBER})"
_LABEL = r"(?:'(?P<quoted>[^'=|]+)'|(?P<bare>[^'=|\s]+))"
_VALUE = rf"(?:U|(?P<value>{_NUMBER})(?P<uom>s|us|ms|%|[KMGT]?B|c)?)"
_LIMITS = rf"(?:;(?P<warn>{_RANGE})?(?:;(?P<crit>{_RANGE})?(?:;(?P<min>{_NUMBER})?(?:;(?P<max>{_NUMBER})?)?)?)?)?"
_FIGURE = re.compile(rf"{_LABEL}={_VALUE}{_LIMITS}")
_OUTPUT = re.compile(r"DAYTIME (OK|WARNING|CRITICAL|UNKNOWN): ([^|\n]*[^|\s])(?: \| ([^|\n]+))?((?:\n[^|\n]+)*)\n")


class Figure(NamedTuple):
    """One of the figures behind the bar."""

    value: float | None
    uom: str | None
    warn: str | None
    crit: str | None
    min: float | None
    max: float | None


def figures_of(text: str) -> dict[str, Figure]:
    """Read performance data, and nothing that the guidelines do not allow."""
    figures: dict[str, Figure] = {}
    while text:
        match = _FIGURE.match(text)
        assert match, text
        label = match["quoted"] or match["bare"]
        assert label not in figures
        numbers = {key: None if match[key] is None else float(match[key]) for key in ("value", "min", "max")}
        figures[label] = Figure(
            numbers["value"], match["uom"], match["warn"], match["crit"], numbers["min"], numbers["max"]
        )
        rest = text[match.end() :]
        assert not rest or (rest.startswith(" ") and rest.strip()), text
        text = rest[1:]
    return figures


def plugin(*arguments: str) -> tuple[str, str, dict[str, Figure]]:
    """Run the probe as a plugin; hold its exit status and form, and return state, text and figures."""
    done = run(*DAYTIME_GET, "-o", "nagios", *arguments)
    assert done.stderr == b""
    match = _OUTPUT.fullmatch(done.stdout.decode())
    assert match, done.stdout.decode()
    state, text, figures, more = match.groups()
    assert done.returncode == STATES[state]
    assert (text + more.replace("\n", "")).isprintable()
    return state, text + more, figures_of(figures or "")


def test_the_reader_of_the_guidelines_is_strict() -> None:
    """What they show is read, what they do not allow is not."""
    assert figures_of("time=0.1s;1;~:5;0;10 'offset a b'=-1.5;@1:2;3: n=U;;;;") == {
        "time": Figure(0.1, "s", "1", "~:5", 0, 10),
        "offset a b": Figure(-1.5, None, "@1:2", "3:", None, None),
        "n": Figure(None, None, None, None, None, None),
    }
    for wrong in ("a", "a=", "a=+1", "a=1e-5", "a=1sec", "a=1,5", "a=1;2;3;4;5;6", "a=1;x", "a b=1", "a=1  b=2"):
        with pytest.raises(AssertionError):
            figures_of(wrong)


def test_plugin_output_keeps_to_the_guidelines() -> None:
    """One line, its state in words and as the exit status, and figures in the documented form: OK and WARNING."""
    with serving() as daemon:
        asked = ("-H", "127.0.0.1", "-p", str(daemon.port()))
        state, text, figures = plugin(*asked, "-w", "1", "-c", "-5:5", "-W", "2", "-C", "~:4", "-t", "7")
        assert (state, "\n" in text) == ("OK", False)
        assert list(figures) == ["time", "offset"]
        taken, offset = figures.values()
        assert (taken.uom, taken.warn, taken.crit, taken.min, taken.max) == ("s", "2", "~:4", 0, 7)
        assert taken.value is not None
        assert 0 < taken.value < 7
        assert (offset.uom, offset.warn, offset.crit, offset.min, offset.max) == ("s", "-1:1", "-5:5", None, None)
        assert offset.value is not None
        assert abs(offset.value) < 1

        state, text, figures = plugin(*asked, "-W", "@0:10")
        assert (state, "\n" in text) == ("WARNING", False)
        assert figures["time"].warn in {"@0:10", "@10"}
        # small limits too are written without an exponent
        assert plugin(*asked, "-W", "0.00001")[2]["time"].warn == "0.00001"


@pytest.mark.parametrize("port", [refusing, silent])
def test_plugin_output_of_what_does_not_answer(port: Callable[[], contextlib.AbstractContextManager[int]]) -> None:
    """CRITICAL, one line, and no figure that was not measured."""
    with port() as number:
        state, text, figures = plugin("-H", "127.0.0.1", "-p", str(number), "-t", "0.5")
    assert (state, "\n" in text) == ("CRITICAL", False)
    assert [figure.value for figure in figures.values()] == [None] * len(figures)


def test_plugin_output_of_wrong_arguments() -> None:
    """UNKNOWN, on standard output, where a monitoring system looks for it."""
    for wrong in (["-t", "soon"], ["-w", "5:1"], ["--nonsense"], ["host:port:"]):
        state, text, figures = plugin(*wrong)
        assert (state, "\n" in text, figures) == ("UNKNOWN", False, {})


def test_plugin_output_of_several() -> None:
    """
    The first line sums up and has all figures, under labels with the address; then each has a line.

    Figures on further lines are allowed, but Icinga takes all but the first of those lines for text.
    """
    with serving() as daemon, refusing() as port:
        good, bad = f"127.0.0.1:{daemon.port()}", f"127.0.0.1:{port}"
        state, text, figures = plugin(good, bad, f"udp://{good}", "-t", "2")
    assert state == "CRITICAL"
    assert len(text.split("\n")) == 4
    measured = [label for label, figure in figures.items() if figure.value is not None]
    assert [label.partition(" ")[0] for label in measured] == ["time", "offset"]
    assert all(good in label for label in measured)


@needs("icinga2")
def test_icinga_reads_the_same_figures() -> None:
    """Icinga's own parser of performance data finds the values, units and limits that ours finds."""
    with serving() as daemon:
        done = run(*DAYTIME_GET, "-o", "nagios", "-W", "2", "-C", "4", f"127.0.0.1:{daemon.port()}")
    figures = done.stdout.decode().partition(" | ")[2].strip()
    script = "[" + ",".join(f"parse_performance_data({json.dumps(figure)})" for figure in figures.split(" ")) + "]"
    shown = run(program("icinga2"), "console", "--eval", f"Json.encode({script}.map(f => "
                "[f.label, f.value, f.unit, f.warn, f.crit, f.min, f.max]))")  # fmt: skip
    theirs = json.loads(json.loads(shown.stdout))
    ours = figures_of(figures)
    assert [row[:3] for row in theirs] == [[label, ours[label].value, "seconds"] for label in ours]
    assert theirs[0][3:] == [2, 4, 0, 10]


# --- second opinions


@needs("check_tcp")
def test_check_tcp_is_of_the_same_opinion() -> None:
    """For a server that is up, refuses or is silent, the state is that of the standard plugin for TCP services."""
    with serving() as daemon, refusing() as refused, silent() as mute:
        for port, code in ((daemon.port(), 0), (refused, 2), (mute, 2)):
            asked = ("-H", "127.0.0.1", "-p", str(port), "-t", "1")
            theirs = run(program("check_tcp"), *asked, "-e", "The Date Time is: ", "-M", "crit")
            ours = plugin(*asked)
            assert (theirs.returncode, STATES[ours[0]]) == (code, code)
            if code == 0:
                # and what follows their bar is read by our parser
                assert figures_of(theirs.stdout.decode().strip().partition("|")[2])["time"].uom == "s"


@needs("check_time")
def test_check_time_is_of_the_same_opinion() -> None:
    """
    For the binary time (RFC 868) too, with the same options and limits.

    It calls a server that is not there UNKNOWN unless it has limits; daytime-get always calls that CRITICAL.
    """
    limits = ("-w", "2", "-c", "5", "-W", "1", "-C", "2")
    with serving("-f", "rfc868") as daemon, refusing() as refused, silent() as mute:
        for port, code in ((daemon.port(), 0), (refused, 2), (mute, 2)):
            asked = ("-H", "127.0.0.1", "-p", str(port), "-t", "1")
            assert run(program("check_time"), *asked, *limits).returncode == code
            assert STATES[plugin(*asked, *limits)[0]] == code
        assert run(program("check_time"), "-H", "127.0.0.1", "-p", str(refused)).returncode == 3
    for ahead_s, code in ((4, 1), (9, 2)):
        with saying(rfc868(ahead_s), clients=2) as port:
            asked = ("-H", "127.0.0.1", "-p", str(port), "-t", "5")
            assert run(program("check_time"), *asked, *limits).returncode == code
            assert STATES[plugin(*asked, *limits)[0]] == code


# --- Icinga


def icinga_results(state_file: Path) -> dict[str, Any]:
    """Return the last result of each service from the netstrings of Icinga's state file."""
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
def test_icinga(tmp_path: Path, shipped: Shipped, probe: str) -> None:
    """
    Icinga 2 accepts the example, and its checks run and are read.

    Each custom variable arrives as its option, and there is one for each option that judges.
    """
    example = shipped("icinga2.conf")
    with serving("-l", "tcp4://127.0.0.1:0", "-l", "udp4://127.0.0.1:0") as daemon, refusing() as refused:
        tcp, udp = (int(address.rpartition(":")[2]) for address in daemon.bound())
        hosts: dict[str, dict[str, Any]] = {
            "plain": {"port": tcp},
            "refused": {"port": refused},
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
        assert b"warning" not in checked.stdout

        with running(*command, "-x", "debug") as icinga:
            wait_until(lambda: commands.exists() or icinga.process.poll() is not None, "Icinga takes commands")
            with commands.open("w") as pipe:
                now = int(time.time())
                pipe.writelines(f"[{now}] SCHEDULE_FORCED_SVC_CHECK;{host};daytime;{now}\n" for host in hosts)
            # every service is UNKNOWN before
            icinga.wait_for(r"State Change: Checkable '\w+!daytime' \w+ state change from UNKNOWN", len(hosts))
            icinga.stop()
        results = icinga_results(folders["DataDir"] / "icinga2.state")

    codes = {host: results[f"{host}!daytime"]["exit_status"] for host in hosts}
    outputs = {host: results[f"{host}!daytime"]["output"] for host in hosts}
    lines = {host: results[f"{host}!daytime"]["command"] for host in hosts}
    assert codes == {**dict.fromkeys(hosts, 0), "refused": 2, "six": 2}, outputs
    assert outputs["plain"].startswith("DAYTIME OK: ")
    assert outputs["refused"].startswith("DAYTIME CRITICAL: ")
    assert all(line[:3] == [probe, "-o", "nagios"] for line in lines.values())
    figures = figures_of(" ".join(results["plain!daytime"]["performance_data"]))
    assert [figure.uom for figure in figures.values()] == ["s", "s"]
    assert (figures["offset"].warn, figures["offset"].crit, figures["time"].warn) == ("-1:1", "-5:5", "1")
    # those of every target, although Icinga does not read performance data over several lines
    assert len(figures_of(" ".join(results["targets!daytime"]["performance_data"]))) == 4
    figures = figures_of(" ".join(results["options!daytime"]["performance_data"]))
    assert (figures["offset"].warn, figures["time"].warn, figures["time"].max) == ("-1:2", "~:1", 4)

    keys = set(re.findall(r'"(-[-\w]+)" = {', example.read_text()))
    assert {word for line in lines.values() for word in line if word in keys} == keys
    usage = run(*DAYTIME_GET, "--help").stdout.decode()
    options = set(re.findall(r"(?<!\S)(--[a-z][-a-z]+|-[A-Za-z46])\b", usage))
    # how it is printed is not for Icinga's users to choose, and --send is not for daytime servers
    assert options - keys == {"-o", "-q", "-v", "--send", "--max-bytes", "--version", "--help"}


# --- Nagios


@needs("nagios4")
@pytest.mark.skipif(not Path("/etc/nagios4/objects/templates.cfg").exists(), reason="nagios4-common is not installed")
@pytest.mark.parametrize("up", [True, False])
def test_nagios(tmp_path: Path, shipped: Shipped, up: bool) -> None:
    """Nagios accepts the example without a word, runs the check, and splits text from figures."""
    with serving() as daemon, refusing() as refused:
        port = daemon.port() if up else refused
        shipped("nagios.cfg", {"!6000!": f"!{port}!"}, "objects")
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


# --- Prometheus


def prometheus(*arguments: str) -> bytes:
    return run(*DAYTIME_GET, "-o", "prometheus", *arguments).stdout


@needs("promtool")
def test_promtool_finds_nothing_to_say_of_the_figures() -> None:
    """Names, types and help texts are as Prometheus wants them, for servers that answer and that do not."""
    with serving() as daemon, refusing() as port:
        text = prometheus(f"127.0.0.1:{daemon.port()}", f"127.0.0.1:{port}")
    assert b"\ndaytime_up{" in text
    done = run(program("promtool"), "check", "metrics", input=text, stdin=None)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def samples(text: str) -> dict[str, float]:
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[:1] != "#"}


@needs("prometheus-node-exporter")
def test_node_exporter_shows_the_textfile(tmp_path: Path, shipped: Shipped) -> None:
    """What the script leaves is what node_exporter serves: CRITICAL too; and the old figures when there are no new."""
    script = str(shipped("prometheus/daytime-textfile"))
    folder = tmp_path / "textfiles"
    folder.mkdir()
    file = folder / "daytime.prom"
    with running(
        program("prometheus-node-exporter"), "--collector.disable-defaults", "--collector.textfile",
        f"--collector.textfile.directory={folder}", "--web.listen-address=127.0.0.1:0",
    ) as exporter:  # fmt: skip
        port = exporter.wait_for(r"Listening on.* address=127\.0\.0\.1:(\d+)")[0]

        def scrape() -> dict[str, float]:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=DEADLINE_S) as response:
                return samples(response.read().decode())

        with serving() as daemon:
            address = f"127.0.0.1:{daemon.port()}"
            assert run(script, str(file), "-t", "5", address).returncode == 0
        shown = scrape()
        assert shown["node_textfile_scrape_error"] == 0
        assert shown[f'daytime_up{{address="tcp://{address}"}}'] == 1
        assert shown[f'daytime_state{{address="tcp://{address}"}}'] == 0
        assert abs(shown[f'daytime_offset_seconds{{address="tcp://{address}"}}']) < 1
        assert abs(shown[f'daytime_time_seconds{{address="tcp://{address}"}}'] - time.time()) < DEADLINE_S
        assert {key for key in shown if key.startswith("daytime_")} == set(samples(file.read_text()))

        # the server is gone: CRITICAL, and that is what is shown
        assert run(script, str(file), "-t", "5", address).returncode == 0
        shown = scrape()
        assert shown[f'daytime_up{{address="tcp://{address}"}}'] == 0
        assert shown[f'daytime_state{{address="tcp://{address}"}}'] == 2
        assert f'daytime_offset_seconds{{address="tcp://{address}"}}' not in shown

        # wrong arguments: the old figures stay, and their age tells
        before = file.read_bytes()
        assert run(script, str(file), "-t", "soon", address).returncode == 3
        assert file.read_bytes() == before
        assert [path.name for path in folder.iterdir()] == ["daytime.prom"]


def test_the_textfile_is_replaced_in_one_step(tmp_path: Path, shipped: Shipped) -> None:
    """While the probe still waits for its server, the old figures are there and nothing else that is read."""
    script = str(shipped("prometheus/daytime-textfile"))
    file = tmp_path / "textfiles" / "daytime.prom"
    file.parent.mkdir()
    file.write_text("old\n")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE_S)
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        process = subprocess.Popen([script, file, "-t", "5", address], env=clean_environment())
        client, _ = listener.accept()
        with client:
            assert [path.name for path in file.parent.glob("*.prom")] == ["daytime.prom"]
            assert file.read_text() == "old\n"
            client.sendall(unix_time()())
        assert process.wait(DEADLINE_S) == 0
    assert f'daytime_up{{address="tcp://{address}"}} 1' in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


RULES = EXAMPLES / "prometheus" / "rules.yml"
SERVER = {"address": "tcp://a:6000", "instance": "b:9100"}
FILE = {"file": "/x/daytime.prom", "instance": "b:9100"}
ALERTS = {
    "DaytimeDown": ("critical", SERVER, "tcp://a:6000 gives no whole reply that is a time (asked from b:9100)"),
    "DaytimeState": ("warning", SERVER, "daytime-get does not call tcp://a:6000 OK (asked from b:9100)"),
    "DaytimeClockOff": ("warning", SERVER, "the clock of tcp://a:6000 is off by 2.5s or more"),
    "DaytimeNotAsked": ("warning", FILE, "no new figures of daytime servers from b:9100"),
}
# good figures of fifteen minutes, in promtool's notation
GOOD = {
    "daytime_up": "1x15",
    "daytime_state": "0x15",
    "daytime_offset_seconds": "0.01x15",
    "daytime_offset_uncertainty_seconds": "0.5x15",
    "node_textfile_mtime_seconds": "0+60x15",
}
# what is different, and the alerts there are then after twelve
STORIES: list[tuple[dict[str, str], list[str]]] = [
    ({}, []),
    ({"daytime_up": "0x15", "daytime_state": "2x15", "daytime_offset_seconds": "_x15"}, ["DaytimeDown"]),
    ({"daytime_up": "0 0 1x13", "daytime_state": "2 2 0x13"}, []),
    ({"daytime_state": "1x15"}, ["DaytimeState"]),
    ({"daytime_offset_seconds": "-3x15"}, ["DaytimeClockOff"]),
    # perhaps off by three seconds, but a clock that only shows minutes cannot tell
    ({"daytime_offset_seconds": "3x15", "daytime_offset_uncertainty_seconds": "30x15"}, []),
    ({"node_textfile_mtime_seconds": "0x15"}, ["DaytimeNotAsked"]),
]


def labelled(name: str) -> str:
    labels = FILE if name.startswith("node_") else SERVER
    return name + "{" + ", ".join(f'{key}="{value}"' for key, value in labels.items()) + "}"


@needs("promtool")
def test_the_alerts_come_when_they_should(tmp_path: Path) -> None:
    """The rules are valid, and in each of the stories above promtool finds the expected alerts and no other."""
    assert run(program("promtool"), "check", "rules", str(RULES)).returncode == 0
    expected = {
        name: {"exp_labels": {**labels, "severity": severity}, "exp_annotations": {"summary": summary}}
        for name, (severity, labels, summary) in ALERTS.items()
    }
    tests = [
        {
            "interval": "1m",
            "input_series": [{"series": labelled(name), "values": said} for name, said in {**GOOD, **story}.items()],
            "alert_rule_test": [
                {"eval_time": "12m", "alertname": name, "exp_alerts": [alert] * (name in alerts)}
                for name, alert in expected.items()
            ],
        }
        for story, alerts in STORIES
    ]
    never: dict[str, Any] = {"exp_labels": {"severity": "warning"}}
    never["exp_annotations"] = {"summary": "no new figures of daytime servers"}
    alert_test = {"eval_time": "12m", "alertname": "DaytimeNotAsked", "exp_alerts": [never]}
    tests.append({"interval": "1m", "input_series": [], "alert_rule_test": [alert_test]})
    file = tmp_path / "tests.yml"
    # JSON is YAML
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    done = run(program("promtool"), "test", "rules", str(file))
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    assert set(re.findall(r"- alert: (\w+)", RULES.read_text())) == set(ALERTS)


def test_the_alerts_are_of_figures_that_there_are() -> None:
    """Every figure in the rules is one that the probe writes."""
    with serving() as daemon:
        written = {key.partition("{")[0] for key in samples(prometheus(f"127.0.0.1:{daemon.port()}").decode())}
    expressions = "\n".join(re.findall(r"expr: (.*)", RULES.read_text()))
    assert set(re.findall(r"\bdaytime_\w+", expressions)) <= written


# --- systemd


@needs("systemd-analyze")
def test_systemd_accepts_the_units(tmp_path: Path, shipped: Shipped) -> None:
    """The units of the examples are valid, and the drop-in starts the unit that lies beside it."""
    script = shipped("prometheus/daytime-textfile")
    shipped("prometheus/daytime-textfile.service", {"/usr/local/bin/daytime-textfile ": f"{script} "}, "units")
    shipped("prometheus/daytime-textfile.timer", folder="units")
    alert = shipped("systemd/daytime-alert@.service", folder="units")
    drop_in = shipped("systemd/on-failure.conf", folder="units/daytime-get.service.d")
    units = tmp_path / "units"
    checked = (SYSTEMD / "daytime-get.service").read_text().replace(INSTALLED, "/bin/true")
    (units / "daytime-get.service").write_text(checked)
    names = ["daytime-textfile.service", "daytime-textfile.timer", "daytime-get.service", alert.name]
    done = run("systemd-analyze", "verify", "--man=no", *(str(units / name) for name in names),
               env=clean_environment({"SYSTEMD_UNIT_PATH": f"{units}:"}))  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert alert.name.replace("@", "@%n") in drop_in.read_text()


# --- HAProxy


def haproxy_states(path: Path) -> dict[str, str]:
    """Ask the statistics socket for the state of every server, and how its last check ended."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(DEADLINE_S)
        connection.connect(str(path))
        connection.sendall(b"show stat\n")
        text = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    rows = [line.split(",") for line in text.splitlines() if line and not line.startswith("#")]
    return {f"{row[0]}/{row[1]}": f"{row[17]} {row[36]}" for row in rows if row[1] not in ("FRONTEND", "BACKEND")}


@needs("haproxy")
def test_haproxy_takes_out_a_server_that_is_stopped(tmp_path: Path, shipped: Shipped) -> None:
    """In both ways of the example: a server stops, is DOWN, and clients get their line from the other."""
    script = shipped("haproxy/daytime-check")
    with (
        serving() as first,
        serving() as second,
        socket.create_server(("127.0.0.1", 0)) as plain,
        socket.create_server(("127.0.0.1", 0)) as checked,
    ):
        ends = (plain.fileno(), checked.fileno())
        configuration = shipped(
            "haproxy/haproxy.cfg",
            {
                "/etc/haproxy/daytime-check": str(script),
                "bind :6000": f"bind fd@{ends[0]}",
                "bind :6001": f"bind fd@{ends[1]}",
                "192.0.2.10:6000": f"127.0.0.1:{first.port()}",
                "192.0.2.11:6000": f"127.0.0.1:{second.port()}",
            },
        )
        statistics = tmp_path / "statistics"
        own = tmp_path / "own.cfg"
        own.write_text(f"global\n    stats socket {statistics}\n")
        files = ("-f", str(own), "-f", str(configuration))
        valid = run(program("haproxy"), "-c", *files, pass_fds=ends)
        assert (valid.returncode, valid.stderr) == (0, b""), valid
        up = {"daytime/a": "UP L7OK", "daytime/b": "UP L7OK"}
        up |= {"daytime-checked/a": "UP PROCOK", "daytime-checked/b": "UP PROCOK"}
        one_down = {**up, "daytime/b": "DOWN L4CON", "daytime-checked/b": "DOWN PROCERR"}
        with running(program("haproxy"), "-db", *files, pass_fds=ends) as haproxy:
            wait_until(lambda: statistics.exists() or haproxy.process.poll() is not None, "HAProxy runs")
            # a server is taken for up until it has been asked
            wait_until(lambda: haproxy_states(statistics) == up, "all servers have been asked and are UP")
            second.send(signal.SIGTERM)
            second.wait()
            wait_until(lambda: haproxy_states(statistics) == one_down, "the stopped server is DOWN")
            for listener in (plain, checked):
                for _ in range(3):
                    code, out = read_line(listener.getsockname()[1])
                    assert (code, out[:18]) == (0, b"The Date Time is: ")


def read_line(port: int) -> tuple[int, bytes]:
    done = run(*DAYTIME_GET, f"127.0.0.1:{port}")
    return done.returncode, done.stdout


def test_the_script_for_haproxy_passes_what_still_serves(shipped: Shipped) -> None:
    """OK and WARNING pass; a clock that is wrong, a server that refuses and one that is silent do not."""
    script = str(shipped("haproxy/daytime-check"))

    def passes(port: int) -> bool:
        # as HAProxy calls it, for a backend: nothing in the environment but the PATH of the example
        done = run(script, "NOT_USED", "NOT_USED", "127.0.0.1", str(port), env={"PATH": "/usr/bin:/bin"})
        assert (done.stdout, done.stderr) == (b"", b"")
        return done.returncode == 0

    with saying(nist(0)) as port:
        assert passes(port)
    with saying(nist(1), clients=2) as port:
        assert passes(port)
        assert plugin(f"127.0.0.1:{port}")[0] == "WARNING"
    with saying(unix_time(60)) as port:
        assert not passes(port)
    with refusing() as port:
        assert not passes(port)
    with silent() as port:
        assert not passes(port)


# --- Kubernetes


def manifest() -> Any:
    # lightkube brings it
    return importlib.import_module("yaml").safe_load((EXAMPLES / "kubernetes.yaml").read_text())


@needs_module("lightkube")
def test_kubernetes_schema() -> None:
    """Every field of the manifest is one of Kubernetes' published models, with a value of its type."""

    def known(deployment: Any) -> Any:
        """Return what the models keep of it; raises when a value is not of its type."""
        return importlib.import_module("lightkube.models.apps_v1").Deployment.from_dict(deployment).to_dict()

    deployment = manifest()
    assert (deployment["apiVersion"], deployment["kind"]) == ("apps/v1", "Deployment")
    assert known(deployment) == deployment

    def changed(**fields: Any) -> Any:
        other = copy.deepcopy(deployment)
        other["spec"]["template"]["spec"]["containers"][0]["readinessProbe"].update(fields)
        return other

    # faults would have been found
    assert known(changed(timeoutSecond=3)) != changed(timeoutSecond=3)
    for wrong in ({"timeoutSeconds": "3"}, {"exec": {"command": "daytime-get"}}):
        with pytest.raises(ValueError, match="readinessProbe"):
            known(changed(**wrong))


@needs_module("lightkube")
def test_kubernetes_probes(probe: str) -> None:
    """The commands of the manifest run: 0 for a server that is up, else 2; a silent one by their own deadline."""
    specification = manifest()["spec"]["template"]["spec"]
    (container,) = specification["containers"]
    name, *arguments = container["command"]
    assert name == "/usr/bin/daytimed"
    assert run(*DAYTIMED, *arguments, "--print-config").returncode == 0
    port = container["ports"][0]["containerPort"]
    waiting = []
    with serving() as daemon, refusing() as refused, silent() as mute:
        for kind in ("readinessProbe", "livenessProbe"):
            name, *arguments = container[kind]["exec"]["command"]
            assert name == INSTALLED
            assert arguments[-1] == f"localhost:{port}"

            def command(where: int, arguments: list[str] = arguments) -> list[str]:
                return [probe, *arguments[:-1], f"127.0.0.1:{where}"]

            assert run(*command(daemon.port())).returncode == 0
            assert run(*command(refused)).returncode == 2
            limit = container[kind]["timeoutSeconds"]
            assert float(arguments[arguments.index("-t") + 1]) < limit <= container[kind]["periodSeconds"]
            waiting.append(subprocess.Popen(command(mute), stderr=subprocess.PIPE, env=clean_environment()))
        for process in waiting:
            _, err = process.communicate(timeout=DEADLINE_S)
            assert (process.returncode, b"no reply within" in err) == (2, True)


# --- Consul: no package of it is to be had, so that the keys are held against its reference (services, health checks,
# agent configuration) and its way to run a script is done here

CONSUL_AGENT = {"enable_local_script_checks": bool, "service": dict}
CONSUL_SERVICE = {"name": str, "id": str, "address": str, "port": int, "tags": list, "meta": dict, "checks": list}
CONSUL_CHECK = {"name": str, "id": str, "notes": str, "interval": str, "timeout": str, "status": str, "args": list}


def test_consul_accepts_the_keys() -> None:
    """Every key is documented, with a value of its type; the deadline of the probe is below that of the check."""
    agent = json.loads((EXAMPLES / "consul.json").read_text())
    (check,) = agent["service"]["checks"]
    for block, known in ((agent, CONSUL_AGENT), (agent["service"], CONSUL_SERVICE), (check, CONSUL_CHECK)):
        assert {key: type(value) for key, value in block.items()} == {key: known.get(key) for key in block}
    assert {"name", "args", "interval"} <= set(check)
    assert agent["enable_local_script_checks"] is True
    seconds = {key: int(check[key].removesuffix("s")) for key in ("interval", "timeout")}
    arguments = check["args"]
    assert int(arguments[arguments.index("-t") + 1]) < seconds["timeout"] < seconds["interval"]
    assert int(arguments[arguments.index("-p") + 1]) == agent["service"]["port"]


def test_consul_script_check(probe: str) -> None:
    """As Consul reads an exit status: 0 passing, 1 warning, else critical; its output fits into the 4 KB it keeps."""
    arguments = json.loads((EXAMPLES / "consul.json").read_text())["service"]["checks"][0]["args"]
    assert arguments[0] == INSTALLED

    def health(port: int) -> str:
        command = [probe, *("127.0.0.1" if word == "localhost" else word for word in arguments[1:])]
        command[command.index("-p") + 1] = str(port)
        done = run(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.stdout.startswith(b"DAYTIME ")
        assert done.stdout.count(b"\n") == 1
        assert len(done.stdout) < 4096
        return {0: "passing", 1: "warning"}.get(done.returncode, "critical")

    with serving() as daemon:
        assert health(daemon.port()) == "passing"
    with saying(unix_time(3)) as port:
        assert health(port) == "warning"
    with saying(unix_time(60)) as port:
        assert health(port) == "critical"
    with refusing() as port:
        assert health(port) == "critical"


def test_the_readme_names_every_example() -> None:
    """Each file, or its folder, has its line; and scripts can be run."""
    readme = (EXAMPLES / "README").read_text()
    listed = set(re.findall(r"(?m)^    ([\w.-]+/?) ", readme))
    assert listed == {path.name + "/" * path.is_dir() for path in EXAMPLES.iterdir()} - {"README"}
    for path in EXAMPLES.rglob("*"):
        if path.is_file():
            assert os.access(path, os.X_OK) is path.read_text().startswith("#!")
