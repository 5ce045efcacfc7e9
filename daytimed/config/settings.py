"""
The settings: the one table. A row is a field of the configuration, annotated with its default, its check and its help.

Only this file knows a key. The flags of the command line, the environment variables, the loader, `--print-config` and
the commented example are derived from it.
"""

# annotations are read here: they must not be strings

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Annotated, Any, NamedTuple

from daytimed import formats
from daytimed.addresses import Address
from daytimed.config import checks
from daytimed.config.checks import Network, int_from, list_from, number_from

ENVIRONMENT_PREFIX = "DAYTIMED_"
DEFAULT_ADDRESS = Address("tcp", "", 6000)

#: The shared memory has a fixed number of slots: see counters.SLOTS.
MOST_WORKERS = 1024

LOG_LEVELS = ("debug", "info", "warning", "error", "critical")
LOG_FORMATS = ("auto", "console", "json", "journal")
LOG_CLIENTS = ("all", "dropped", "none")

_workers = checks.whole(0, MOST_WORKERS)
_burst = checks.whole(1, 1_000_000)


class Setting(NamedTuple):
    """A row."""

    default: Any
    """As a value of the file; None if a listener takes the value of the daemon."""
    check: Callable[[Any], Any]
    """Turns a value of the file into the value in use; raises ValueError with the reason."""
    help: str
    from_text: Callable[[str], Any] = str
    """Turns the text of a flag or an environment variable into a value of the file."""
    flags: tuple[str, ...] = ()
    metavar: str | None = None
    section: str = ""
    key: str = ""

    @property
    def path(self) -> str:
        """Its key path in the file: `format`, `listener.name`, `log.level`."""
        return f"{self.section}.{self.key}" if self.section else self.key

    @property
    def variable(self) -> str:
        """The environment variable that sets it. Listeners have one variable for all their addresses."""
        return ENVIRONMENT_PREFIX + self.path.upper().replace(".", "_")


@dataclass(frozen=True, slots=True)
class ListenerConfig:
    """One listener; `format`, `workers` and `timezone` default to those of the daemon."""

    name: Annotated[
        str,
        Setting(
            "daytime", checks.listener_name,
            "name in the log, and FileDescriptorName= of the passed socket that takes these settings",
        ),
    ]  # fmt: skip
    address: Annotated[
        Address | None,
        Setting(
            str(DEFAULT_ADDRESS), checks.address,
            "where to listen: [SCHEME://]HOST:PORT, :PORT, PORT, [V6]:PORT or unix:///PATH;"
            " SCHEME is tcp tcp4 tcp6 udp udp4 udp6"
            "\nunder systemd, the socket unit decides (systemctl edit daytimed.socket), and this can be left out",
        ),
    ]  # fmt: skip
    format: Annotated[str, Setting(None, checks.format_name, "format of this listener (default: that of the daemon)")]
    workers: Annotated[int, Setting(None, _workers, "workers of this listener", int_from)]
    timezone: Annotated[str, Setting(None, checks.timezone, "time zone of this listener")]


@dataclass(frozen=True, slots=True)
class AccessConfig:
    """Access rules and rate limits."""

    allow: Annotated[
        tuple[Network, ...], Setting([], checks.networks, "networks that get a reply; empty = all", list_from)
    ]
    deny: Annotated[
        tuple[Network, ...], Setting([], checks.networks, "networks that get none; overrides allow", list_from)
    ]
    rate: Annotated[
        float,
        Setting(
            0, checks.rate, "replies a second to one source address (IPv6: its /64); 0 = no limit, but 10 over UDP",
            number_from,
        ),
    ]  # fmt: skip
    burst: Annotated[
        int, Setting(20, _burst, "replies that a source may get at once before the rate applies", int_from)
    ]


@dataclass(frozen=True, slots=True)
class LogConfig:
    """Log settings."""

    level: Annotated[
        str,
        Setting(
            "info", checks.one_of(*LOG_LEVELS), f"lowest level that is logged: {' '.join(LOG_LEVELS)}",
            flags=("--log-level",), metavar="LEVEL",
        ),
    ]  # fmt: skip
    format: Annotated[
        str,
        Setting(
            "auto", checks.one_of(*LOG_FORMATS),
            "auto console json journal; auto = journal under systemd, console on a terminal, otherwise json",
            flags=("--log-format",), metavar="FORMAT",
        ),
    ]  # fmt: skip
    clients: Annotated[str, Setting("all", checks.one_of(*LOG_CLIENTS), "clients that are logged: all dropped none")]
    client_rate: Annotated[
        float,
        Setting(
            20, checks.rate, "client events a second for the whole daemon; the rest is summed up; 0 = no limit",
            number_from,
        ),
    ]  # fmt: skip
    client_burst: Annotated[int, Setting(200, _burst, "client events at once before the rate applies", int_from)]
    quiet: Annotated[
        tuple[Network, ...],
        Setting(
            [],
            checks.networks,
            "networks that are not logged when served, or when they reset (health checks)",
            list_from,
        ),
    ]


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration of one generation."""

    workers: Annotated[
        int,
        Setting(
            0, _workers, "workers of each listener; 0 = one per usable CPU, at most 8, and fewer with many listeners",
            int_from, flags=("-w", "--workers"), metavar="N",
        ),
    ]  # fmt: skip
    timezone: Annotated[
        str,
        Setting(
            "local", checks.timezone, "time zone of the replies: local, UTC or an IANA name",
            flags=("-z", "--timezone"), metavar="ZONE",
        ),
    ]  # fmt: skip
    format: Annotated[
        str,
        Setting(
            "sentence", checks.format_name, f"format of the replies: {' '.join(formats.NAMES)} or strftime:PATTERN",
            flags=("-f", "--format"), metavar="FORMAT",
        ),
    ]  # fmt: skip
    listeners: tuple[ListenerConfig, ...]
    access: AccessConfig
    log: LogConfig

    def defaults(self, name: str) -> ListenerConfig:
        """Return the settings of a passed socket whose name no listener bears."""
        return ListenerConfig(name, DEFAULT_ADDRESS, self.format, self.workers, self.timezone)

    def settings_of(self, name: str) -> ListenerConfig:
        """Return the settings of a passed socket: those of the listener that bears its name, or the defaults."""
        return next((each for each in self.listeners if each.name == name), self.defaults(name))

    @property
    def replies(self) -> set[tuple[str, str]]:
        """The formats and time zones that are used, or may be by a passed socket."""
        return {(each.format, each.timezone) for each in (*self.listeners, self.defaults(""))}


def _rows(section: str, of: type) -> dict[str, Setting]:
    """Return the rows of a section by key."""
    annotated = {each.name: getattr(each.type, "__metadata__", ()) for each in fields(of)}
    return {key: row._replace(section=section, key=key) for key, rows in annotated.items() for row in rows}


#: The rows by section, in the order of the file; "" is the top level, "listener" an array of tables.
SECTIONS: dict[str, dict[str, Setting]] = {
    name: _rows(name, of)
    for name, of in (("", Config), ("listener", ListenerConfig), ("access", AccessConfig), ("log", LogConfig))
}
SETTINGS = [each for section in SECTIONS.values() for each in section.values()]

#: The settings that have an environment variable.
VARIABLES: dict[str, Setting] = {each.variable: each for each in SETTINGS if each.section != "listener"}
#: These set the addresses of the listeners.
LISTEN_VARIABLE = ENVIRONMENT_PREFIX + "LISTEN"
LISTEN_FLAGS = ("-l", "--listen")
