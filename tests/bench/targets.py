"""The targets: their limits, and the verdict on each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import cost
import growth
import starts
from document import Table
from judgement import NOT_DECIDED, Noise, estimate, exactly
from lineup import FAIR_FLOOR, FLOOR, GO, INETUTILS, NGINX, OPENBSD, OWN, PLAIN, XINETD, Server
from running import Answers

#: Most CPU a reply, as a multiple of a peer's. daytimed also sends at least as many replies a second as each of them.
CPU = {PLAIN: 1.00, FLOOR: 1.15, NGINX: 0.90, INETUTILS: 0.85, OPENBSD: 0.85, XINETD: 0.65, GO: 0.65}
#: Most CPU a reply, as a multiple of another source tree's.
AGAINST = 1.03
#: Most p99, as a multiple of the best server's and of the best floor's, which is not a server to use.
P99 = 1.10
FLOORS = (FLOOR, FAIR_FLOOR)
PSS_MIB, FURTHER_MIB = 20.0, 1.5
READY_MS = 250.0
WAKEUPS = 0


@dataclass(frozen=True)
class Target:
    """One limit, and the figures of the rounds."""

    what: str
    limit: float
    figures: Sequence[float]
    digits: int = 2
    at_least: bool = False
    is_count: bool = False

    def row(self, decides: bool) -> list[str]:
        """Return what, the limit, the estimate and the verdict."""
        limit = f"{'at least' if self.at_least else 'at most'} {self.limit:.{self.digits}f}"
        if not self.figures or any(map(math.isnan, self.figures)):
            return [self.what, limit, "-", "not measured"]
        if self.is_count:
            (count,) = self.figures
            found, text = exactly(count), f"{count:.0f}"
        else:
            found = estimate(self.figures)
            text = found.text(self.digits)
        return [self.what, limit, text, found.verdict(self.limit, at_least=self.at_least) if decides else NOT_DECIDED]


def table(results: cost.Results, times: starts.Times | None, grown: growth.Growth | None, noise: Noise | None) -> Table:
    """
    Return the table of what was measured.

    Args:
        noise: None if it was not measured, so that nothing is decided.
    """
    found: list[Target] = []
    if trees := [server for server in results if server.is_baseline]:
        ratios = {server.name: cost.ratios(results, server, "cpu_us") for server in trees}
        found += [Target(f"CPU a reply / {name}", AGAINST, each) for name, each in ratios.items()]
    elif results:
        found += _cost(results)
    if times:
        found.append(Target("exec to READY, ms", READY_MS, times[OWN][starts.READY], 0))
    if grown:
        found.append(Target("PSS of each further worker, MiB", FURTHER_MIB, growth.pss_of_a_worker(grown)))
        wakeups = f"wake-ups of an idle daemon in {growth.IDLE_S:.0f} s"
        found.append(Target(wakeups, WAKEUPS, [grown.wakeups], 0, is_count=True))
    decides = noise is not None and not noise.objection()
    return Table("Targets", ["what", "limit", "median", "verdict"], [each.row(decides) for each in found])


def _cost(results: cost.Results) -> Iterator[Target]:
    names = {server.name: server for server in results}

    def ratios(name: str, figure: str) -> list[float]:
        return cost.ratios(results, names[name], figure) if name in names else []

    for name, limit in CPU.items():
        yield Target(f"CPU a reply / {name}", limit, ratios(name, "cpu_us"))
    for name in CPU:
        yield Target(f"replies/s / {name}", 1.0, ratios(name, "replies_per_s"), at_least=True)
    floors = [server for server in results if server.name in FLOORS]
    servers = [server for server in results if not server.name.startswith(OWN) and server not in floors]
    for clients in cost.CLIENTS:
        for kind, peers in (("server", servers), ("floor", floors)):
            best = min(peers, key=_p99(results, clients), default=None)
            figures = cost.ratios(results, best, "p99_us", clients) if best else []
            name = best.name if best else "-"
            yield Target(f"p99, {clients} clients / the best {kind}: {name}", P99, figures)
    own = next(iter(results.values()))
    yield Target("PSS of the tree, two workers, MiB", PSS_MIB, [each.pss_mib for each in own], 1)


def _p99(results: cost.Results, clients: int) -> Callable[[Server], float]:
    """Return a function of a server: its p99 over all clients, where a client without a reply waits forever."""

    def p99(answers: Answers) -> float:
        return math.inf if 99 * answers.errors.total() > answers.replies else answers.p99_us

    return lambda server: median(p99(each.answers[clients]) for each in results[server])
