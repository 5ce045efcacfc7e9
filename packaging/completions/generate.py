#!/usr/bin/env python3
"""
Write the completions of daytimed and daytime-get for bash, zsh and fish, with shtab.

The parsers define the options, and the first clauses of the manual pages describe them. This file defines only the
values that shells complete.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import shtab

from daytimed import formats
from daytimed.arguments import make_parser
from daytimed.config.settings import LOG_FORMATS, LOG_LEVELS
from daytimed.probe import arguments

HERE = Path(__file__).resolve().parent
FILES = {"bash": "bash/{}", "zsh": "zsh/_{}", "fish": "fish/{}.fish"}
#: Most of each file is shtab's own text, under its license.
LICENSE = "# SPDX-FileCopyrightText: 2020-2026 Casper da Costa-Luis (shtab)\n# SPDX-License-Identifier: MPL-2.0\n"


def known(bash: str, zsh: str, fish: str) -> shtab.CompleteType:
    """Return the completion of a kind of word that shells know; `bash` is its name for `compgen -A`."""
    function = f"_daytimed_compgen_{bash}"
    return {
        "bash": function,
        "zsh": zsh,
        "fish": fish,
        "preamble": {"bash": f'{function}() {{\n  compgen -A {bash} -- "$1"\n}}'},
    }


#: Any value; without this, bash would offer options for a value that begins with a minus.
ANYTHING: shtab.CompleteType = {"bash": ":"}
HOST = known("hostname", "_hosts", "localhost (__fish_print_hostnames)")
ZONE = shtab.cmd("echo local; echo UTC; grep -sv '^#' /usr/share/zoneinfo/zone.tab | cut -f3")
VALUES = {
    "addresses": HOST,
    "--config": shtab.FILE,
    "--group": known("group", "_groups", "(__fish_complete_groups)"),
    "--hostname": HOST,
    "--listen": HOST,
    "--pidfile": shtab.FILE,
    "--timezone": ZONE,
    "--user": known("user", "_users", "(__fish_complete_users)"),
    "--zone": ZONE,
}
#: The settings check these choices, not the parsers. A format can also be strftime:PATTERN.
CHOICES = {"--format": formats.NAMES, "--log-format": LOG_FORMATS, "--log-level": LOG_LEVELS}


def described(parser: argparse.ArgumentParser, page: Path) -> argparse.ArgumentParser:
    """Return the parser with the texts and completions that shtab needs and the program does not."""
    told = clauses(page.read_text())
    for action in parser._actions:
        name = action.option_strings[-1] if action.option_strings else action.dest
        action.help = told[name] if action.option_strings else None
        action.choices = CHOICES.get(name, action.choices)
        if action.nargs != 0 and not action.choices:
            action.complete = VALUES.get(name, ANYTHING)  # type: ignore[attr-defined]
    return parser


def clauses(page: str) -> dict[str, str]:
    """Return the first clause of a manual page about each option, by the last name of the option."""
    section = page.partition("\n.Sh OPTIONS\n")[2].partition("\n.Sh ")[0].replace("\\-", "-")
    found = {}
    for item in section.split("\n.It ")[1:]:
        names, _, text = item.partition("\n")
        text = re.sub(r"^\.Xr (\S+) (\d)", r"\1(\2)", text, flags=re.M).replace("\n.Fl ", " -")
        text = re.sub(r"^\.[A-Z][a-z] ", "", text, flags=re.M).replace("\n", " ").replace(" ,", ",")
        clause = re.split(r" ?[.;:](?: |$)", text)[0]
        found["-" + re.findall(r"Fl (\S+)", names)[-1]] = clause
    return found


def main() -> None:
    """Write the files to this folder, or to the one in the only argument."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    man = HERE.parent / "man"
    for make, page in ((make_parser, "daytimed.8"), (arguments.make_parser, "daytime-get.1")):
        parser = described(make(), man / page)
        for shell, name in FILES.items():
            path = folder / name.format(parser.prog)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(shtab.complete(parser, shell, preamble=LICENSE))


if __name__ == "__main__":
    main()
