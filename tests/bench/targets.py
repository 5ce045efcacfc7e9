"""What the figures have to be: the limits, and by how much each is met or missed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import cost
import growth
import starts
from document import Table, spread
from lineup import FAIR_FLOOR, FLOOR, GO, INETUTILS, NGINX, OPENBSD, OWN, PLAIN, XINETD, Server
from running import Answers

#: Most CPU a reply, as a multiple of a peer's. With each of them it is also to have as many replies a second.
CPU = {PLAIN: 1.00, FLOOR: 1.15, NGINX: 0.90, INETUTILS: 0.85, OPENBSD: 0.85, XINETD: 0.65, GO: 0.65}
#: Most p99, as a multiple of that of the best server, and of the best floor, which is no server to use.
P99 = 1.10
FLOORS = (FLOOR, FAIR_FLOOR)
PSS_MIB, FURTHER_MIB = 20.0, 1.5
READY_MS = 250.0
WAKEUPS = 0


@dataclass(frozen=True)
class Target:
    """One limit and the figures of the rounds, whose median it is held against."""

    what: str
    limit: float
    figures: Sequence[float]
    digits: int = 2
    at_least: bool = False

    def row(self) -> list[str]:
        """Return what, the limit, the figures and the verdict."""
        sign = "≥" if self.at_least else "≤"
        limit = f"{sign} {self.limit:.{self.digits}f}"
        if not self.figures or any(map(math.isnan, self.figures)):
            return [self.what, limit, "-", "not measured"]
        figure = median(self.figures)
        met = figure >= self.limit if self.at_least else figure <= self.limit
        return [self.what, limit, spread(self.figures, self.digits), "met" if met else "missed"]


def table(results: cost.Results, times: starts.Times | None, grown: growth.Growth | None) -> Table:
    """Return the table of what was measured."""
    found = [*_cost(results)] if results else []
    if times:
        found.append(Target("exec to READY, ms", READY_MS, times[OWN][starts.READY], 0))
    if grown:
        found.append(Target("PSS of each further worker, MiB", FURTHER_MIB, growth.pss_of_a_worker(grown)))
        found.append(Target(f"wake-ups of an idle daemon in {growth.IDLE_S:.0f} s", WAKEUPS, [grown.wakeups], 0))
    return Table("Targets", ["what", "limit", "median (min-max)", "verdict"], [each.row() for each in found])


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
    """Return what says the p99 of a server: of all clients, and who got no reply has waited for ever."""

    def p99(answers: Answers) -> float:
        return math.inf if 99 * answers.errors.total() > answers.replies else answers.p99_us

    return lambda server: median(p99(each.answers[clients]) for each in results[server])
