"""A generation: the workers of one loaded configuration, in teams, one for each listener."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence

from daytimed import clock, formats, rates
from daytimed.budget import Budget
from daytimed.config.settings import MOST_WORKERS, Config, ListenerConfig
from daytimed.counters import LOG_BUDGET, Counters
from daytimed.errors import ConfigError
from daytimed.gate import Gate
from daytimed.listeners import Listener
from daytimed.log.clients import Allowance, ClientLog
from daytimed.log.log import Log
from daytimed.networks import NetworkSet
from daytimed.rates import RateLimit
from daytimed.team import Team
from daytimed.worker import Worker


class Generation:
    """Everything that one configuration makes, before the fork: the workers share it."""

    def __init__(
        self,
        number: int,
        config: Config,
        replies: Mapping[tuple[str, str], formats.Reply],
        listeners: Sequence[tuple[Listener, ListenerConfig]],
    ) -> None:
        self.number = number
        self.log: Log
        """The master makes it, for itself and for the workers."""
        self.config = config
        self._replies = replies
        self._allow, self._deny = NetworkSet(config.access.allow), NetworkSet(config.access.deny)
        self._quiet = NetworkSet(config.log.quiet)
        cpus = len(os.sched_getaffinity(0))
        # the loader has limited the sum of the configured numbers, but not the number of CPUs
        most = max(1, MOST_WORKERS // max(1, len(listeners)))
        self.teams = [Team(listener, settings, settings.workers or min(cpus, most)) for listener, settings in listeners]
        self._own_ports = frozenset(team.listener.port for team in self.teams if team.listener.is_datagram)

    @property
    def workers(self) -> int:
        """The number of workers."""
        return sum(len(team.children) for team in self.teams)

    @property
    def is_ready(self) -> bool:
        """Whether every listener has its workers, or has some and cannot have more."""
        return all(team.ready >= team.wanted or (team.ready > 0 and team.respawn.is_hopeless) for team in self.teams)

    @property
    def hopeless(self) -> Team | None:
        """A team that has no worker and cannot have any."""
        return next((team for team in self.teams if team.respawn.is_hopeless and not team.children), None)

    def log_listeners(self, before: Generation | None) -> None:
        """Log the listeners that the generation before did not have, and once each address that is not used."""
        known = {team.listener for team in before.teams} if before else set()
        for team in self.teams:
            if team.listener not in known:
                name = "listener_opened" if team.listener.name is None else "listener_adopted"
                fields = {"listener": team.settings.name, "address": team.listener.address}
                self.log.event(name, **fields, format=team.settings.format, workers=team.wanted)
        reported = {settings.address for settings in before.config.listeners} if before else set()
        passed = [team.listener for team in self.teams if team.listener.name is not None]
        for settings in self.config.listeners:
            is_used = any(each.is_bound_to(settings.address) for each in passed)
            if passed and not is_used and settings.address not in reported:
                self.log.event("listener_address_ignored", listener=settings.name, address=str(settings.address))

    def rehearse(self) -> None:
        """Run the code of a client before the first fork; this counts nowhere and writes no event."""
        team = next((each for each in self.teams if not each.listener.is_datagram), None)
        # what fails here fails again in a worker, which logs it
        with contextlib.suppress(Exception):
            if team:
                scratch = Counters()
                worker = self.make_worker(team, scratch, 0)
                worker.rehearse(self.make_client_log(team, scratch, 0, self.log.muted()))

    def make_worker(self, team: Team, counters: Counters, slot: int) -> Worker:
        """Make a worker of a team."""
        access, settings = self.config.access, team.settings
        rate = access.rate or (rates.UDP_RATE if team.listener.is_datagram else 0.0)
        # counted separately: a forged UDP source must not use up the TCP rate of that address
        secret = counters.secret + (b"udp" if team.listener.is_datagram else b"")
        limit = RateLimit(counters.rates, rate, access.burst, secret) if rate else None
        return Worker(
            listener=team.listener,
            name=settings.name,
            reply=self._replies[settings.format, settings.timezone],
            gate=Gate(self._allow, self._deny, limit),
            head=counters.head,
            slot=counters.slot(slot),
            own_ports=self._own_ports,
        )

    def make_client_log(self, team: Team, counters: Counters, slot: int, log: Log) -> ClientLog:
        """Make the client log of a worker, which logs to `log`."""
        settings = self.config.log
        allowance = None
        if settings.client_rate:
            budget = Budget(counters.head, LOG_BUDGET, settings.client_rate, settings.client_burst)
            allowance = Allowance(budget, counters.head, counters.slot(slot))
        return ClientLog(log, team.settings.name, settings.clients, self._quiet, allowance)


def compile_replies(config: Config) -> dict[tuple[str, str], formats.Reply]:
    """
    Return the functions that make the replies, by format and time zone.

    They hold the time zones as loaded, so that a worker started later needs nothing from the disk.

    Raises:
        ConfigError: If a zone has gone since the configuration was checked.
    """
    pairs = {(each.format, each.timezone) for each in (*config.listeners, config.defaults(""))}
    try:
        zones = {timezone: clock.load_zone(timezone) for _, timezone in pairs}
    except ValueError as error:
        raise ConfigError([f"timezone: {error}"]) from None
    return {
        (name, timezone): formats.compile_format(name, zones[timezone], clock.ask_kernel_clock)
        for name, timezone in pairs
    }
