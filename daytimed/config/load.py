"""
Loads the configuration. Precedence: default < file < environment < command line.

A loaded `Config` never changes; a reload makes a new one. One pass reports every error, each in one sentence with its
place: FILE: log.level: "loud" is not one of …
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from daytimed import tz
from daytimed.addresses import Address, overlap
from daytimed.config import checks, source
from daytimed.config.checks import list_from, show
from daytimed.config.settings import (
    DEFAULT_ADDRESS,
    ENVIRONMENT_PREFIX,
    LISTEN_VARIABLE,
    MOST_WORKERS,
    SECTIONS,
    SETTINGS,
    VARIABLES,
    AccessConfig,
    Config,
    ListenerConfig,
    LogConfig,
    Setting,
)
from daytimed.errors import ConfigError

DEFAULT_PATH = "/etc/daytimed/daytimed.toml"


def load(path: str | None, environ: Mapping[str, str], options: Mapping[str, Any], listen: list[Address]) -> Config:
    """
    Load the configuration from the file, the environment and the command line.

    Args:
        path: The file; None for the default one, which need not exist.
        environ: The environment, with TZ and the DAYTIMED_* variables.
        options: Values from the command line by key path, already checked by `check_option`.
        listen: Addresses from the command line; they replace the listeners of the file and the environment.

    Raises:
        ConfigError: With every error.
        NoPermissionError: If this user may not read the file.
    """
    problems: list[str] = []
    where = path or DEFAULT_PATH
    document: dict[str, Any] = {}
    with _Collected(problems, where):
        document = source.read(where, must_exist=path is not None)
    values = _check_document(document, where, problems)
    for variable, setting in VARIABLES.items():
        if variable in environ:
            with _Collected(problems, variable):
                values[setting.path] = setting.check(setting.from_text(environ[variable]))
    tables = values.pop("listener")
    if not listen:
        for text in list_from(environ.get(LISTEN_VARIABLE, "")):
            with _Collected(problems, LISTEN_VARIABLE):
                listen = [*listen, checks.address(text)]
    if listen:
        tables = [{"address": address} for address in listen]
        where = "the list of addresses"
    values.update(options)
    listeners = _make_listeners(tables, values, where, problems)
    if "local" in {values["timezone"], *(listener.timezone for listener in listeners)}:
        with _Collected(problems, "TZ"):
            tz.check(environ.get("TZ"))
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
    Check the value of a flag.

    Raises:
        ValueError: With the reason.
    """
    return setting.check(setting.from_text(text))


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return the DAYTIMED_* variables that set nothing. They are logged, not refused: other programs may own them."""
    known = {*VARIABLES, LISTEN_VARIABLE}
    return sorted(name for name in environ if name.startswith(ENVIRONMENT_PREFIX) and name not in known)


class _Collected:
    """Record a ValueError inside a `with` as a problem, with its place, and continue after it."""

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


def _check_document(document: dict[str, Any], where: str, problems: list[str]) -> dict[str, Any]:
    """Return the checked value of every setting by key path, and the tables of the listeners under "listener"."""
    values: dict[str, Any] = {each.path: each.check(each.default) for each in SETTINGS if each.section != "listener"}
    values["listener"] = []
    for key, value in document.items():
        if key == "listener":
            values["listener"] = _check_listener_tables(value, where, problems)
        elif key and key in SECTIONS:
            if isinstance(value, dict):
                values.update(_check_table(value, key, f"{where}: {key}.", problems))
            else:
                problems.append(f"{where}: {key}: {show(value)} is not a table; write [{key}] with its keys below")
        elif _is_section(value) and key not in SECTIONS[""]:
            from daytimed.config import keys  # for errors only

            problems.append(f"{where}: {_show_key(key)}: unknown section{keys.hint_at_section(key)}")
        else:
            values.update(_check_table({key: value}, "", f"{where}: ", problems))
    return values


def _is_section(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(each, dict) for each in value))


def _check_listener_tables(value: Any, where: str, problems: list[str]) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        problems.append(f"{where}: listener: {show(value)} is not an array of tables; write [[listener]]")
        return []
    tables = []
    for number, table in enumerate(value):
        prefix = f"{where}: listener[{number}]."
        checked = _check_table(table, "listener", prefix, problems)
        # an error must not look like a missing key, which has a default
        faulty = dict.fromkeys(SECTIONS["listener"].keys() & table.keys())
        tables.append(faulty | {path.rpartition(".")[2]: each for path, each in checked.items()})
    return tables


def _check_table(table: dict[str, Any], section: str, prefix: str, problems: list[str]) -> dict[str, Any]:
    values = {}
    for key, value in table.items():
        with _Collected(problems, prefix + _show_key(key)):
            setting = SECTIONS[section].get(key)
            try:
                if setting is None:
                    raise ValueError("unknown key")
                values[setting.path] = setting.check(value)
            except ValueError as error:
                from daytimed.config import keys  # for errors only

                hint = keys.hint_at_value(value, setting) if setting else keys.hint_at_key(key, section)
                raise ValueError(f"{error}{hint}") from None
    return values


def _make_listeners(
    tables: list[dict[str, Any]], values: Mapping[str, Any], where: str, problems: list[str]
) -> tuple[ListenerConfig, ...]:
    listeners: list[ListenerConfig] = []
    names: dict[str, int] = {}
    places: dict[int, Address] = {}
    for number, table in enumerate(tables or [{"address": DEFAULT_ADDRESS}]):
        default_name = SECTIONS["listener"]["name"].default + (f"-{number + 1}" if number else "")
        listener = ListenerConfig(
            name=table.get("name", default_name),
            address=table.get("address"),
            format=table.get("format", values["format"]),
            workers=table.get("workers", values["workers"]),
            timezone=table.get("timezone", values["timezone"]),
        )
        if address := listener.address:
            problems += [
                f"{where}: listener[{number}].address: {address} is also the address of listener[{first}]"
                if other == address
                else f"{where}: listener[{number}].address: {address} overlaps {other} of listener[{first}]"
                for first, other in places.items()
                if overlap(address, other)
            ][:1]
            places[number] = address
        if listener.name and (first := names.setdefault(listener.name, number)) != number:
            problems.append(
                f'{where}: listener[{number}].name: "{listener.name}" is also the name of listener[{first}]'
            )
        listeners.append(listener)
    if sum((listener.workers or 1) for listener in listeners) > MOST_WORKERS:
        problems.append(f"{where}: workers: more than {MOST_WORKERS} in all listeners together; lower them")
    return tuple(listeners)


def _show_key(key: str) -> str:
    return key if key and key.isprintable() and len(key) <= 60 else show(key)
