"""Writes a configuration as TOML: the one in force, and the default one with a line of help for each key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from daytimed.config.settings import SECTIONS, Config


def to_toml(config: Config) -> str:
    """Return a configuration as TOML; loaded again, it is the same."""
    lines = [f"{key} = {to_toml_value(getattr(config, key))}" for key in SECTIONS[""]]
    for listener in config.listeners:
        lines += ["", "[[listener]]"]
        set_here = {key: getattr(listener, key) for key in SECTIONS["listener"]}
        lines += [f"{key} = {to_toml_value(value)}" for key, value in set_here.items() if value is not None]
    for section, values in (("access", config.access), ("log", config.log)):
        lines += ["", f"[{section}]"]
        lines += [f"{key} = {to_toml_value(getattr(values, key))}" for key in SECTIONS[section]]
    return "\n".join(lines) + "\n"


def commented_example() -> str:
    """Return the default configuration with a line of help for each key, as the packages ship it."""
    return "".join(_commented_lines())


def _commented_lines() -> Iterator[str]:
    for section, settings in SECTIONS.items():
        if section == "listener":
            yield "\n[[listener]]\n"
        elif section:
            yield f"\n[{section}]\n"
        for key, setting in settings.items():
            for line in setting.help.splitlines():
                yield f"# {line}\n"
            yield f"# {key} =\n" if setting.default is None else f"{key} = {to_toml_value(setting.default)}\n"


def to_toml_value(value: Any) -> str:
    """Return one value as TOML."""
    if isinstance(value, tuple | list):
        return "[" + ", ".join(to_toml_value(each) for each in value) + "]"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else str(value)
    return '"' + "".join(_escape(each) for each in str(value)) + '"'


def _escape(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else f"\\U{ord(character):08X}"
