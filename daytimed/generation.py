"""A generation: the workers of one loaded configuration, in teams, one for each listener."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from daytimed import clock, formats, rates
from daytimed.addresses import Address
from daytimed.backlog import Backlog
from daytimed.budget import Budget
from daytimed.config.settings import Config, ListenerConfig
from daytimed.counters import LOG_BUDGET, Counters
from daytimed.cpus import default_workers, usable_cpus
from daytimed.errors import ConfigError
from daytimed.gate import Gate
from daytimed.listeners import Listener, Place, resolve
from daytimed.loader import Note
from daytimed.log.clients import Allowance, ClientLog
from daytimed.log.log import Log
from daytimed.networks import NetworkSet
from daytimed.peers import name_interface
from daytimed.sockets import Sockets
from daytimed.team import Team
from daytimed.worker import Worker


class Loaded(NamedTuple):
    """A configuration and all it needs from outside: with it, the master reads no file and asks no name server."""

    config: Config
    places: Mapping[Address, Sequence[Place]]
    """By address, for the listeners that are not open yet."""
    zones: Mapping[str, bytes]
    """Time zones as TZif data (RFC 8536), by name."""


def complete(config: Config, sockets: Sockets, note: Note) -> Loaded:
    """
    Complete a configuration from name servers and files; the loader does this in its own process.

    Raises:
        DaytimedError: If a host name has no address, or a zone no file.
    """
    places = {}
    for address in sockets.unopened(config):
        note(f"{address}: cannot resolve")
        places[address] = resolve(address)
    return Loaded(config, places, _read_zones(config))


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
        self.replies = replies
        self._allow, self._deny = NetworkSet(config.access.allow), NetworkSet(config.access.deny)
        self._quiet = NetworkSet(config.log.quiet)
        cpus = usable_cpus()
        self.teams = [
            Team(listener, settings, settings.workers or default_workers(cpus, len(listeners)))
            for listener, settings in listeners
        ]
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
    def is_complete(self) -> bool:
        """Whether every wanted worker is ready."""
        return all(team.ready >= team.wanted for team in self.teams)

    @property
    def hopeless(self) -> Team | None:
        """A team that has no worker and cannot have any."""
        return next((team for team in self.teams if team.respawn.is_hopeless and not team.children), None)

    def log_listeners(self, before: Generation | None) -> None:
        """Log the listeners that the generation before did not have, and once each setting that has no effect."""
        known = {team.listener for team in before.teams} if before else set()
        for team in self.teams:
            if team.listener not in known:
                name = "listener_opened" if team.listener.name is None else "listener_adopted"
                fields = {"listener": team.settings.name, "address": team.listener.address}
                self.log.event(name, **fields, format=team.settings.format, workers=team.wanted)
        reported = {(each.name, problem) for each, problem in before.without_effect()} if before else set()
        for settings, problem in self.without_effect():
            if (settings.name, problem) not in reported:
                address = str(settings.address or "")
                self.log.event("listener_address_ignored", listener=settings.name, address=address, problem=problem)

    def without_effect(self) -> list[tuple[ListenerConfig, str]]:
        """Return the listeners of the configuration that are not what was passed, each with a sentence."""
        passed = [team.listener for team in self.teams if team.listener.name is not None]
        found = []
        for settings in self.config.listeners if passed else ():
            address: Address | None = settings.address
            named = [each for each in passed if each.name == settings.name]
            is_used = address is None or any(each.is_bound_to(address) for each in named or passed)
            defaults = replace(self.config.defaults(settings.name), address=settings.address)
            if not named and not (address and is_used and settings == defaults):
                hint = f"name one in its socket unit: FileDescriptorName={settings.name}"
                found.append((settings, f"no passed socket has this name, so its settings are not used; {hint}."))
            elif named and not is_used:
                hint = "change the socket unit (systemctl edit daytimed.socket), or see examples/own-sockets.conf"
                found.append((settings, f"not on {address}, but on the passed {named[0].address}; {hint}."))
        return found

    def backlog(self, counters: Counters) -> Backlog:
        """Return what answers clients by this configuration without a worker."""
        return Backlog(self.config, self.replies, counters)

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
        settings = team.settings
        limit = rates.limit(self.config.access, counters, is_datagram=team.listener.is_datagram)
        return Worker(
            listener=team.listener,
            name=settings.name,
            reply=self.replies[settings.format, settings.timezone],
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
        name_scope = partial(name_interface, team.listener.socket)
        return ClientLog(log, team.settings.name, settings.clients, self._quiet, allowance, name_scope)


def _read_zones(config: Config) -> dict[str, bytes]:
    names = {timezone for _, timezone in config.replies} - {"local", "UTC"}
    try:
        return {name: clock.read_zone(name) for name in names}
    except ValueError as error:
        # it has gone since the configuration was checked
        raise ConfigError([f"timezone: {error}"]) from None


def compile_replies(config: Config, zones: Mapping[str, bytes]) -> dict[tuple[str, str], formats.Reply]:
    """Return the functions that make the replies, by format and time zone."""
    loaded = {timezone: clock.load_zone(timezone, zones.get(timezone)) for _, timezone in config.replies}
    return {
        (name, timezone): formats.compile_format(name, loaded[timezone], clock.ask_kernel_clock)
        for name, timezone in config.replies
    }
