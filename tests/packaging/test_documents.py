"""What is written by hand, or shipped, says what the table of settings says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from daytimed import config, formats
from daytimed.log import EVENTS
from daytimed.reasons import REASONS

PROJECT = Path(__file__).parents[2]
README = (PROJECT / "README.md").read_text()


def test_the_shipped_configuration_is_made_from_the_table() -> None:
    """Every key, its default and a line of help; `python3 -c 'from daytimed import config; ...'` makes it anew."""
    assert (PROJECT / "packaging/daytimed.toml").read_text() == config.commented_example()


def test_the_configuration_in_the_readme_is_the_default() -> None:
    """Every key of the table with its default, and no other."""
    (block,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    document = tomllib.loads(block)
    (listener,) = document.pop("listener")
    expected = {each.path: each.default for each in config.SETTINGS if each.section != "listener"}
    found = {key: value for key, value in document.items() if not isinstance(value, dict)}
    for section in ("access", "log"):
        found |= {f"{section}.{key}": value for key, value in document[section].items()}
    assert found == expected
    assert listener == {"name": "daytime", "address": str(config.DEFAULT_ADDRESS)}


def test_the_readme_knows_every_format_event_and_reason() -> None:
    """All the names that are an interface are in it."""
    missing = [name for name in (*formats.NAMES, "strftime:PATTERN") if f"| `{name}`" not in README]
    missing += [name for name in (*EVENTS, *REASONS) if not re.search(rf"\b{name}\b", README)]
    assert missing == []
