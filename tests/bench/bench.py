"""
The benchmark: what a reply costs, how fast a server starts and how it grows, for daytimed and its peers.

It compares the CPU time of a server's process tree for each reply, which does not depend on whether the clients share a
CPU with the server. Replies a second and latencies hold only for this machine, this load and loopback, where the server
also pays for some of the clients' half of TCP and the clients for some of the server's.

Each round starts every server, warms it up, measures it and stops it; the next round reverses the order. Figures are
medians over the rounds with their intervals; ratios are taken within a round first. daytimed runs twice in each round:
its ratio to itself is the noise of the run (judgement.py).
"""

from __future__ import annotations

import argparse
import compileall
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import cost
import growth
import report
import starts
import targets
from builds import HERE, ROOT, BuildError, build
from document import Table
from judgement import LEGEND, Noise
from lineup import MissingError, Server, list_servers, versions
from machine import Machine
from running import running

COST, START, GROWTH = "cost", "start", "growth"
#: The defaults, and the least of a run that writes the documents unasked. Of nine rounds or more, the interval leaves
#: out the least and the greatest: one bad round does not spoil it.
ROUNDS, REPLIES = 9, 30000
#: As in load.c.
MOST_WRITE = 1 << 20
#: Starts in a round.
STARTS = 3


def main() -> int:
    """Run the benchmark; return 1 if it cannot run, or if daytimed failed a client."""
    options, machine = parse(), Machine()
    for number in (signal.SIGINT, signal.SIGTERM):
        # raise, so that every finally stops what it started
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    results: cost.Results = {}
    noise: Noise | None = None
    times: starts.Times | None = None
    grown: growth.Growth | None = None
    tables: list[Table] = []
    try:
        build("load.c")
        servers, missing = line_up(options)
        if COST in options.only:
            results = measure_cost(servers, options)
            noise = cost.noise(results)
            tables += cost.tables(results, missing, options.replies, options.write)
        if START in options.only:
            times = starts.measure(servers, STARTS * options.rounds, progress)
            tables.append(starts.table(times, missing))
        if GROWTH in options.only:
            grown = growth.measure(options.rounds, options.replies // 2, progress)
            missing |= grown.missing
            tables += growth.tables(grown)
    except (BuildError, MissingError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    machine.end()
    tables.append(targets.table(results, times, grown, noise))
    statements = [machine.conditions(options.rounds, *versions(servers)), *machine.disturbances()]
    statements += noise.sentences() if noise else ["This run decides no target: only the part `cost` measures A/A."]
    print(*(table.plain() for table in tables), LEGEND, *statements, sep="\n")
    why = not_whole(options, missing)
    if why and not options.readme:
        print(f"No document is changed: {why} (--readme changes them).")
    else:
        report.write(statements, tables, results, grown)
        print("The documents and the pictures now have these figures.")
    failed = [each for server, rounds in results.items() if server.ours for each in rounds if each.errors]
    return 1 if failed or (grown and growth.failed(grown)) else 0


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure daytimed beside its peers.")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help="rounds (%(default)s)")
    parser.add_argument("--replies", type=int, default=REPLIES, metavar="N", help="replies a round (%(default)s)")
    parser.add_argument("--write", type=int, default=0, metavar="BYTES", help="bytes that each client writes first")
    part = "only this part; repeatable"
    parser.add_argument("--only", action="append", default=[], choices=(COST, START, GROWTH), help=part)
    peer = "only peers whose name contains NAME; repeatable"
    parser.add_argument("--peer", action="append", default=[], metavar="NAME", help=peer)
    against = "compare with the daytimed of this source tree, without peers; repeatable"
    parser.add_argument("--against", type=Path, action="append", default=[], metavar="DIR", help=against)
    readme = "write the documents and the pictures even if this is not a whole run"
    parser.add_argument("--readme", action="store_true", help=readme)
    options = parser.parse_args()
    if min(options.rounds, options.replies) < 1:
        parser.error("--rounds and --replies must be at least 1")
    if not 0 <= options.write <= MOST_WRITE:
        parser.error(f"--write must be from 0 to {MOST_WRITE}")
    if options.against and options.peer:
        parser.error("--peer cannot be combined with --against, which has no peers")
    for each in options.against:
        # without this, -m would find and measure the installed one
        if not (each / "daytimed/__init__.py").is_file():
            parser.error(f"--against {each}: no daytimed in this directory")
    options.partial = bool(options.only or options.peer or options.against or options.write)
    options.only = options.only or [COST, *([] if options.against else [START, GROWTH])]
    return options


def not_whole(options: argparse.Namespace, missing: Mapping[str, str]) -> str:
    """Return why a run does not write the documents, or nothing."""
    if options.partial or options.rounds < ROUNDS or options.replies < REPLIES:
        return f"this was not the whole benchmark, with at least {ROUNDS} rounds of {REPLIES} replies"
    return f"{', '.join(missing)} are missing" if missing else ""


def line_up(options: argparse.Namespace) -> tuple[list[Server], dict[str, str]]:
    """Return the requested servers that start, and why others are missing."""
    for each in (ROOT, *options.against):
        # or a first start would compile while it is measured
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
                raise
            missing[server.name] = str(error)
    return there, missing


def measure_cost(servers: Sequence[Server], options: argparse.Namespace) -> Mapping[Server, list[cost.Round]]:
    """Measure every server in turn; reverse the order with each round."""
    results: dict[Server, list[cost.Round]] = {server: [] for server in servers}
    for turn in range(options.rounds):
        for server in servers if turn % 2 == 0 else reversed(servers):
            progress(f"round {turn + 1} of {options.rounds}: {server.name}")
            results[server].append(cost.measure(server, options.replies, options.write))
    return results


def progress(what: str) -> None:
    """Show the current step on a terminal."""
    if sys.stderr.isatty():
        print(f"{what:<100}", end="\r", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
