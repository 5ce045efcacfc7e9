"""The cost of a reply: server CPU, replies a second, latency and memory, for each server in turn."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import tree
from document import Table, counts, spread
from judgement import Noise, estimate
from lineup import AGAIN, JUDGING, LOGGING, OWN, STRANGERS, WORKERS, Server
from running import Answers, Running, running

#: Clients at a time; the CPU is measured with the second number.
CLIENTS = (2, 16, 64)
USUAL = CLIENTS[1]


@dataclass(frozen=True)
class Round:
    """The figures of one server in one round."""

    answers: Mapping[int, Answers]
    """By the number of clients."""
    cpu_us: float
    pss_mib: float
    journal_us: float
    """CPU of its journal."""
    answered: int
    """All clients with a reply, the warm-up included; `logged` of them are in the journal, `lost` are counted there."""
    logged: int
    lost: int
    errors: Counter[str]
    """Of all clients."""

    @property
    def usual(self) -> Answers:
        return self.answers[USUAL]


def measure(server: Server, replies: int, write: int) -> Round:
    """
    Start a server, load it, and stop it.

    Raises:
        MissingError: If it does not start.
    """
    replies = max(1, replies // server.share)
    with running(server) as run:
        warm_up = run.ask(USUAL, max(1, replies // 10), write)
        answers = {clients: run.ask(clients, max(1, replies // 2), write) for clients in CLIENTS if clients != USUAL}
        before, journal_before = tree.cpu_ns(run.pid), _journal_ns(run)
        answers[USUAL] = run.ask(USUAL, replies, write)
        # clients without a reply count too, or a server that fails most of them would look expensive; see errors
        cpu_us = (tree.cpu_ns(run.pid) - before) / 1000 / replies
        logged, lost = run.journal.account(run.answered) if run.journal else (0, 0)
        journal_us = (_journal_ns(run) - journal_before) / 1000 / replies
        errors = sum((each.errors for each in answers.values()), warm_up.errors)
        return Round(answers, cpu_us, tree.pss_mib(run.pid), journal_us, run.answered, logged, lost, errors)


def _journal_ns(run: Running) -> int:
    return tree.cpu_ns(run.journal.pid) if run.journal else 0


Results = Mapping[Server, Sequence[Round]]
"""The rounds of each server, in the same order for all; daytimed is the first server."""


def ratios(results: Results, server: Server, figure: str, clients: int = USUAL) -> list[float]:
    """Return daytimed's figure as a multiple of a server's, by round: an attribute of Round, or of its Answers."""

    def value(each: Round) -> float:
        found: float = getattr(each if hasattr(each, figure) else each.answers[clients], figure)
        return found

    own = next(iter(results.values()))
    # a server that never replies has no latency
    pairs = ((value(mine) or math.nan, value(its) or math.nan) for mine, its in zip(own, results[server], strict=True))
    return [mine / its for mine, its in pairs]


def noise(results: Results) -> Noise:
    """Return the noise of a run: daytimed's CPU a reply beside its own."""
    again = next(server for server in results if server.name == AGAIN)
    return Noise(estimate(ratios(results, again, "cpu_us")))


def tables(results: Results, missing: Mapping[str, str], replies: int, write: int) -> Iterator[Table]:
    """Return the tables."""
    writing = f" that first write {write:,} bytes" * bool(write)
    first = next(iter(results))
    columns = [
        "server",
        "CPU µs/reply",
        f"{OWN} / it",
        "replies/s",
        "p50 µs",
        "p99 µs",
        "p99.9 µs",
        "PSS MiB",
        "errors",
    ]
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
    notes = [
        f"{replies:,} replies a round, half of that with 2 and 64 clients; slow peers a quarter or a tenth.",
        # listeners.py explains the choice of reno
        "The C servers of one segment are the floor: they neither count, check nor log. They and daytimed use the"
        " simplest TCP congestion control (reno), the others the system's.",
        *_notes(results),
        *(f"{each.name} {each.note}." for each in results if each.note),
        *(f"Missing: {name}: {why}." for name, why in missing.items()),
    ]
    yield Table(f"CPU a reply, {USUAL} clients{writing}, {WORKERS} workers", columns, rows, notes)
    columns = ["server", *(f"{what}, {clients} clients" for clients in CLIENTS for what in ("replies/s", "p99 µs"))]
    rows = [
        [server.name, *(
            f"{median(getattr(each.answers[clients], figure) for each in rounds):,.0f}"
            for clients in CLIENTS for figure in ("replies_per_s", "p99_us")
        )] for server, rounds in results.items()
    ]  # fmt: skip
    yield Table("Throughput and latency", columns, rows)


def _notes(results: Results) -> Iterator[str]:
    for server, rounds in results.items():
        times = f"{spread([1 / ratio for ratio in ratios(results, server, 'cpu_us')], 2)} times the CPU"
        if server.name == JUDGING:
            yield f"Access lists and the rate limit: {times}, for {server.sources} addresses that a worker remembers."
        if server.name == STRANGERS:
            yield f"The same for {server.sources:,} addresses, too many to remember: {times}."
        if server.name == LOGGING:
            journald = f"{median(each.journal_us for each in rounds):.1f} µs of systemd-journald"
            figures = ("answered", "logged", "lost")
            answered, logged, lost = (sum(getattr(each, name) for each in rounds) for name in figures)
            yield (
                f"A journal entry for each client: {times}, and {journald}. The journal has {logged:,} of {answered:,}"
                f" clients and reports {lost:,} as lost."
            )
