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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cost
import document
import growth
import picture
import starts
import targets
from builds import HERE, ROOT, BuildError, build
from document import Table
from lineup import OWN, MissingError, Server, list_servers, versions
from running import running

README = ROOT / "README.md"
BEGIN, END = "<!-- figures: made by make bench -->", "<!-- end of the figures -->"
COST, START, GROWTH = "cost", "start", "growth"
#: What a run has at the least to be written into the README unasked.
ROUNDS, REPLIES = 5, 30000
#: As in load.c.
MOST_WRITE = 1 << 20
#: Starts in a round.
STARTS = 3


def main() -> int:
    """Run the benchmark; return 1 if it cannot be run, or if daytimed failed a client."""
    options, busy = parse(), os.getloadavg()[0]
    for number in (signal.SIGINT, signal.SIGTERM):
        # what is started is ended in a finally: get there
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    results: cost.Results = {}
    times: starts.Times | None = None
    grown: growth.Growth | None = None
    try:
        build("load.c")
        servers, missing = line_up(options)
        tables: list[Table] = []
        if COST in options.only:
            results = measure_cost(servers, options)
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
    if not options.against:
        tables.append(targets.table(results, times, grown))
    for table in tables:
        print(table.plain())
    conditions = document.conditions(busy, options.rounds, *versions(servers))
    print(conditions)
    why = not_whole(options, missing)
    if why and not options.readme:
        print(f"README.md is as it was: {why} (--readme writes it nevertheless).")
    else:
        document.fill(README, BEGIN, END, [conditions, "", *illustrate(results, grown), *lay_out(tables)])
        print("README.md has these figures now, and tests/bench the pictures.")
    failed = [each for server, rounds in results.items() if server.ours for each in rounds if each.errors]
    return 1 if failed or (grown and growth.failed(grown)) else 0


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure daytimed next to its peers.")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help="how often everything is measured")
    parser.add_argument("--replies", type=int, default=REPLIES, metavar="N", help="in a round; slow peers: fewer")
    parser.add_argument("--write", type=int, default=0, metavar="BYTES", help="what each client writes first")
    part = "this part; may be repeated"
    parser.add_argument("--only", action="append", default=[], choices=(COST, START, GROWTH), help=part)
    peer = "only these peers, by a part of their names; may be repeated"
    parser.add_argument("--peer", action="append", default=[], metavar="NAME", help=peer)
    against = "measure the cost of the daytimed of this source tree as well, and no peers; may be repeated"
    parser.add_argument("--against", type=Path, action="append", default=[], metavar="DIR", help=against)
    readme = "write README.md and the pictures, though this is not the whole of it"
    parser.add_argument("--readme", action="store_true", help=readme)
    options = parser.parse_args()
    if min(options.rounds, options.replies) < 1:
        parser.error("--rounds and --replies are at least 1")
    if not 0 <= options.write <= MOST_WRITE:
        parser.error(f"--write is from 0 to {MOST_WRITE}")
    if options.against and options.peer:
        parser.error("--peer: there are no peers with --against")
    for each in options.against:
        # without this, -m would find the installed one and measure that
        if not (each / "daytimed/__init__.py").is_file():
            parser.error(f"--against {each}: there is no daytimed in it")
    options.partial = bool(options.only or options.peer or options.against or options.write)
    options.only = options.only or [COST, *([] if options.against else [START, GROWTH])]
    return options


def not_whole(options: argparse.Namespace, missing: Mapping[str, str]) -> str:
    """Return why a run is not for the README, or nothing."""
    if options.partial or options.rounds < ROUNDS or options.replies < REPLIES:
        return f"this was not the whole benchmark, with at least {ROUNDS} rounds of {REPLIES} replies"
    return f"{', '.join(missing)} are missing" if missing else ""


def illustrate(results: cost.Results, grown: growth.Growth | None) -> Iterator[str]:
    """Write the pictures; yield the lines that show them."""
    if not results:
        return
    bars = {server.name: [each.cpu_us for each in rounds] for server, rounds in results.items()}
    title = f"Server CPU of a reply, {cost.USUAL} clients (median, least and greatest)"
    for name, theme in picture.THEMES.items():
        drawn = picture.draw(title, bars, OWN, panels(grown) if grown else [], theme)
        (HERE / f"speed-{name}.svg").write_text(drawn)
    place = HERE.relative_to(ROOT)
    yield "<picture>"
    yield f'  <source media="(prefers-color-scheme: dark)" srcset="{place}/speed-dark.svg">'
    yield f'  <img alt="{title}: the first table in bars" src="{place}/speed-light.svg">'
    yield "</picture>"
    yield ""


def panels(grown: growth.Growth) -> list[picture.Panel]:
    """Return the curves of CPU and of memory."""
    shown = [(what, "cpu_us", "CPU µs/reply") for what in (growth.WORKERS, growth.LISTENERS, growth.ASKING)]
    shown += [(what, "pss_mib", "PSS MiB") for what in (growth.WORKERS, growth.LISTENERS, growth.ASKING)]
    return [
        picture.Panel(
            f"{unit} over {what}",
            {
                name: {much: [getattr(each, figure) for each in points] for much, points in by.items()}
                for name, by in grown.curves[what].items()
            },
        )
        for what, figure, unit in shown
    ]


def lay_out(tables: Sequence[Table]) -> Iterator[str]:
    """Yield the lines of the tables: the first and the last are shown, the others open up."""
    for number, table in enumerate(tables):
        if number in (0, len(tables) - 1):
            yield from (f"**{table.title}**", "", *table.markdown(), "")
        else:
            summary = f"<details><summary>{table.title}</summary>"
            yield from (summary, "", *table.markdown(), "", "</details>", "")


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
                raise
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
