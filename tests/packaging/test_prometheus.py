"""The metrics of the probe and the examples for Prometheus, checked by its own programs."""

from __future__ import annotations

import json
import re
import socket
import stat
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

from examples import EXAMPLES, shipped
from harness import DAYTIME_GET, DEADLINE_S, clean_environment, needs, program, run, running, serving
from servers import refusing, unix_time


def prometheus(*arguments: str) -> bytes:
    return run(*DAYTIME_GET, "-o", "prometheus", *arguments).stdout


@needs("promtool")
def test_promtool_finds_nothing_to_say_of_the_figures() -> None:
    """Prometheus accepts names, types and help texts, for servers that reply and that refuse."""
    with serving() as daemon, refusing() as refused:
        text = prometheus(f"127.0.0.1:{daemon.port()}", refused)
    assert b"\ndaytime_up{" in text
    done = run(program("promtool"), "check", "metrics", input=text, stdin=None)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def samples(text: str) -> dict[str, float]:
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[:1] != "#"}


@needs("prometheus-node-exporter")
def test_node_exporter_shows_the_textfile(tmp_path: Path) -> None:
    """node_exporter serves what the script writes, also for CRITICAL; without new metrics, the old ones stay."""
    script = str(shipped(tmp_path, "prometheus/daytime-textfile"))
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

        # the server has stopped: the metrics say CRITICAL
        assert run(script, str(file), "-t", "5", address).returncode == 0
        shown = scrape()
        assert shown[f'daytime_up{{address="tcp://{address}"}}'] == 0
        assert shown[f'daytime_state{{address="tcp://{address}"}}'] == 2
        assert f'daytime_offset_seconds{{address="tcp://{address}"}}' not in shown

        # wrong arguments: the old metrics stay, and their age shows it
        before = file.read_bytes()
        assert run(script, str(file), "-t", "soon", address).returncode == 3
        assert file.read_bytes() == before
        assert [path.name for path in folder.iterdir()] == ["daytime.prom"]


def test_the_textfile_is_replaced_in_one_step(tmp_path: Path) -> None:
    """
    While the probe waits for its server, the collector finds the old metrics and nothing else.

    The file of an interrupted run does not matter.
    """
    script = str(shipped(tmp_path, "prometheus/daytime-textfile"))
    file = tmp_path / "textfiles" / "daytime.prom"
    file.parent.mkdir()
    file.write_text("old\n")
    (file.parent / "daytime.prom.new").write_text("stopped\n" * 1000)
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
    assert [path.name for path in file.parent.iterdir()] == ["daytime.prom"]
    assert f'daytime_up{{address="tcp://{address}"}} 1' in file.read_text()
    assert "stopped" not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


RULES = EXAMPLES / "prometheus" / "rules.yml"
SERVER = {"address": "tcp://a:6000", "instance": "b:9100"}
FILE = {"file": "/x/daytime.prom", "instance": "b:9100"}
ALERTS = {
    "DaytimeDown": ("critical", SERVER, "tcp://a:6000 sends no whole reply with a time (queried from b:9100)"),
    "DaytimeState": ("warning", SERVER, "daytime-get finds tcp://a:6000 not OK (queried from b:9100)"),
    "DaytimeClockOff": ("warning", SERVER, "the clock of tcp://a:6000 is off by 2.5s or more"),
    "DaytimeNotAsked": ("warning", FILE, "no new metrics of daytime servers from b:9100"),
}
# good metrics for fifteen minutes, in promtool's notation
GOOD = {
    "daytime_up": "1x15",
    "daytime_state": "0x15",
    "daytime_offset_seconds": "0.01x15",
    "daytime_offset_uncertainty_seconds": "0.5x15",
    "node_textfile_mtime_seconds": "0+60x15",
}
# the metrics that differ, and the alerts after twelve minutes
STORIES: list[tuple[dict[str, str], list[str]]] = [
    ({}, []),
    ({"daytime_up": "0x15", "daytime_state": "2x15", "daytime_offset_seconds": "_x15"}, ["DaytimeDown"]),
    ({"daytime_up": "0 0 1x13", "daytime_state": "2 2 0x13"}, []),
    ({"daytime_state": "1x15"}, ["DaytimeState"]),
    ({"daytime_offset_seconds": "-3x15"}, ["DaytimeClockOff"]),
    # perhaps off by three seconds, but a clock that shows only minutes does not prove it
    ({"daytime_offset_seconds": "3x15", "daytime_offset_uncertainty_seconds": "30x15"}, []),
    ({"node_textfile_mtime_seconds": "0x15"}, ["DaytimeNotAsked"]),
]


def labelled(name: str) -> str:
    labels = FILE if name.startswith("node_") else SERVER
    return name + "{" + ", ".join(f'{key}="{value}"' for key, value in labels.items()) + "}"


@needs("promtool")
def test_the_alerts_come_when_they_should(tmp_path: Path) -> None:
    """The rules are valid, and in each story promtool finds the expected alerts and no other."""
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
    never["exp_annotations"] = {"summary": "no new metrics of daytime servers"}
    alert_test = {"eval_time": "12m", "alertname": "DaytimeNotAsked", "exp_alerts": [never]}
    tests.append({"interval": "1m", "input_series": [], "alert_rule_test": [alert_test]})
    file = tmp_path / "tests.yml"
    # JSON is YAML
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    done = run(program("promtool"), "test", "rules", str(file))
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    assert set(re.findall(r"- alert: (\w+)", RULES.read_text())) == set(ALERTS)


def test_the_alerts_are_of_figures_that_there_are() -> None:
    """The rules use only metrics that the probe writes."""
    with serving() as daemon:
        written = {key.partition("{")[0] for key in samples(prometheus(f"127.0.0.1:{daemon.port()}").decode())}
    expressions = "\n".join(re.findall(r"expr: (.*)", RULES.read_text()))
    assert set(re.findall(r"\bdaytime_\w+", expressions)) <= written
