"""
A small benchmark: what one reply costs a daytime server, for daytimed and for its peers on this machine.

What is compared is the CPU time of the server's whole process tree for each reply: it says the same whether or not
the load generator takes turns with the server on one CPU. Replies a second and latencies hold for this machine, this
load and loopback alone, where the server also pays for some of the client's half of TCP, and the other way round.

In each round every server is started anew, warmed up, measured and stopped; the next round goes the other way. All
figures are medians over the rounds, and a ratio is taken within a round first.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
HOST = "127.0.0.1"
WORKERS = 2
PATIENCE_S = 10.0
#: socketserver reaps its children twice a second; until then it is not known what they cost.
REAPED_S = 2.0
LOAD_LIMIT_S = 300.0
COMPILE_LIMIT_S = 60.0
CFLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread")
JUDGING_NAME = "daytimed, access and rate"
#: Every client is judged, and nobody is refused.
JUDGING = """
[access]
allow = ["127.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"]
deny = ["198.51.100.0/24", "203.0.113.0/24"]
rate = 1000000
burst = 1000000
"""
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


@dataclass
class Server:
    """One server of the comparison; `{port}` stands for the port in its command."""

    name: str
    command: Sequence[str]
    cwd: Path = ROOT
    ours: bool = False
    """Nobody may fail here."""
    slow: bool = False
    """Measured with a tenth of the replies."""
    rounds: list[Round] = field(default_factory=list)


@dataclass(frozen=True)
class Round:
    """What one round has measured."""

    cpu_us: float
    replies_per_s: float
    p50_us: float
    p99_us: float
    pss_mib: float
    errors: Counter[str]


def main() -> int:
    """Run the benchmark; return 1 if it cannot be run, or if daytimed failed a client."""
    options, busy = parse(), round(os.getloadavg()[0], 1)
    compiler = shutil.which("cc")
    if compiler is None:
        print("bench: there is no C compiler (cc); install the package gcc", file=sys.stderr)
        return 1
    # what is started is ended in a finally, so let SIGTERM get there too
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="daytimed-bench-") as folder:
        for name in ("load", "prefork"):
            command = [compiler, *CFLAGS, "-o", f"{folder}/{name}", str(HERE / f"{name}.c")]
            subprocess.run(command, check=True, timeout=COMPILE_LIMIT_S)
        servers = list_servers(Path(folder), options.against)
        for turn in range(options.rounds):
            for server in servers if turn % 2 == 0 else reversed(servers):
                if sys.stderr.isatty():
                    print(f"round {turn + 1} of {options.rounds}: {server.name:<30}", end="\r", file=sys.stderr)
                server.rounds.append(measure(server, Path(folder, "load"), options))
    print_table(servers)
    print_cost(servers)
    kind = f"{options.threads} clients" + f" that write {options.write} bytes first" * bool(options.write)
    print(f"{options.rounds} rounds of {options.replies} replies (slow peers: a tenth), {kind}")
    system = f"Linux {'.'.join(platform.release().split('.')[:2])}, {os.cpu_count()} CPUs, load average {busy} before"
    print(f"{system}, Python {platform.python_version()}, {time.strftime('%F')}")
    return 1 if any(each.errors for server in servers if server.ours for each in server.rounds) else 0


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure what a reply of daytimed costs, next to its peers.")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="how often everything is measured")
    parser.add_argument("--replies", type=int, default=20000, metavar="N", help="in a round; slow peers: a tenth")
    parser.add_argument("--threads", type=int, default=16, metavar="N", help="clients at a time")
    parser.add_argument("--write", type=int, default=0, metavar="BYTES", help="what each client writes first")
    against = "measure the daytimed of this source tree in the same rounds, and no peers; may be repeated"
    parser.add_argument("--against", type=Path, action="append", default=[], metavar="DIR", help=against)
    options = parser.parse_args()
    if min(options.rounds, options.replies, options.threads) < 1:
        parser.error("--rounds, --replies and --threads are at least 1")
    for each in options.against:
        # without this, -m would find the installed one and measure that
        if not (each / "daytimed/__main__.py").is_file():
            parser.error(f"--against {each}: there is no daytimed in it")
    return options


def list_servers(folder: Path, against: Sequence[Path]) -> list[Server]:
    """Return what is compared, daytimed first; -m takes it from the working directory, and no file configures it."""
    listen = f"tcp4://{HOST}:{{port}}"

    def ours(config: str | Path) -> Sequence[str]:
        return (sys.executable, "-m", "daytimed", "-c", str(config), "-l", listen, "-w", str(WORKERS))

    own = Server("daytimed", ours(os.devnull), ours=True)
    if against:
        return [own, *(Server(str(tree), ours(os.devnull), cwd=tree) for tree in against)]
    prefork, peers = str(folder / "prefork"), str(HERE / "peers.py")
    judging = folder / "judging.toml"
    judging.write_text(JUDGING)
    return [
        own,
        Server(JUDGING_NAME, ours(judging), ours=True),
        Server("C prefork", (prefork, "{port}", str(WORKERS))),
        Server("C prefork, one segment", (prefork, "-1", "{port}", str(WORKERS))),
        Server("asyncio, one process", (sys.executable, peers, "asyncio", "{port}"), slow=True),
        Server("ForkingTCPServer", (sys.executable, peers, "forking", "{port}"), slow=True),
    ]


def measure(server: Server, load: Path, options: argparse.Namespace) -> Round:
    """Start a server, ask it, and stop it."""
    replies = max(1, options.replies // 10 if server.slow else options.replies)
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]

    def ask(total: int) -> dict[str, Any]:
        command = list(map(str, (load, HOST, port, options.threads, total, options.write)))
        result: dict[str, Any] = json.loads(subprocess.check_output(command, timeout=LOAD_LIMIT_S))
        return result

    with running(server, port) as pid:
        ask(max(1, replies // 10))
        before = cpu_ns(pid)
        result = ask(replies)
        # a client that got no reply counts here too, or a server that fails most of them would look dear; see errors
        cpu_us = (cpu_ns(pid) - before) / 1000 / replies
        speed, p50, p99 = (result[key] for key in ("replies_per_s", "p50_us", "p99_us"))
        return Round(cpu_us, speed, p50, p99, pss_mib(pid), Counter(result["errors"]))


@contextlib.contextmanager
def running(server: Server, port: int) -> Iterator[int]:
    """Run a server while the body runs, which begins once it accepts; yield its process id."""
    command = [part.format(port=port) for part in server.command]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DAYTIMED_")}
    null = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=server.cwd, env=environment, stdin=null, stdout=null, stderr=null)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not accepts(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"bench: {server.name} does not start: {' '.join(command)}")
            time.sleep(0.02)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(PATIENCE_S)


def accepts(port: int) -> bool:
    """Say whether somebody serves this port."""
    try:
        with socket.create_connection((HOST, port), timeout=PATIENCE_S) as client:
            return bool(client.recv(1024))
    except OSError:
        return False


def tree(pid: int) -> list[int]:
    """Return a process and all below it that are there, zombies too."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return [pid]
    return [pid, *(each for child in children for each in tree(int(child)))]


def cpu_ns(pid: int) -> int:
    """Return the CPU time of a process tree: of the living to the nanosecond, of reaped children in clock ticks."""
    deadline = time.monotonic() + REAPED_S
    while any(state_of(each)[0] == "Z" for each in tree(pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    used = 0
    for each in tree(pid):
        ticks = [int(field) * TICK_NS for field in state_of(each)[11:15]]
        with contextlib.suppress(OSError):
            # none of the servers has threads, so the first is all; a kernel without schedstat says 0
            used += int(Path(f"/proc/{each}/schedstat").read_text().split()[0]) or sum(ticks[:2])
        used += sum(ticks[2:])
    return used


def state_of(pid: int) -> list[str]:
    """Return /proc/PID/stat from its third field on, proc(5): 0 is the state, 11 to 14 utime stime cutime cstime."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["X", *"0" * 20]


def pss_mib(pid: int) -> float:
    """Return the memory of a process tree; what is shared counts once."""
    kib = 0
    for each in tree(pid):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
            kib += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kib / 1024


def print_cost(servers: Sequence[Server]) -> None:
    """Print by how much judging every client makes a reply dearer."""
    judging = next((server for server in servers if server.name == JUDGING_NAME), None)
    if judging:
        pairs = zip(judging.rounds, servers[0].rounds, strict=True)
        costs = [100 * (each.cpu_us / plain.cpu_us - 1) for each, plain in pairs]
        print(f"access and rate cost {median(costs):+.1f} % a reply ({min(costs):+.1f} to {max(costs):+.1f})")


def print_table(servers: Sequence[Server]) -> None:
    """Print the medians."""
    rows = [["server", "CPU us/reply", "daytimed / it (min-max)", "replies/s", "p50 us", "p99 us", "PSS MiB", "errors"]]
    for server in servers:
        rounds = server.rounds
        ratios = [mine.cpu_us / its.cpu_us for mine, its in zip(servers[0].rounds, rounds, strict=True)]
        ratio = "" if server is servers[0] else f"{median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f})"
        digits = {"cpu_us": 1, "replies_per_s": 0, "p50_us": 0, "p99_us": 0, "pss_mib": 1}
        cpu, *others = (f"{median(getattr(each, name) for each in rounds):.{n}f}" for name, n in digits.items())
        errors = sum((each.errors for each in rounds), Counter[str]())
        told = ", ".join(f"{count} {name}" for name, count in errors.items()) or "0"
        rows.append([server.name, cpu, ratio, *others, told])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        print(row[0].ljust(widths[0]), *cells, sep="  ")


if __name__ == "__main__":
    sys.exit(main())
