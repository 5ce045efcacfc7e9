"""
The benchmark: what a reply costs a daytime server, how fast it starts and how it grows, for daytimed and its peers.

What is compared is the CPU time of the server's whole process tree for each reply: it says the same whether or not
the load generator takes turns with the server on one CPU. Replies a second and latencies hold for this machine, this
load and loopback alone, where the server also pays for some of the client's half of TCP, and the other way round.

In each round every server is started anew, warmed up, measured and stopped; the next round goes the other way. All
figures are medians over the rounds, with the least and the greatest; a ratio is taken within a round first.
"""

from __future__ import annotations

import argparse
import compileall
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import cost
import document
from builds import HERE, ROOT, BuildError, build
from lineup import MissingError, Server, list_servers, versions
from running import running

README = ROOT / "README.md"
BEGIN, END = "<!-- figures: made by make bench -->", "<!-- end of the figures -->"
PARTS = ("cost", "start", "growth")
#: What a run needs at the least to be written into the README unasked.
ROUNDS, REPLIES = 5, 20000


def main() -> int:
    """Run the benchmark; return 1 if it cannot be run, or if daytimed failed a client."""
    options, busy = parse(), os.getloadavg()[0]
    # what is started is ended in a finally, so let SIGTERM get there too
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        build("load.c")
        servers, missing = line_up(options)
        results = measure_cost(servers, options)
    except (BuildError, MissingError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    tables = [*cost.tables(results, missing)]
    for table in tables:
        print(table.plain())
    print(document.conditions(busy, options.rounds, versions(servers)))
    return 1 if any(each.errors for server, rounds in results.items() if server.ours for each in rounds) else 0


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure daytimed next to its peers.")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help="how often everything is measured")
    parser.add_argument("--replies", type=int, default=REPLIES, metavar="N", help="in a round; slow peers: a tenth")
    parser.add_argument("--write", type=int, default=0, metavar="BYTES", help="what each client writes first")
    parser.add_argument("--only", action="append", default=[], choices=PARTS, help="this part; may be repeated")
    peer = "only these peers, by a part of their names; may be repeated"
    parser.add_argument("--peer", action="append", default=[], metavar="NAME", help=peer)
    against = "measure the daytimed of this source tree in the same rounds, and no peers; may be repeated"
    parser.add_argument("--against", type=Path, action="append", default=[], metavar="DIR", help=against)
    options = parser.parse_args()
    if min(options.rounds, options.replies) < 1:
        parser.error("--rounds and --replies are at least 1")
    for each in options.against:
        # without this, -m would find the installed one and measure that
        if not (each / "daytimed/__main__.py").is_file():
            parser.error(f"--against {each}: there is no daytimed in it")
    return options


def line_up(options: argparse.Namespace) -> tuple[list[Server], dict[str, str]]:
    """Return the servers that are asked for and start, and of the others why not."""
    for each in (ROOT, *options.against):
        # a first start that compiles would be measured
        compileall.compile_dir(each / "daytimed", quiet=2)
    compileall.compile_dir(HERE, quiet=2)
    servers, missing = list_servers(options.against)
    if options.peer:
        servers = [each for each in servers if each.ours or any(name in each.name for name in options.peer)]
        missing = {}
    there = []
    for server in servers:
        try:
            with running(server):
                there.append(server)
        except MissingError as error:
            if server.ours or options.against:
                raise MissingError(f"{server.name}: {error}") from error
            missing[server.name] = str(error)
    return there, missing


def measure_cost(servers: Sequence[Server], options: argparse.Namespace) -> Mapping[Server, list[cost.Round]]:
    """Measure every server in turn, in each round the other way round."""
    results: dict[Server, list[cost.Round]] = {server: [] for server in servers}
    for turn in range(options.rounds):
        for server in servers if turn % 2 == 0 else reversed(servers):
            progress(f"round {turn + 1} of {options.rounds}: {server.name}")
            results[server].append(cost.measure(server, options.replies, options.write))
    return results


def progress(what: str) -> None:
    """Say what is done now, where somebody looks."""
    if sys.stderr.isatty():
        print(f"{what:<100}", end="\r", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
