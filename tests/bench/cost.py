"""What a reply costs: server CPU, replies a second, latency and memory, for every server in turn."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import tree
from document import Table, counts, spread
from lineup import JUDGING, LOGGING, OWN, STRANGERS, WORKERS, Server
from running import Answers, Running, running

#: Clients at a time; the CPU is measured with the second.
CLIENTS = (2, 16, 64)
USUAL = CLIENTS[1]


@dataclass(frozen=True)
class Round:
    """What one round has measured of one server."""

    answers: Mapping[int, Answers]
    """By the number of clients."""
    cpu_us: float
    pss_mib: float
    journal_us: float
    """CPU of its journal."""
    answered: int
    """All clients, those of the warm-up too; of them the next two are in the journal, and counted as lost."""
    logged: int
    lost: int
    errors: Counter[str]
    """Of all clients."""

    @property
    def usual(self) -> Answers:
        return self.answers[USUAL]


def measure(server: Server, replies: int, write: int) -> Round:
    """
    Start a server, ask it, and stop it.

    Raises:
        MissingError: If it does not start.
    """
    replies = max(1, replies // server.share)
    with running(server) as run:
        warm_up = run.ask(USUAL, max(1, replies // 10), write)
        answers = {clients: run.ask(clients, max(1, replies // 2), write) for clients in CLIENTS if clients != USUAL}
        before, journal_before = tree.cpu_ns(run.pid), _journal_ns(run)
        answers[USUAL] = run.ask(USUAL, replies, write)
        # a client that got no reply counts here too, or a server that fails most of them would look dear; see errors
        cpu_us = (tree.cpu_ns(run.pid) - before) / 1000 / replies
        logged, lost = run.journal.account(run.answered) if run.journal else (0, 0)
        journal_us = (_journal_ns(run) - journal_before) / 1000 / replies
        errors = sum((each.errors for each in answers.values()), warm_up.errors)
        return Round(answers, cpu_us, tree.pss_mib(run.pid), journal_us, run.answered, logged, lost, errors)


def _journal_ns(run: Running) -> int:
    return tree.cpu_ns(run.journal.pid) if run.journal else 0


Results = Mapping[Server, Sequence[Round]]
"""The rounds of each server, in the same order for all of them; daytimed is the first."""


def ratios(results: Results, server: Server, figure: str, clients: int = USUAL) -> list[float]:
    """Return daytimed's figure as a multiple of a server's, round by round: one of Round's, or else of its Answers'."""

    def value(each: Round) -> float:
        found: float = getattr(each if hasattr(each, figure) else each.answers[clients], figure)
        return found

    own = next(iter(results.values()))
    # a server that never answers has no latency
    pairs = ((value(mine) or math.nan, value(its) or math.nan) for mine, its in zip(own, results[server], strict=True))
    return [mine / its for mine, its in pairs]


def tables(results: Results, missing: Mapping[str, str], replies: int, write: int) -> Iterator[Table]:
    """Return the tables of it."""
    writing = f" that write {write:,} bytes first" * bool(write)
    asked = f"{replies:,} replies a round, and half as many with 2 and 64 clients; slow peers a quarter or a tenth."
    first = next(iter(results))
    columns = ["server", "CPU µs/reply (min-max)", f"{OWN} / it (min-max)", "replies/s", "p50 µs", "p99 µs", "p99.9 µs"]
    rows = []
    for server, rounds in results.items():
        latency = [f"{median(getattr(each.usual, name) for each in rounds):,.0f}" for name in
                   ("replies_per_s", "p50_us", "p99_us", "p999_us")]  # fmt: skip
        errors = sum((each.errors for each in rounds), Counter[str]())
        rows.append([
            server.name, spread([each.cpu_us for each in rounds], 1),
            "" if server is first else spread(ratios(results, server, "cpu_us"), 2), *latency,
            f"{median(each.pss_mib for each in rounds):.1f}",
            counts(errors),
        ])  # fmt: skip
    # listeners.py says why
    same = (
        "The C servers of one segment are the floor: they count, check and log nothing. They and daytimed use the"
        " simplest TCP congestion control (reno), the others what the system has."
    )
    notes = [asked, same, *_notes(results), *(f"{each.name} {each.note}." for each in results if each.note)]
    notes += [f"Missing: {name}: {why}." for name, why in missing.items()]
    yield Table(
        f"What a reply costs, {USUAL} clients{writing}, {WORKERS} workers", [*columns, "PSS MiB", "errors"], rows, notes
    )
    columns = ["server", *(f"{what}, {clients} clients" for clients in CLIENTS for what in ("replies/s", "p99 µs"))]
    rows = [
        [server.name, *(
            f"{median(getattr(each.answers[clients], figure) for each in rounds):,.0f}"
            for clients in CLIENTS for figure in ("replies_per_s", "p99_us")
        )] for server, rounds in results.items()
    ]  # fmt: skip
    yield Table("How many and how late", columns, rows)


def _notes(results: Results) -> Iterator[str]:
    own = next(iter(results.values()))
    for server, rounds in results.items():
        more = [100 * (each.cpu_us / plain.cpu_us - 1) for each, plain in zip(rounds, own, strict=True)]
        cost = f"{median(more):+.1f} % a reply ({min(more):+.1f} to {max(more):+.1f})"
        if server.name == JUDGING:
            remembered = f"if a worker remembers the clients' addresses (here {server.sources})"
            yield f"Access lists and the rate limit cost {cost}, {remembered}."
        if server.name == STRANGERS:
            yield f"If it does not (here {server.sources:,}), they cost {cost}, the count of networks included."
        if server.name == LOGGING:
            journald = f"{median(each.journal_us for each in rounds):.1f} µs of systemd-journald's CPU"
            figures = ("answered", "logged", "lost")
            answered, logged, lost = (sum(getattr(each, name) for each in rounds) for name in figures)
            yield (
                f"An entry in the journal for each client costs {cost}, and {journald}. Of {answered:,} clients"
                f" {logged:,} are in it, and {lost:,} are told in it as lost."
            )
