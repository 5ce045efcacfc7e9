"""The examples for Kubernetes and Consul, checked against published models and by exit status."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from examples import EXAMPLES, INSTALLED, installed
from harness import DAYTIMED, DEADLINE_S, clean_environment, run, serving
from servers import refusing, saying, silence, stream_server, unix_time

NO_LIGHTKUBE = "the Python package lightkube is not installed"


def manifest() -> Any:
    # a dependency of lightkube
    yaml = pytest.importorskip("yaml", reason=NO_LIGHTKUBE)
    return yaml.safe_load((EXAMPLES / "kubernetes.yaml").read_text())


def test_the_program_of_the_examples_is_written_once(tmp_path: Path) -> None:
    """Asking for the probe again leaves the file alone, which a shell that has just started may not have read yet."""
    os.utime(installed(tmp_path), (0, 0))
    assert Path(installed(tmp_path)).stat().st_mtime == 0


def test_kubernetes_schema() -> None:
    """Every field of the manifest exists in the published models of Kubernetes, with a value of its type."""
    models = pytest.importorskip("lightkube.models.apps_v1", reason=NO_LIGHTKUBE)
    deployment = manifest()
    assert (deployment["apiVersion"], deployment["kind"]) == ("apps/v1", "Deployment")
    # the models drop unknown fields, and raise for a value of another type
    assert models.Deployment.from_dict(deployment).to_dict() == deployment


def test_kubernetes_probes(tmp_path: Path) -> None:
    """The commands of the manifest exit with 0 if the server replies, otherwise 2, and meet their own deadline."""
    specification = manifest()["spec"]["template"]["spec"]
    (container,) = specification["containers"]
    name, *arguments = container["command"]
    assert name == "/usr/bin/daytimed"
    assert run(*DAYTIMED, *arguments, "--print-config").returncode == 0
    port = container["ports"][0]["containerPort"]
    waiting = []
    with serving() as daemon, refusing() as refused, stream_server(silence) as mute:
        for kind in ("readinessProbe", "livenessProbe"):
            name, *arguments = container[kind]["exec"]["command"]
            assert name == INSTALLED
            assert arguments[-1] == f"localhost:{port}"
            command = [installed(tmp_path), *arguments[:-1]]
            assert run(*command, f"127.0.0.1:{daemon.port()}").returncode == 0
            assert run(*command, refused).returncode == 2
            limit = container[kind]["timeoutSeconds"]
            assert float(arguments[arguments.index("-t") + 1]) < limit <= container[kind]["periodSeconds"]
            waiting.append(subprocess.Popen([*command, mute], stderr=subprocess.PIPE, env=clean_environment()))
        for process in waiting:
            _, err = process.communicate(timeout=DEADLINE_S)
            assert (process.returncode, b"no reply within" in err) == (2, True)


def test_consul_deadlines() -> None:
    """The probe gives up before Consul, Consul before the next check, and the check queries its own service."""
    # Consul is not packaged: this checks that the file is consistent, and the next test runs the script as Consul does
    service = json.loads((EXAMPLES / "consul.json").read_text())["service"]
    (check,) = service["checks"]
    seconds = {key: int(check[key].removesuffix("s")) for key in ("interval", "timeout")}
    arguments = check["args"]
    assert int(arguments[arguments.index("-t") + 1]) < seconds["timeout"] < seconds["interval"]
    assert int(arguments[arguments.index("-p") + 1]) == service["port"]


def test_consul_script_check(tmp_path: Path) -> None:
    """Consul reads exit status 0 as passing, 1 as warning, others as critical; the output fits its limit of 4 KB."""
    arguments = json.loads((EXAMPLES / "consul.json").read_text())["service"]["checks"][0]["args"]
    assert arguments[0] == INSTALLED

    def health(port: int) -> str:
        command = [installed(tmp_path), *("127.0.0.1" if word == "localhost" else word for word in arguments[1:])]
        command[command.index("-p") + 1] = str(port)
        done = run(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.stdout.startswith(b"DAYTIME ")
        assert done.stdout.count(b"\n") == 1
        assert len(done.stdout) < 4096
        return {0: "passing", 1: "warning"}.get(done.returncode, "critical")

    with serving() as daemon:
        assert health(daemon.port()) == "passing"
    with stream_server(saying(unix_time(3))) as server:
        assert health(server.port) == "warning"
    with stream_server(saying(unix_time(60))) as server:
        assert health(server.port) == "critical"
    with refusing() as server:
        assert health(server.port) == "critical"
