"""
Hints at the place of a key, for keys and values that are wrong where they are.

A key below a section header belongs to that section, up to the next header: the classic trap of TOML.
"""

from __future__ import annotations

from typing import Any

from daytimed.config.settings import SECTIONS, SETTINGS, Setting
from daytimed.nearest import nearest

#: Keys of other daemons.
_ELSEWHERE = {
    **dict.fromkeys(("bind", "host", "listen", "port"), "address"),
    **dict.fromkeys(("processes", "threads"), "workers"),
    **dict.fromkeys(("loglevel", "verbosity"), "level"),
    "tz": "timezone",
}


def hint_at_key(key: str, section: str) -> str:
    """Return a hint for a key that its section does not have: its place, or the key that was meant."""
    if places := _places(key):
        return f" here; it belongs {places}"
    if key and key in SECTIONS:
        return f" here; write {_header(key)} on a line of its own"
    meant = _ELSEWHERE.get(key.casefold(), "")
    own = [*SECTIONS[section], *(SECTIONS if not section else ())]
    if not meant and (near := nearest(key, own)):
        return f"; did you mean {near}?"
    meant = meant or nearest(key, [each.key for each in SETTINGS])
    return f"; did you mean {meant}, which belongs {_places(meant)}?" if meant else ""


def hint_at_section(name: str) -> str:
    """Return a hint for an unknown section."""
    meant = nearest(name, [each for each in SECTIONS if each])
    if meant:
        return f"; did you mean {_header(meant)}?"
    return "; the sections are " + ", ".join(_header(each) for each in SECTIONS if each)


def hint_at_value(value: Any, setting: Setting) -> str:
    """Return a hint for a value that another section's key of the same name takes, or an empty string."""
    for section, keys in SECTIONS.items():
        other = keys.get(setting.key)
        if other is None or section in (setting.section, "listener"):
            continue
        try:
            other.check(value)
        except ValueError:
            continue
        return f"; did you mean the {setting.key} {_place(section)}?"
    return ""


def _places(key: str) -> str:
    return " or ".join(_place(section) for section, keys in SECTIONS.items() if key in keys)


def _place(section: str) -> str:
    return f"under {_header(section)}" if section else "above the first section"


def _header(section: str) -> str:
    return "[[listener]]" if section == "listener" else f"[{section}]"
