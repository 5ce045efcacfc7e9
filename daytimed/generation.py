"""A generation: the workers started from one loaded configuration, in one team for each listener."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from daytimed import addresses, clock, formats, limits
from daytimed.addresses import Address, printable
from daytimed.clientlog import Allowance, ClientLog
from daytimed.config import MOST_WORKERS, Config, ListenerConfig
from daytimed.counters import ACCEPTED, FINISHED, LOG_BUDGET, READY, Cells, Counters
from daytimed.errors import ConfigError, ListenError
from daytimed.limits import Budget, Gate, NetworkSet, RateLimit
from daytimed.listeners import Listener, adopt, open_listeners
from daytimed.log import Log
from daytimed.respawn import Respawn
from daytimed.worker import Worker


@dataclass(slots=True)
class Child:
    """A worker as the master sees it."""

    pid: int
    team: Team
    slot: int
    cells: Cells
    started_at: float
    was_ready: bool = False
    signal_at: float = 0.0
    """When SIGTERM is sent the next time, once it is retired."""
    signal_delay_s: float = 0.0
    kill_at: float = 0.0
    killed: bool = False
    stopped: bool = False
    """Held, by SIGSTOP for one."""
    accepted: int = -1
    """What its slot said at the last look."""
    still: int = 0
    """At how many looks in a row it was held, or busy with the same client, or starting."""

    def look(self) -> bool:
        """Look at the slot; return whether there is a reason to look again."""
        accepted = self.cells[ACCEPTED]
        busy = not self.cells[READY] or accepted != self.cells[FINISHED]
        held = self.stopped or (busy and accepted == self.accepted)
        self.still = self.still + 1 if held else 0
        self.accepted = accepted
        return self.stopped or busy


@dataclass(slots=True)
class Team:
    """The workers of one listener in one generation, and how many are wanted."""

    listener: Listener
    settings: ListenerConfig
    wanted: int
    respawn: Respawn = field(default_factory=Respawn)
    children: dict[int, Child] = field(default_factory=dict)

    @property
    def missing(self) -> int:
        """How many workers are to be started."""
        return self.wanted - len(self.children)

    @property
    def ready(self) -> int:
        """How many workers are ready to accept clients."""
        return sum(1 for child in self.children.values() if child.cells[READY])

    def note_ready(self) -> None:
        """Take note of workers that have become ready."""
        for child in self.children.values():
            if not child.was_ready and child.cells[READY]:
                child.was_ready = True
                self.respawn.note_ready()


class Generation:
    """Everything that was made from one configuration."""

    def __init__(
        self,
        number: int,
        config: Config,
        replies: Mapping[tuple[str, str], formats.Reply],
        listeners: Sequence[tuple[Listener, ListenerConfig]],
    ) -> None:
        self.number = number
        self.log: Log
        """Made by the master, for itself and for the workers, when there is something to tell."""
        self.config = config
        self._replies = replies
        # made once, before the fork: workers share them
        self._allow, self._deny = NetworkSet(config.access.allow), NetworkSet(config.access.deny)
        self._quiet = NetworkSet(config.log.quiet)
        cpus = len(os.sched_getaffinity(0))
        # the sum over all listeners was checked when it was loaded, but for what "one for each CPU" is here
        most = max(1, MOST_WORKERS // max(1, len(listeners)))
        self.teams = [Team(listener, settings, settings.workers or min(cpus, most)) for listener, settings in listeners]
        self._own_ports = frozenset(team.listener.port for team in self.teams if team.listener.is_datagram)

    @property
    def workers(self) -> int:
        """How many workers there are."""
        return sum(len(team.children) for team in self.teams)

    @property
    def is_ready(self) -> bool:
        """Say whether every listener has its workers, or has some and can have no more."""
        return all(team.ready >= team.wanted or (team.ready > 0 and team.respawn.is_hopeless) for team in self.teams)

    @property
    def hopeless(self) -> Team | None:
        """A listener that has no worker and can have none."""
        return next((team for team in self.teams if team.respawn.is_hopeless and not team.children), None)

    def make_worker(self, team: Team, counters: Counters, slot: int) -> Worker:
        """Make what a worker of a team needs, before it is forked."""
        access, settings = self.config.access, team.settings
        rate = access.rate or (limits.UDP_RATE if team.listener.is_datagram else 0.0)
        # counted apart: whoever forges an address over UDP must not use up its share over TCP
        secret = counters.secret + (b"udp" if team.listener.is_datagram else b"")
        return Worker(
            listener=team.listener,
            name=settings.name,
            reply=self._replies[settings.format, settings.timezone],
            gate=Gate(
                self._allow,
                self._deny,
                RateLimit(counters.rates, rate, access.burst, secret) if rate else None,
            ),
            head=counters.head,
            slot=counters.slot(slot),
            own_ports=self._own_ports,
        )

    def make_client_log(self, team: Team, log: Log, counters: Counters, slot: int) -> ClientLog:
        """Make the log of clients of a worker."""
        settings = self.config.log
        allowance = None
        if settings.client_rate:
            budget = Budget(counters.head, LOG_BUDGET, settings.client_rate, settings.client_burst)
            allowance = Allowance(budget, counters.head, counters.slot(slot))
        return ClientLog(log, team.settings.name, settings.clients, self._quiet, allowance)


def compile_replies(config: Config) -> dict[tuple[str, str], formats.Reply]:
    """
    Return what makes the replies, by format and time zone.

    Made before the fork, so that a worker that is replaced needs nothing of the disk: the zones are those of the load.

    Raises:
        ConfigError: If a zone is gone since the configuration was checked.
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


def open_all(
    config: Config, open_now: Sequence[Listener]
) -> tuple[list[tuple[Listener, ListenerConfig]], list[Listener]]:
    """
    Open what a configuration listens on, but keep what is open already.

    Sockets that a manager has passed are all there is: each takes the settings of the listener that bears its name, or
    else the defaults, and no address is used.

    Returns:
        The listeners with their settings, and those of them that are new.

    Raises:
        ListenError, NoPermissionError: With nothing left open that is new.
    """
    if passed := [listener for listener in open_now if listener.name is not None]:
        by_name = {settings.name: settings for settings in config.listeners}
        return [(each, by_name.get(str(each.name)) or config.defaults(str(each.name))) for each in passed], []
    # those of one opening stay together: port 0 is another port each time it is asked for
    openings: dict[object, list[Listener]] = {}
    for listener in open_now:
        if not listener.is_reachable:
            # somebody has removed its path: it has to be made again
            continue
        openings.setdefault(listener.opening, []).append(listener)
    by_address: dict[Address, list[list[Listener]]] = {}
    for sockets in openings.values():
        by_address.setdefault(sockets[0].requested, []).append(sockets)
    listeners: list[tuple[Listener, ListenerConfig]] = []
    opened: list[Listener] = []
    try:
        for settings in config.listeners:
            if by_address.get(settings.address):
                sockets = by_address[settings.address].pop(0)
            else:
                sockets = open_listeners(settings.address)
                opened += sockets
            listeners += [(listener, settings) for listener in sockets]
    except BaseException:
        for listener in opened:
            listener.close()
        raise
    return listeners, opened


#: Names of sockets that were bound here and kept by the service manager over a restart; a name has no colon.
_STORED = "stored-"


def stored_name(requested: Address) -> str:
    """Return the name under which a socket of an address is kept."""
    return _STORED + str(requested).replace(":", ";")


def adopt_passed(name: str, descriptor: int) -> Listener:
    """
    Take over a socket that a service manager has bound, or one of ours that it has kept.

    Raises:
        ListenError: If it is no listener.
    """
    if not name.startswith(_STORED):
        return adopt(name, descriptor)
    try:
        address = addresses.parse(name[len(_STORED) :].replace(";", ":"))
    except ValueError as error:
        where = f"LISTEN_FDS: descriptor {descriptor} ({printable(name)})"
        raise ListenError(f"{where} has a name like those of sockets that were kept for us, but {error}") from None
    return adopt(name, descriptor, address)
