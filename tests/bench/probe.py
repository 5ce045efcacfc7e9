"""
The cost of a run of daytime-get, beside the bare interpreter with the modules that it needs, and check_tcp.

A monitoring system starts the probe for every check, so its start determines its speed. Each round runs each program
once against the same local server. Figures are medians over the rounds; ratios are taken within a round first.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from statistics import median

from daytimed.probe.parsers import LONGEST_REPLY, parse
from daytimed.probe.zones import load_offsets

#: The longest accepted reply, made of the slowest piece to parse: tests/unit/test_parsers.py tries all pieces.
SLOWEST_REPLY = (b"00 0 0 50.0 UTC(NIST) *" * LONGEST_REPLY)[:LONGEST_REPLY]
BARE = "bare interpreter"


def serve() -> tuple[subprocess.Popen[str], int]:
    """Start a server; return it and its port."""
    command = [sys.executable, "-m", "daytimed", "-l", "127.0.0.1:0", "--log-format", "json"]
    # events of clients would fill a pipe that nobody reads
    environment = {**os.environ, "DAYTIMED_LOG_CLIENTS": "none"}
    server = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, text=True)
    assert server.stderr
    port = 0
    for line in server.stderr:
        if '"listener_opened"' in line:
            port = int(line.partition('"address": "')[2].partition('"')[0].rpartition(":")[2])
        if '"daemon_ready"' in line:
            return server, port
    raise SystemExit("probe: the server does not start")


def commands(port: int) -> dict[str, list[str]]:
    probe = os.path.join(sysconfig.get_path("scripts"), "daytime-get")
    address = f"127.0.0.1:{port}"
    found = {
        BARE: [sys.executable, "-c", "import socket, argparse"],
        "daytime-get": [probe, address],
        "daytime-get -o nagios -w 1": [probe, "-o", "nagios", "-w", "1", address],
        "daytime-get -o json": [probe, "-o", "json", address],
    }
    check_tcp = shutil.which("check_tcp", path=f"{os.environ.get('PATH', '')}:/usr/lib/nagios/plugins")
    if check_tcp:
        found["check_tcp"] = [check_tcp, "-H", "127.0.0.1", "-p", str(port), "-e", "The Date Time is"]
    else:
        print("missing: check_tcp (monitoring-plugins-basic)")
    return found


def measure(asked: dict[str, list[str]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each round, by name."""
    taken: dict[str, list[float]] = {name: [] for name in asked}
    for number in range(-2, rounds):
        for name, command in asked.items():
            begun = time.perf_counter()
            # no timeout: with one, Python polls
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            # the first rounds fill caches, compiled modules included
            if number >= 0:
                taken[name].append(time.perf_counter() - begun)
    return taken


def reading_ms(rounds: int) -> float:
    """Return the milliseconds of CPU time for a KiB of the slowest reply."""
    zone = load_offsets("UTC")
    taken = []
    for _ in range(rounds):
        begun = time.process_time()
        parse(SLOWEST_REPLY, time.time_ns(), zone)
        taken.append(time.process_time() - begun)
    return median(taken) * 1e3 / (LONGEST_REPLY / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0].strip())
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    server, port = serve()
    try:
        taken = measure(commands(port), rounds)
    finally:
        server.terminate()
        server.communicate()
    print(f"{'run of the probe':28}{'wall ms':>9}{'min':>8}{'max':>8}{'ratio':>8}{'min':>7}{'max':>7}")
    for name, seconds in taken.items():
        ratios = [mine / bare for mine, bare in zip(seconds, taken[BARE], strict=True)]
        print(
            f"{name:28}{median(seconds) * 1e3:9.1f}{min(seconds) * 1e3:8.1f}{max(seconds) * 1e3:8.1f}"
            f"{median(ratios):8.2f}{min(ratios):7.2f}{max(ratios):7.2f}"
        )
    print(f"slowest reply to parse: {reading_ms(rounds):.2f} ms of CPU time a KiB")


if __name__ == "__main__":
    main()
