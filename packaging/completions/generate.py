#!/usr/bin/env python3
"""
Write the completions of daytimed and daytime-get for bash, zsh and fish.

What options there are, how often and which exclude each other, is what the parsers say; what they do is the first
clause of the manual pages. Only what a value can be is said here. None of the files needs anything but its shell.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import NamedTuple

from daytimed import addresses, cli, config, formats
from daytimed.probe import arguments

HERE = Path(__file__).resolve().parent
#: What the value of an option can be: some words, or a kind of which shells know the rest; all else is not known.
FILE, ADDRESS, HOST, ZONE, USER, GROUP = ("file", "address", "host", "zone", "user", "group")
VALUES: dict[str, str | tuple[str, ...]] = {
    "--config": FILE,
    "--listen": ADDRESS,
    "--timezone": ZONE,
    "--format": (*formats.NAMES, formats.STRFTIME),
    "--log-level": config.LOG_LEVELS,
    "--log-format": config.LOG_FORMATS,
    "--pidfile": FILE,
    "--user": USER,
    "--group": GROUP,
    "--hostname": HOST,
    "--zone": ZONE,
    "--output": arguments.OUTPUTS,
}
SCHEMES = [f"{scheme}://" for scheme in addresses.SCHEMES]
LIST_ZONES = "awk '/^[^#]/ { print $3 }' /usr/share/zoneinfo/zone.tab 2>/dev/null"
MADE_BY = "made by packaging/completions/generate.py"


class Option(NamedTuple):
    """An option as a shell has to know it."""

    names: tuple[str, ...]
    told: str
    #: What a value is called, or nothing for an option that takes none.
    value: str
    kind: str | tuple[str, ...]
    #: The options that are of no use after it or before it, itself too unless it can be repeated.
    rivals: tuple[str, ...]
    #: Whether it is all that is done: nothing goes with it.
    is_alone: bool


class Program(NamedTuple):
    """A program, and whether it takes addresses besides its options."""

    name: str
    options: list[Option]
    takes_addresses: bool

    @property
    def function(self) -> str:
        return "_" + self.name.replace("-", "_")


def describe(parser: argparse.ArgumentParser, page: Path) -> Program:
    """Return what completions have to know of a program."""
    told = clauses(page.read_text())
    options = []
    for action in parser._actions:
        if not action.option_strings:
            continue
        is_repeated = isinstance(action, argparse._AppendAction | argparse._CountAction)
        rivals = [] if is_repeated else [*action.option_strings]
        for group in parser._mutually_exclusive_groups:
            if action in group._group_actions:
                rivals = [name for each in group._group_actions for name in each.option_strings]
        names = (*action.option_strings,)
        text, value = told[names]
        is_alone = names[-1] in {"--help", "--version"}
        options.append(Option(names, text, value, VALUES.get(names[-1], ""), (*rivals,), is_alone))
    return Program(parser.prog, options, len(options) < len(parser._actions))


def clauses(page: str) -> dict[tuple[str, ...], tuple[str, str]]:
    """Return the first clause that a manual page has about each option, and what it calls the value."""
    section = page.partition("\n.Sh OPTIONS\n")[2].partition("\n.Sh ")[0].replace("\\-", "-")
    found = {}
    for item in section.split("\n.It Fl ")[1:]:
        head, *lines = item.splitlines()
        names = re.findall(r"(?:^|Fl )(\S+)", head)
        value = re.search(r" Ar (\S+)", head)
        text = " ".join(plain(line) for line in lines).replace(" ,", ",")
        clause = re.split(r" ?[.;:](?: |$)", text)[0]
        if clause[1:2].islower():
            clause = clause[0].lower() + clause[1:]
        found[tuple(f"-{name}" for name in names)] = (clause, value[1] if value else "")
    return found


def plain(line: str) -> str:
    """Return a line of a manual page without its macro."""
    line = re.sub(r"^\.Xr (\S+) (\d)", r"\1(\2)", line)
    return re.sub(r"^\.(?:[A-Z][a-z] )?", "", re.sub(r"^\.Fl ", "-", line))


def quoted(text: str) -> str:
    """Return a word as bash and zsh have it."""
    return "'" + text.replace("'", "'\\''") + "'"


# -- bash ------------------------------------------------------------------------------------------------------------

BASH = r"""# bash completion of PROGRAM, MADE_BY

FUNCTION() {
    local options='OPTIONS'
    # what a value can be, and which options an option does not go with
    local -A kinds=(
        KINDS
    )
    local -A rivals=(
        RIVALS
    )
    local word name start rest=$COMP_LINE i
    local -a words=()

    # bash splits words at = and :, too; here they are as the program would get them
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        start=${rest#"${rest%%[![:space:]]*}"}
        if ((i)) && [[ $start == "$rest" ]]; then words[-1]+=$word; else words+=("$word"); fi
        rest=${start#"$word"}
    done

    # what the words before have said, and whether the last of them waits for a value
    local seen=' ' option=''
    for word in "${words[@]:1:${#words[@]}-2}"; do
        if [[ $option ]]; then
            option=''
        elif [[ $word == -- ]]; then
            options='' kinds=()
            break
        elif [[ $word == --* ]]; then
            seen+="${word%%=*} "
            [[ $word == *=* || ! ${kinds[$word]-} ]] || option=$word
        elif [[ $word == -?* ]]; then
            for ((i = 1; i < ${#word}; i++)); do
                name=-${word:i:1}
                seen+="$name "
                [[ ! ${kinds[$name]-} ]] || break
            done
            # the value is what is left of the word, or else the next one
            ((i != ${#word} - 1)) || option=$name
        fi
    done

    local current=${words[-1]} last=${COMP_WORDS[COMP_CWORD]} prefix='' kind=POSITIONAL
    if [[ $option ]]; then
        kind=${kinds[$option]}
    elif [[ $current == --*=* ]]; then
        prefix=${current%%=*}=
        kind=${kinds[${current%%=*}]-none}
    elif [[ $current == -[!-]?* && ${kinds[${current:0:2}]-} ]]; then
        prefix=${current:0:2}
        kind=${kinds[$prefix]}
    elif [[ $current == -* || $kind == none ]]; then
        kind=
        for name in $options; do
            for word in ${rivals[$name]-}; do
                [[ $seen != *" $word "* ]] || continue 2
            done
            kind+="$name "
        done
    fi

    local value=${current#"$prefix"}
    case $kind:$value in
        none:*) return ;;
        file:* | address:unix://*)
            # nobody quotes files better than bash itself
            compopt -o default
            return
            ;;
        address:*://*)
            prefix+=${value%%://*}://
            value=${value#*://}
            set -- -A hostname
            ;;
        address:*) set -- -W "SCHEMES $(compgen -A hostname)" ;;
        host:*) set -- -A hostname ;;
        user:* | group:*) set -- -A "$kind" ;;
        zone:*) set -- -W "local UTC $(LIST_ZONES)" ;;
        *) set -- -W "$kind" ;;
    esac
    mapfile -t COMPREPLY < <(compgen -P "$prefix" "$@" -- "$value")
    # what bash has split off is on the line already
    [[ ${last//[=:]/} ]] || last=
    COMPREPLY=("${COMPREPLY[@]#"${current%"$last"}"}")
    [[ ${COMPREPLY[0]-} != *[:/] ]] || compopt -o nospace
}

complete -F FUNCTION PROGRAM
"""


def make_bash(program: Program) -> str:
    """Return the completions for bash, with or without the package bash-completion."""
    kinds, rivals = [], []
    for option in program.options:
        kind = option.kind if isinstance(option.kind, str) else " ".join(option.kind)
        if option.value:
            kinds.append(" ".join(f"[{name}]={quoted(kind or 'none')}" for name in option.names))
        if option.rivals:
            rivals.append(" ".join(f"[{name}]={quoted(' '.join(option.rivals))}" for name in option.names))
    return filled(
        BASH,
        program,
        OPTIONS=" ".join(name for option in program.options for name in option.names),
        KINDS="\n        ".join(kinds),
        RIVALS="\n        ".join(rivals),
        POSITIONAL=ADDRESS if program.takes_addresses else "none",
        LIST_ZONES=LIST_ZONES,
        SCHEMES=" ".join(SCHEMES),
    )


# -- zsh -------------------------------------------------------------------------------------------------------------

ZSH = r"""#compdef PROGRAM
# zsh completion of PROGRAM, MADE_BY

local curcontext=$curcontext state state_descr line expl
local -A opt_args

_arguments -C -s -S \
SPECS && return

case $state in
    zone)
        _wanted zones expl 'time zone' compadd - local UTC $(LIST_ZONES)
        ;;
    address)
        if compset -P 'unix://'; then
            _files
        elif compset -P '*://'; then
            _hosts
        else
            _alternative 'schemes:scheme:compadd -S "" - SCHEMES' 'hosts:host:_hosts'
        fi
        ;;
    format)
        _alternative 'formats:format:compadd - FORMATS' 'patterns:pattern:compadd -S "" - STRFTIME'
        ;;
esac
"""
ZSH_ACTIONS = {FILE: "_files", HOST: "_hosts", USER: "_users", GROUP: "_groups"}


def make_zsh(program: Program) -> str:
    """Return the completions for zsh: a file to be autoloaded."""
    specs = []
    for option in program.options:
        head = "(- *)" if option.is_alone else f"({' '.join(option.rivals)})" if option.rivals else "*"
        names = list(option.names)
        tail = f"[{option.told}]"
        assert not set("[]:\\") & set(option.told), option.told
        if option.value:
            # the value can be the rest of the word as well
            names = [name + ("=" if name.startswith("--") else "+") for name in names]
            tail += f":{option.value}:{zsh_action(option.kind)}"
        spec = (
            f"{quoted(head)}{{{','.join(names)}}}{quoted(tail)}" if len(names) > 1 else quoted(head + names[0] + tail)
        )
        specs.append(f"    {spec}")
    if program.takes_addresses:
        specs.append(f"    '*:address:->{ADDRESS}'")
    return filled(
        ZSH,
        program,
        SPECS=" \\\n".join(specs),
        LIST_ZONES=LIST_ZONES,
        SCHEMES=" ".join(SCHEMES).replace(":", "\\:"),
        FORMATS=" ".join(formats.NAMES),
        STRFTIME=formats.STRFTIME.replace(":", "\\:"),
    )


def zsh_action(kind: str | tuple[str, ...]) -> str:
    """Return what completes a value; `->` is a case of its own."""
    if isinstance(kind, tuple):
        return "->format" if formats.STRFTIME in kind else f"({' '.join(kind)})"
    return ZSH_ACTIONS.get(kind, f"->{kind}") if kind else " "


# -- fish ------------------------------------------------------------------------------------------------------------

# fish leaves out the names of this host
FISH_HOSTS = "localhost (__fish_print_hostnames)"
FISH_WORD = "-- (commandline -ct)"
# nothing unless the word has one: then what follows it here is not offered
FISH_SCHEME = f"(string match -r '[a-z]+[46]?://' {FISH_WORD})"
FISH_UNIX = f"(string match -r 'unix://' {FISH_WORD})"
FISH_PATHS = f"(__fish_complete_path (string replace -r '.*unix://' '' {FISH_WORD}))"
FISH_VALUES = {
    HOST: FISH_HOSTS,
    USER: "(__fish_complete_users)",
    GROUP: "(__fish_complete_groups)",
    ZONE: f"local UTC ({LIST_ZONES})",
    ADDRESS: " ".join(
        [*SCHEMES, FISH_HOSTS, *(FISH_SCHEME + hosts for hosts in FISH_HOSTS.split(" ", 1)), FISH_UNIX + FISH_PATHS]
    ),
}


def make_fish(program: Program) -> str:
    """Return the completions for fish."""
    lines = [f"# fish completion of {program.name}, {MADE_BY}", "", f"complete -c {program.name} -f"]
    if program.takes_addresses:
        lines.append(f"complete -c {program.name} -a {fish_quoted(FISH_VALUES[ADDRESS])}")
    for option in program.options:
        words = [f"complete -c {program.name}"]
        words += [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names]
        if option.kind == FILE:
            words.append("-r -F")
        elif isinstance(option.kind, tuple):
            words.append(f"-x -a {fish_quoted(' '.join(option.kind))}")
        elif option.value:
            words.append(f"-x -a {fish_quoted(FISH_VALUES[option.kind])}" if option.kind else "-x")
        elif option.rivals:
            # not for options with values: fish asks this at the value too, when the option is there
            seen = [name[2:] if name.startswith("--") else f"-s {name[1:]}" for name in option.rivals]
            words.append(f"-n 'not __fish_contains_opt {' '.join(seen)}'")
        words.append(f"-d {fish_quoted(option.told)}")
        lines.append(" ".join(words))
    return "\n".join(lines) + "\n"


def fish_quoted(text: str) -> str:
    """Return a word as fish has it."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


# -- all of them -----------------------------------------------------------------------------------------------------


def filled(template: str, program: Program, **parts: str) -> str:
    """Return a template with its words in capitals replaced."""
    parts |= {"PROGRAM": program.name, "FUNCTION": program.function, "MADE_BY": MADE_BY}
    return re.sub(rf"\b({'|'.join(parts)})\b", lambda match: parts[match[0]], template)


def main() -> None:
    """Write the files, here or where the only argument says."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    man = HERE.parent / "man"
    for program in (
        describe(cli.make_parser(), man / "daytimed.8"),
        describe(arguments.make_parser(), man / "daytime-get.1"),
    ):
        for path, text in (
            (f"bash/{program.name}", make_bash(program)),
            (f"zsh/_{program.name}", make_zsh(program)),
            (f"fish/{program.name}.fish", make_fish(program)),
        ):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)


if __name__ == "__main__":
    main()
