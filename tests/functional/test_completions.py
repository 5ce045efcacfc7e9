"""
The completions, in the shells that they are for.

bash and zsh have a terminal, and keys that tell what is on the command line: after TAB, or after all that would be
offered has been put there. fish tells what it would offer by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple, Protocol

import pytest
from harness import DEADLINE_S, clean_environment, program, run

from daytimed import addresses, cli, config, formats
from daytimed.probe import arguments

COMPLETIONS = Path(__file__).parents[2] / "packaging/completions"
BASH_COMPLETION = Path("/usr/share/bash-completion/bash_completion")
#: Where a word, or the value that an option has in its own word, begins.
WORDS = re.compile("(?<=[ =])")
PARSERS = {"daytimed": cli.make_parser(), "daytime-get": arguments.make_parser()}

#: M-* is the key of bash for all completions; C-t is ours: it tells what is on the command line, and clears that.
BASH = r"""
tell() {{ printf '%s\n' "$READLINE_LINE" >&{fd}; READLINE_LINE=; READLINE_POINT=0; }}
bind -x '"\C-t": tell'
{load}
printf 'ready\n' >&{fd}
"""
BASH_ALONE = f". {COMPLETIONS}/bash/daytimed; . {COMPLETIONS}/bash/daytime-get"
#: The documented way to have all completions at once, zshcompsys(1) at _all_matches.
ZSH = r"""
fpath=({folder}/zsh $fpath)
autoload -Uz compinit && compinit -u -D
bindkey -e
tell() {{ print -r -- "$BUFFER" >&{fd}; BUFFER= }}
zle -N tell && bindkey '^T' tell
zle -C every complete-word _generic && bindkey '\e*' every
zstyle ':completion:every:*' insert yes
zstyle ':completion:every::::' completer _all_matches _complete
print ready >&{fd}
"""


class Shell(Protocol):
    """A shell with the completions."""

    def offers(self, line: str) -> list[str]:
        """Return what could come after this, each without what is before its value."""

    def complete(self, line: str) -> str:
        """Return what the line becomes by TAB."""


class Terminal(NamedTuple):
    """A shell with a command line."""

    keyboard: int
    told: IO[str]

    def offers(self, line: str) -> list[str]:
        changed = self._press(line, "\x1b*")
        if changed.rstrip() == line.rstrip():
            return []
        kept = "".join(WORDS.split(line)[:-1])
        assert changed.startswith(kept)
        return [word.removesuffix("=").rpartition("=")[2] for word in changed.removeprefix(kept).split()]

    def complete(self, line: str) -> str:
        return self._press(line, "\t")

    def _press(self, line: str, key: str) -> str:
        os.write(self.keyboard, f"{line}{key}\x14".encode())
        return self.read()

    def read(self) -> str:
        """Wait for what it tells."""
        assert select.select([self.told], [], [], DEADLINE_S)[0], "the shell tells nothing"
        return self.told.readline().rstrip("\n")


class Fish(NamedTuple):
    """A shell that can be asked."""

    folder: Path

    def offers(self, line: str) -> list[str]:
        homes = dict.fromkeys(("XDG_DATA_DIRS", "XDG_DATA_HOME", "XDG_CONFIG_HOME"), str(self.folder))
        environ = clean_environment({**homes, "PATH": f"{self.folder}:{os.environ['PATH']}"})
        done = run(program("fish"), "--private", "-c", f"complete -C {shlex.quote(line)}", env=environ)
        assert (done.returncode, done.stderr) == (0, b"")
        words = [each.partition("\t")[0] for each in done.stdout.decode().splitlines()]
        return [word.rpartition("=")[2] for word in words]

    def complete(self, line: str) -> str:
        """What it does with the only one there is."""
        (word,) = self.offers(line)
        return "".join(WORDS.split(line)[:-1]) + word + ("" if word.endswith((":", "/")) else " ")


@contextlib.contextmanager
def terminal(setup: str, *command: str) -> Iterator[Terminal]:
    """Have a shell on a terminal of its own."""
    keyboard, screen = pty.openpty()
    ours, theirs = os.pipe()
    # nothing of what the user has set
    environ = clean_environment({"TERM": "dumb", "INPUTRC": "/dev/null", "PS1": "", "HOSTFILE": "/etc/hosts"})
    shell = subprocess.Popen(
        command, stdin=screen, stdout=screen, stderr=screen, pass_fds=(theirs,), start_new_session=True, env=environ
    )
    os.close(screen)

    def watch() -> None:
        # a screen that nobody reads would stop the shell
        with contextlib.suppress(OSError):
            while os.read(keyboard, 65536):
                pass

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with os.fdopen(ours) as told:
            os.write(keyboard, setup.format(fd=theirs, folder=COMPLETIONS).encode())
            os.close(theirs)
            started = Terminal(keyboard, told)
            assert started.read() == "ready"
            yield started
    finally:
        shell.send_signal(signal.SIGKILL)
        shell.wait()
        watcher.join()
        os.close(keyboard)


@pytest.fixture(scope="module", params=["bash", "bash-completion", "zsh", "fish"])
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Each shell; zsh, fish and the package bash-completion find the files by their names, and bash reads them."""
    if request.param == "fish":
        program("fish")
        folder = tmp_path_factory.mktemp("fish")
        (folder / "fish").mkdir()
        (folder / "fish/vendor_completions.d").symlink_to(COMPLETIONS / "fish")
        for name in PARSERS:
            # fish loads nothing for what cannot be run
            (folder / name).touch(0o755)
        yield Fish(folder)
        return
    if request.param == "zsh":
        with terminal(ZSH, program("zsh"), "-f", "-i") as started:
            yield started
        return
    load = BASH_ALONE
    if request.param == "bash-completion":
        if not BASH_COMPLETION.exists():
            pytest.skip("bash-completion is not installed")
        folder = tmp_path_factory.mktemp("bash-completion")
        (folder / "completions").symlink_to(COMPLETIONS / "bash")
        load = f"BASH_COMPLETION_USER_DIR={folder}; . {BASH_COMPLETION}"
    with terminal(BASH.replace("{load}", load), program("bash"), "--norc", "--noprofile", "-i") as started:
        yield started


def test_files_are_what_the_generator_makes(tmp_path: Path) -> None:
    """The files that are shipped are those that the parsers and the manual pages of now make: `make completions`."""
    done = run(sys.executable, str(COMPLETIONS / "generate.py"), str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    made = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    shipped = [path for name in ("bash", "fish", "zsh") for path in (COMPLETIONS / name).iterdir()]
    assert made == {path.relative_to(COMPLETIONS): path.read_text() for path in shipped}


def options(parser: argparse.ArgumentParser) -> list[str]:
    return [name for action in parser._actions for name in action.option_strings]


@pytest.mark.parametrize("name", PARSERS)
def test_options_are_those_of_the_parser(shell: Shell, name: str) -> None:
    """Every option is offered, and nothing else."""
    assert sorted(options(PARSERS[name])) == sorted(shell.offers(f"{name} -"))


CHOICES = {
    "daytimed -f ": [*formats.NAMES, formats.STRFTIME],
    "daytimed --format=": [*formats.NAMES, formats.STRFTIME],
    "daytimed --log-level ": [*config.LOG_LEVELS],
    "daytimed --log-format ": [*config.LOG_FORMATS],
    "daytimed --log-format=j": ["json", "journal"],
    "daytime-get -o ": [*arguments.OUTPUTS],
    "daytime-get --output=": [*arguments.OUTPUTS],
}


@pytest.mark.parametrize("line", CHOICES)
def test_choices_are_those_of_the_code(shell: Shell, line: str) -> None:
    """What a value can be is offered whole, after a blank or after an equals sign."""
    assert sorted(CHOICES[line]) == sorted(shell.offers(line))


def test_a_value_is_no_option(shell: Shell) -> None:
    """Where a value has to be, no option is offered, nor a file that it cannot be."""
    # fish itself, whatever the completions say, takes a dash for an option where no value begins with one
    start = "" if isinstance(shell, Fish) else "-"
    for parser in PARSERS.values():
        for action in parser._actions:
            if action.nargs != 0 and action.option_strings:
                offered = shell.offers(f"{parser.prog} {action.option_strings[0]} {start}")
                assert not {*offered} & {*options(parser)}, action.option_strings
    assert shell.offers("daytimed -w ") == shell.offers("daytime-get --timeout=") == []


def test_options_that_exclude_each_other(shell: Shell) -> None:
    """After one thing to do no other is offered, after -4 no -6, nor what has been said; -l and -v may be again."""
    modes = {"--check", "--print-config", "--inetd", "--daemon"}
    every = {name for name in options(PARSERS["daytimed"]) if name.startswith("--")}
    assert every - modes == {*shell.offers("daytimed --inetd --")}
    assert not {"-4", "-6"} & {*shell.offers("daytime-get -4 -")}
    assert not {"-q", "--quiet", "--any"} & {*shell.offers("daytime-get --quiet --any -")}
    assert "--listen" in shell.offers("daytimed -l :6000 --")
    assert "--verbose" in shell.offers("daytime-get --verbose -v --")


@pytest.mark.parametrize("option", ["-c ", "--config ", "--config=", "--pidfile ", "-l unix://"])
def test_files(shell: Shell, option: str, tmp_path: Path) -> None:
    """A file is completed, and a folder is not taken for the end, wherever a path can be."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "daytimed.toml").touch()
    line = f"daytimed {option}{tmp_path}/si"
    assert shell.complete(line) == f"{line}te/"
    assert shell.complete(f"{line}te/day") == f"{line}te/daytimed.toml "


def test_time_zones(shell: Shell) -> None:
    """Zones are completed by both programs, and so are the two that are no places."""
    assert shell.complete("daytimed -z Asia/Kolk") == "daytimed -z Asia/Kolkata "
    assert shell.complete("daytime-get --zone=Europe/Berl") == "daytime-get --zone=Europe/Berlin "
    assert {"local", "UTC", "Europe/Berlin"} <= {*shell.offers("daytimed --timezone ")}


def test_users_and_groups(shell: Shell) -> None:
    """Those of the system are completed."""
    assert shell.complete("daytimed --user roo") == "daytimed --user root "
    assert shell.complete("daytimed --group=roo") == "daytimed --group=root "


@pytest.mark.parametrize(
    "start", ["daytime-get ", "daytime-get [::1]:6000 localhost ", "daytime-get -- ", "daytimed -l "]
)
def test_addresses(shell: Shell, start: str) -> None:
    """Schemes and hosts are offered for every address, and hosts after a scheme, which is not taken for the end."""
    assert {*(f"{scheme}://" for scheme in addresses.SCHEMES), "localhost"} <= {*shell.offers(start)}
    assert shell.complete(f"{start}uni") == f"{start}unix://"
    assert "localhost" in shell.complete(f"{start}tcp6://localhos")


def test_hosts(shell: Shell) -> None:
    """The host of a monitoring system has no scheme."""
    offered = shell.offers("daytime-get -H ")
    assert "localhost" in offered
    assert "tcp://" not in offered


def test_option_letters_together(shell: Shell) -> None:
    """Letters can stand together, and so can the last of them and its value."""
    assert shell.complete("daytime-get -qvo prom") == "daytime-get -qvo prometheus "
    assert shell.complete("daytime-get -oprom") == "daytime-get -oprometheus "
