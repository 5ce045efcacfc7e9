"""
The configuration: one table of settings, and everything that is made from it.

`SETTINGS` is the only place that knows a key. The flags of the command line, the environment variables, the loader,
`--print-config` and the commented example all come from it. Precedence: default < file < environment < command line.
A loaded `Config` never changes; a reload makes a new one.

Every fault is found in one pass and told in one sentence with its place: FILE: log.level: "loud" is not one of …
"""

from __future__ import annotations

import ipaddress
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from daytimed import addresses, clock, formats
from daytimed.addresses import Address, printable
from daytimed.errors import ConfigError, NoPermissionError

DEFAULT_PATH = "/etc/daytimed/daytimed.toml"
ENVIRONMENT_PREFIX = "DAYTIMED_"

#: The counters are one fixed piece of memory: see counters.SLOTS, which has room for two generations and more.
MOST_WORKERS = 1024

#: More than the most listeners need.
LARGEST_FILE = 1 << 20

#: Once in a quarter of an hour, and more than one machine can serve.
LEAST_RATE, MOST_RATE = 0.001, 1_000_000

LOG_LEVELS = ("debug", "info", "warning", "error", "critical")
LOG_FORMATS = ("auto", "console", "json", "journal")
LOG_CLIENTS = ("all", "dropped", "none")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class ListenerConfig:
    """One listener; `format`, `workers` and `timezone` are the defaults of the daemon where it does not say."""

    name: str
    address: Address
    format: str
    workers: int
    timezone: str


@dataclass(frozen=True, slots=True)
class AccessConfig:
    """Who may ask, and how often."""

    allow: tuple[Network, ...]
    deny: tuple[Network, ...]
    rate: float
    burst: int


@dataclass(frozen=True, slots=True)
class LogConfig:
    """What is logged, and how."""

    level: str
    format: str
    clients: str
    client_rate: float
    client_burst: int
    quiet: tuple[Network, ...]


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration of one generation."""

    workers: int
    timezone: str
    format: str
    listeners: tuple[ListenerConfig, ...]
    access: AccessConfig
    log: LogConfig

    def defaults(self, name: str) -> ListenerConfig:
        """Return the settings of a passed socket that no listener is named after."""
        return ListenerConfig(name, DEFAULT_ADDRESS, self.format, self.workers, self.timezone)


class Setting(NamedTuple):
    """A row of the table."""

    path: str
    """Where it stands in the file: `format`, `listener.name`, `log.level`."""

    default: Any
    """As the file would have it; None for a key of a listener that falls back to the daemon's."""

    check: Callable[[Any], Any]
    """From a value of the file to the value that is used; raises ValueError with the reason."""

    from_text: Callable[[str], Any]
    """From the text of a flag or an environment variable to a value as the file would have it."""

    help: str
    flags: tuple[str, ...] = ()
    metavar: str | None = None

    @property
    def section(self) -> str:
        return self.path.rpartition(".")[0]

    @property
    def key(self) -> str:
        return self.path.rpartition(".")[2]

    @property
    def variable(self) -> str:
        """The environment variable that sets it; listeners come from the file and from one list of addresses."""
        return ENVIRONMENT_PREFIX + self.path.upper().replace(".", "_")


def _whole(least: int, most: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"{_show(value)} is not a whole number from {least} to {most}")
        return value

    return check


def _rate(value: Any) -> float:
    if type(value) not in (int, float) or not (value == 0 or LEAST_RATE <= value <= MOST_RATE):
        raise ValueError(f"{_show(value)} is neither 0 nor a number from {LEAST_RATE} to {MOST_RATE}")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{_show(value)} is not a text in quotes")
    return value


def _one_of(*choices: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"{_show(value)} is not one of {', '.join(choices)}{_guess(value, choices)}")
        return str(value)

    return check


def _timezone(value: Any) -> str:
    clock.load_zone(_text(value))
    return str(value)


def _format(value: Any) -> str:
    return formats.check_format(_text(value))


#: What systemd accepts as the name of a passed socket, sd_listen_fds_with_names(3), without the blank.
_LISTENER_NAME = re.compile(r"[!-9;-~]{1,255}\Z")


def _name(value: Any) -> str:
    if not _LISTENER_NAME.match(_text(value)):
        raise ValueError(f"{_show(value)} is no name: up to 255 printing ASCII characters without blank and colon")
    return str(value)


def _address(value: Any) -> Address:
    if type(value) is int:
        value = str(value)
    return addresses.parse(_text(value))


def _networks(value: Any) -> tuple[Network, ...]:
    if not isinstance(value, list):
        raise ValueError(f'{_show(value)} is not a list of networks like ["192.0.2.0/24", "2001:db8::/32"]')
    networks, faults = [], []
    for each in value:
        try:
            networks.append(_network(each))
        except ValueError as error:
            faults.append(str(error))
    if faults:
        raise ValueError("; ".join(faults))
    return tuple(networks)


def _network(value: Any) -> Network:
    if isinstance(value, str) and "%" in value:
        raise ValueError(f"{_show(value)} names an interface, and a network is that of all; write it without %")
    try:
        network = ipaddress.ip_network(_text(value))
    except ValueError:
        raise ValueError(
            f"{_show(value)} is no network; write an address or address/prefix with no bit set behind the prefix"
        ) from None
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped:
            return ipaddress.IPv4Network((mapped, network.prefixlen - 96))
    return network


def _int_text(text: str) -> Any:
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text.strip()) else text


def _number_text(text: str) -> Any:
    try:
        return float(text) if "." in text else _int_text(text)
    except ValueError:
        return text


def _list_text(text: str) -> list[str]:
    return text.replace(",", " ").split()


DEFAULT_ADDRESS = Address("tcp", "", 6000)

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "workers", 0, _whole(0, MOST_WORKERS), _int_text,
        "workers of each listener; 0 = one for each usable CPU", ("-w", "--workers"), "N",
    ),
    Setting(
        "timezone", "local", _timezone, str,
        "time zone of the replies: local, UTC or an IANA name", ("-z", "--timezone"), "ZONE",
    ),
    Setting(
        "format", "sentence", _format, str,
        f"what a reply looks like: {' '.join(formats.NAMES)} or strftime:PATTERN", ("-f", "--format"), "FORMAT",
    ),
    Setting("listener.name", "daytime", _name, str, "name in the logs, and the FileDescriptorName= it adopts"),
    Setting(
        "listener.address", str(DEFAULT_ADDRESS), _address, str,
        "where to listen: [SCHEME://]HOST:PORT, :PORT, PORT, [V6]:PORT or unix:///PATH;"
        " SCHEME is tcp tcp4 tcp6 udp udp4 udp6",
    ),
    Setting("listener.format", None, _format, str, "format of this listener; without it the daemon's"),
    Setting("listener.workers", None, _whole(0, MOST_WORKERS), _int_text, "workers of this listener"),
    Setting("listener.timezone", None, _timezone, str, "time zone of this listener"),
    Setting("access.allow", [], _networks, _list_text, "networks that may ask; empty = everyone"),
    Setting("access.deny", [], _networks, _list_text, "networks that may not ask; wins over allow"),
    Setting(
        "access.rate", 0, _rate, _number_text,
        "replies a second to one source address (IPv6: its /64); 0 = no limit, but 10 over UDP",
    ),
    Setting("access.burst", 20, _whole(1, 1_000_000), _int_text, "replies a source may have at once before that"),
    Setting(
        "log.level", "info", _one_of(*LOG_LEVELS), str,
        f"least level of an event that is logged: {' '.join(LOG_LEVELS)}", ("--log-level",), "LEVEL",
    ),
    Setting(
        "log.format", "auto", _one_of(*LOG_FORMATS), str,
        "auto console json journal; auto = journal under systemd, console on a terminal, else json",
        ("--log-format",), "FORMAT",
    ),
    Setting("log.clients", "all", _one_of(*LOG_CLIENTS), str, "which clients are logged: all dropped none"),
    Setting(
        "log.client_rate", 20, _rate, _number_text,
        "client events a second for the whole daemon, the rest is summed up; 0 = no limit",
    ),
    Setting("log.client_burst", 200, _whole(1, 1_000_000), _int_text, "client events at once before that"),
    Setting("log.quiet", [], _networks, _list_text, "networks whose served clients are not logged"),
)  # fmt: skip

#: The table by sections, in the order of the file; "" is the top and "listener" an array of tables.
SECTIONS: dict[str, dict[str, Setting]] = {}
for _setting in SETTINGS:
    SECTIONS.setdefault(_setting.section, {})[_setting.key] = _setting

#: Sets the addresses of the listeners, from the environment or the command line.
LISTEN_VARIABLE = ENVIRONMENT_PREFIX + "LISTEN"
LISTEN_FLAGS = ("-l", "--listen")

#: The settings that an environment variable can set.
VARIABLES: dict[str, Setting] = {each.variable: each for each in SETTINGS if each.section != "listener"}


def load(path: str | None, environ: Mapping[str, str], options: Mapping[str, Any], listen: list[Address]) -> Config:
    """
    Load the configuration from everything that can set it.

    Args:
        path: The file; None for the default one, which need not exist.
        environ: Where the DAYTIMED_* variables are.
        options: What the command line set, by the path of the setting, already checked by `check_option`.
        listen: The addresses that the command line gave; they replace the listeners of file and environment.

    Raises:
        ConfigError: With every fault there is.
        NoPermissionError: If the file may not be read.
    """
    problems: list[str] = []
    document = _read_file(path, problems)
    where = path or DEFAULT_PATH
    values = _check_document(document, where, problems)
    for variable, setting in VARIABLES.items():
        if variable in environ:
            with _Faults(problems, variable):
                values[setting.path] = setting.check(setting.from_text(environ[variable]))
    tables = values.pop("listener")
    if not listen:
        for text in _list_text(environ.get(LISTEN_VARIABLE, "")):
            with _Faults(problems, LISTEN_VARIABLE):
                listen = [*listen, addresses.parse(text)]
    if listen:
        tables = [{"address": address} for address in listen]
        where = "the list of addresses"
    values.update(options)
    listeners = _make_listeners(tables, values, where, problems)
    if problems:
        raise ConfigError(problems)
    return Config(
        workers=values["workers"],
        timezone=values["timezone"],
        format=values["format"],
        listeners=listeners,
        access=AccessConfig(**{key: values[each.path] for key, each in SECTIONS["access"].items()}),
        log=LogConfig(**{key: values[each.path] for key, each in SECTIONS["log"].items()}),
    )


def check_option(setting: Setting, text: str) -> Any:
    """
    Read the value of a flag.

    Raises:
        ValueError: With the reason.
    """
    return setting.check(setting.from_text(text))


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return the DAYTIMED_* variables that set nothing; they are told, not refused: other programs may own them."""
    known = {*VARIABLES, LISTEN_VARIABLE}
    return sorted(name for name in environ if name.startswith(ENVIRONMENT_PREFIX) and name not in known)


class _Faults:
    """Turn a ValueError inside a `with` into a problem with its place, and go on behind it."""

    def __init__(self, problems: list[str], where: str) -> None:
        self.problems = problems
        self.where = where

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        if not isinstance(error, ValueError):
            return False
        self.problems.append(f"{self.where}: {error}")
        return True


def _read_file(path: str | None, problems: list[str]) -> dict[str, Any]:
    where = path or DEFAULT_PATH
    try:
        # a pipe would be waited for, and hold up a master that has to serve
        with open(where, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as file:
            if stat.S_ISFIFO(os.fstat(file.fileno()).st_mode) and not where.startswith(("/dev/", "/proc/")):
                raise ValueError("it is a pipe, which a reload could not read again")
            os.set_blocking(file.fileno(), True)
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise ValueError(f"it has more than {LARGEST_FILE} bytes")
        import tomllib  # not for a daemon without a file

        return tomllib.loads(content.decode())
    except FileNotFoundError as error:
        if path is not None:
            raise ConfigError([f"{where}: {error.strerror}; give the path of a file with -c"]) from None
    except PermissionError as error:
        raise NoPermissionError(f"{where}: {error.strerror}; this user may not read the configuration") from None
    except OSError as error:
        problems.append(f"{where}: {error.strerror}")
    except UnicodeDecodeError as error:
        problems.append(f"{where}: byte {error.start} is not UTF-8, which TOML has to be")
    except (ValueError, RecursionError) as error:
        # tomllib's own error is a ValueError, and so is a number of thousands of digits
        problems.append(f"{where}: not TOML: {error}")
    return {}


def _check_document(document: dict[str, Any], where: str, problems: list[str]) -> dict[str, Any]:
    """Return the checked value of every setting by its path, and under "listener" the tables of the listeners."""
    values: dict[str, Any] = {each.path: each.check(each.default) for each in SETTINGS if each.section != "listener"}
    values["listener"] = []
    names = [*SECTIONS[""], *(section for section in SECTIONS if section)]
    for key, value in document.items():
        if key == "listener":
            values["listener"] = _check_listener_tables(value, where, problems)
        elif key and key in SECTIONS:
            if isinstance(value, dict):
                values.update(_check_table(value, SECTIONS[key], f"{where}: {key}.", problems))
            else:
                problems.append(f"{where}: {key}: {_show(value)} is not a table; write [{key}] and its keys below it")
        elif key in SECTIONS[""]:
            values.update(_check_table({key: value}, SECTIONS[""], f"{where}: ", problems))
        else:
            problems.append(f"{where}: {_show_key(key)}: unknown key{_guess(key, names)}")
    return values


def _check_listener_tables(value: Any, where: str, problems: list[str]) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        problems.append(f"{where}: listener: {_show(value)} is not an array of tables; write [[listener]]")
        return []
    tables = []
    for number, table in enumerate(value):
        prefix = f"{where}: listener[{number}]."
        checked = _check_table(table, SECTIONS["listener"], prefix, problems)
        # what is wrong or missing is known to be there: it must not be taken for the default
        faulty = dict.fromkeys(SECTIONS["listener"].keys() & {*table, "address"})
        tables.append(faulty | {path.rpartition(".")[2]: each for path, each in checked.items()})
        if "address" not in table:
            problems.append(f"{prefix}address: missing; say where to listen")
    return tables


def _check_table(
    table: dict[str, Any], settings: dict[str, Setting], prefix: str, problems: list[str]
) -> dict[str, Any]:
    values = {}
    for key, value in table.items():
        with _Faults(problems, prefix + _show_key(key)):
            if key not in settings:
                raise ValueError(f"unknown key{_guess(key, list(settings))}")
            values[settings[key].path] = settings[key].check(value)
    return values


def _make_listeners(
    tables: list[dict[str, Any]], values: Mapping[str, Any], where: str, problems: list[str]
) -> tuple[ListenerConfig, ...]:
    listeners: list[ListenerConfig] = []
    names: dict[str, int] = {}
    places: dict[Address, int] = {}
    for number, table in enumerate(tables or [{"address": DEFAULT_ADDRESS}]):
        default_name = SECTIONS["listener"]["name"].default + (f"-{number + 1}" if number else "")
        listener = ListenerConfig(
            name=table.get("name", default_name),
            address=table.get("address", DEFAULT_ADDRESS),
            format=table.get("format", values["format"]),
            workers=table.get("workers", values["workers"]),
            timezone=table.get("timezone", values["timezone"]),
        )
        address = listener.address
        if address and (address.port or address.path) and (first := places.setdefault(address, number)) != number:
            problems.append(f"{where}: listener[{number}].address: {address} is that of listener[{first}] too")
        if listener.name and (first := names.setdefault(listener.name, number)) != number:
            problems.append(f'{where}: listener[{number}].name: "{listener.name}" is that of listener[{first}] too')
        listeners.append(listener)
    if sum((listener.workers or 1) for listener in listeners) > MOST_WORKERS:
        problems.append(f"{where}: workers: more than {MOST_WORKERS} over all listeners; lower them")
    return tuple(listeners)


def _show(value: Any) -> str:
    try:
        shown = printable(f'"{value}"') if isinstance(value, str) else repr(value)
    except (ValueError, RecursionError):
        # a number of thousands of digits, tables in tables in tables
        shown = "what is there"
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _show_key(key: str) -> str:
    return key if key and key.isprintable() and len(key) <= 60 else _show(key)


def _guess(word: Any, known: tuple[str, ...] | list[str]) -> str:
    import difflib  # for faults only

    close = difflib.get_close_matches(word, known, 1) if isinstance(word, str) else []
    return f"; did you mean {close[0]}?" if close else ""


def to_toml(config: Config) -> str:
    """Return a configuration as TOML that loads to the same again."""
    lines = [f"{key} = {_toml_value(getattr(config, key))}" for key in SECTIONS[""]]
    for listener in config.listeners:
        lines += ["", "[[listener]]"]
        lines += [f"{key} = {_toml_value(getattr(listener, key))}" for key in SECTIONS["listener"]]
    for section, values in (("access", config.access), ("log", config.log)):
        lines += ["", f"[{section}]"]
        lines += [f"{key} = {_toml_value(getattr(values, key))}" for key in SECTIONS[section]]
    return "\n".join(lines) + "\n"


def commented_example() -> str:
    """Return the default configuration with a line of help for every key, as it is shipped."""
    return "".join(_commented_lines())


def _commented_lines() -> Iterator[str]:
    for section, settings in SECTIONS.items():
        if section == "listener":
            yield "\n[[listener]]\n"
        elif section:
            yield f"\n[{section}]\n"
        for key, setting in settings.items():
            yield f"# {setting.help}\n"
            yield f"# {key} =\n" if setting.default is None else f"{key} = {_toml_value(setting.default)}\n"


def _toml_value(value: Any) -> str:
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml_value(each) for each in value) + "]"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else str(value)
    return '"' + "".join(_toml_character(each) for each in str(value)) + '"'


def _toml_character(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else f"\\U{ord(character):08X}"
