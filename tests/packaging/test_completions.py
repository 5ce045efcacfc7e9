"""
The completions in their shells; CONTRIBUTING.md lists the limits of shtab.

bash and zsh run on a terminal. One key inserts all completions, another reports the command line. fish prints its
completions on request.
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

from daytimed import formats
from daytimed.arguments import make_parser
from daytimed.config.settings import LOG_FORMATS, LOG_LEVELS
from daytimed.probe import arguments

COMPLETIONS = Path(__file__).parents[2] / "packaging/completions"
BASH_COMPLETION = Path("/usr/share/bash-completion/bash_completion")
#: The beginning of an error message of a shell, or of a program that a completion runs.
COMPLAINTS = re.compile(r"(?:bash|zsh|grep|cut|_shtab\w*|_daytime\w*):")
PARSERS = {"daytimed": make_parser(), "daytime-get": arguments.make_parser()}

#: M-* is bash's key for all completions; C-t is ours: it reports the command line and clears it.
BASH = r"""
tell() {{ printf '%s\n' "$READLINE_LINE" >&{fd}; READLINE_LINE=; READLINE_POINT=0; }}
bind -x '"\C-t": tell'
{load}
printf 'ready\n' >&{fd}
"""
BASH_ALONE = f". {COMPLETIONS}/bash/daytimed; . {COMPLETIONS}/bash/daytime-get"
#: The documented way to insert all completions: zshcompsys(1), _all_matches.
ZSH = r"""
fpath=({folder}/zsh $fpath)
autoload -Uz compinit && compinit -u -D
bindkey -e
tell() {{ print -r -- "$BUFFER" >&{fd}; BUFFER= }}
zle -N tell && bindkey '^T' tell
zle -C every complete-word _generic && bindkey '\e*' every
zstyle ':completion:every:*' insert yes
zstyle ':completion:*' verbose yes
zstyle ':completion:every::::' completer _all_matches _complete
print ready >&{fd}
"""


class Shell(Protocol):
    """A shell that has loaded the completions."""

    def offers(self, line: str) -> list[str]:
        """Return the words that the shell offers next."""

    def complete(self, line: str) -> str:
        """Return the line after TAB."""

    def shows(self, line: str, text: str) -> bool:
        """Return whether the shell shows this text for a line with several completions."""


class Screen:
    """The output of a shell."""

    def __init__(self) -> None:
        self.text = ""
        self._changed = threading.Condition()

    def watch(self, keyboard: int) -> None:
        """Read until the shell ends; it would block on a full terminal."""
        with contextlib.suppress(OSError):
            while shown := os.read(keyboard, 65536):
                with self._changed:
                    self.text += shown.decode(errors="replace")
                    self._changed.notify()

    def wait_for(self, text: str) -> bool:
        """Wait for a text; return whether the shell has shown it."""
        with self._changed:
            return self._changed.wait_for(lambda: text in self.text, DEADLINE_S)


class Terminal(NamedTuple):
    """A shell with a command line."""

    keyboard: int
    told: IO[str]
    screen: Screen

    def offers(self, line: str) -> list[str]:
        changed = self._press(line, "\x1b*")
        if changed.rstrip() == line.rstrip():
            return []
        kept = line[: line.rindex(" ") + 1]
        assert changed.startswith(kept)
        return changed.removeprefix(kept).split()

    def complete(self, line: str) -> str:
        return self._press(line, "\t")

    def shows(self, line: str, text: str) -> bool:
        self._press(line, "\t")
        return self.screen.wait_for(text)

    def _press(self, line: str, key: str) -> str:
        os.write(self.keyboard, f"{line}{key}\x14".encode())
        return self.read()

    def read(self) -> str:
        """Wait for the next line of its report."""
        assert select.select([self.told], [], [], DEADLINE_S)[0], "the shell reports nothing"
        return self.told.readline().rstrip("\n")


class Fish(NamedTuple):
    """A shell that prints its completions on request."""

    folder: Path

    def offers(self, line: str) -> list[str]:
        return [each.partition("\t")[0] for each in self._ask(line).splitlines()]

    def complete(self, line: str) -> str:
        """Return the line with its only completion."""
        (word,) = self.offers(line)
        return line[: line.rindex(" ") + 1] + word + ("" if word.endswith("/") else " ")

    def shows(self, line: str, text: str) -> bool:
        return text in self._ask(line)

    def _ask(self, line: str) -> str:
        homes = dict.fromkeys(("XDG_DATA_DIRS", "XDG_DATA_HOME", "XDG_CONFIG_HOME"), str(self.folder))
        environ = clean_environment({**homes, "PATH": f"{self.folder}:{os.environ['PATH']}"})
        done = run(program("fish"), "--private", "-c", f"complete -C {shlex.quote(line)}", env=environ)
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout.decode()


@contextlib.contextmanager
def terminal(setup: str, *command: str) -> Iterator[Terminal]:
    """Have a shell on a terminal of its own."""
    keyboard, screen = pty.openpty()
    ours, theirs = os.pipe()
    # without the settings of the user
    environ = clean_environment({"TERM": "dumb", "INPUTRC": "/dev/null", "PS1": "", "HOSTFILE": "/etc/hosts"})
    shell = subprocess.Popen(
        command, stdin=screen, stdout=screen, stderr=screen, pass_fds=(theirs,), start_new_session=True, env=environ
    )
    os.close(screen)

    shown = Screen()
    watcher = threading.Thread(target=shown.watch, args=(keyboard,))
    watcher.start()
    try:
        with os.fdopen(ours) as told:
            os.write(keyboard, setup.format(fd=theirs, folder=COMPLETIONS).encode())
            os.close(theirs)
            started = Terminal(keyboard, told, shown)
            assert started.read() == "ready"
            yield started
    finally:
        shell.send_signal(signal.SIGKILL)
        shell.wait()
        watcher.join()
        os.close(keyboard)
    assert not COMPLAINTS.findall(shown.text), shown.text


@pytest.fixture(scope="module", params=["bash", "bash-completion", "zsh", "fish"])
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Each shell; zsh, fish and bash-completion find the files by name, and bash alone sources them."""
    if request.param == "fish":
        program("fish")
        folder = tmp_path_factory.mktemp("fish")
        (folder / "fish").mkdir()
        (folder / "fish/vendor_completions.d").symlink_to(COMPLETIONS / "fish")
        for name in PARSERS:
            # fish loads completions only for programs that exist
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
    """The shipped files match the present parsers and manual pages; `make completions` writes them."""
    done = run(sys.executable, str(COMPLETIONS / "generate.py"), str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    made = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    shipped = [path for name in ("bash", "fish", "zsh") for path in (COMPLETIONS / name).iterdir()]
    assert made == {path.relative_to(COMPLETIONS): path.read_text() for path in shipped}


def options(parser: argparse.ArgumentParser) -> list[str]:
    return [name for action in parser._actions for name in action.option_strings]


@pytest.mark.parametrize("name", PARSERS)
def test_options_are_those_of_the_parser(shell: Shell, name: str) -> None:
    """The shell offers every option, and nothing else."""
    assert sorted(options(PARSERS[name])) == sorted(shell.offers(f"{name} -"))


CHOICES = {
    "daytimed -f ": formats.NAMES,
    "daytimed --format ": formats.NAMES,
    "daytimed --log-level ": LOG_LEVELS,
    "daytimed -l :6000 --log-format ": LOG_FORMATS,
    "daytimed --log-format j": ("json", "journal"),
    "daytime-get -o ": arguments.OUTPUTS,
    "daytime-get localhost --output ": arguments.OUTPUTS,
}


@pytest.mark.parametrize("line", CHOICES)
def test_choices_are_those_of_the_code(shell: Shell, line: str) -> None:
    """The shell offers every possible value, and nothing else."""
    assert sorted(CHOICES[line]) == sorted(shell.offers(line))


@pytest.mark.parametrize("line", ["daytimed ", "daytimed -w ", "daytime-get --timeout "])
def test_nothing_is_offered_for_what_is_not_known(shell: Shell, line: str) -> None:
    """The shell offers nothing for a number, and no argument to daytimed, which takes options only."""
    assert shell.offers(line) == []


@pytest.mark.parametrize("shell", ["bash", "zsh"], indirect=True)
def test_a_dash_begins_a_number(shell: Shell) -> None:
    """Where a number can be negative, the shell offers no option after a dash; fish always does."""
    assert shell.offers("daytime-get -w -") == []


@pytest.mark.parametrize("shell", ["zsh", "fish"], indirect=True)
def test_descriptions(shell: Shell) -> None:
    """Each option is shown with the first words of its text in the manual page; bash shows no descriptions."""
    assert shell.shows("daytimed --p", "Write the process ID to file")
    assert shell.shows("daytime-get --response-", "WARNING if the response time is beyond range")


@pytest.mark.parametrize("option", ["-c", "--config", "--pidfile"])
def test_files(shell: Shell, option: str, tmp_path: Path) -> None:
    """The shell completes files, and does not end a word after a folder."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "daytimed.toml").touch()
    line = f"daytimed {option} {tmp_path}/si"
    assert shell.complete(line) == f"{line}te/"
    assert shell.complete(f"{line}te/day") == f"{line}te/daytimed.toml "


def test_time_zones(shell: Shell) -> None:
    """The shell completes the zones of both programs, local and UTC included."""
    assert shell.complete("daytimed -z Asia/Kolk") == "daytimed -z Asia/Kolkata "
    assert shell.complete("daytime-get --zone Europe/Berl") == "daytime-get --zone Europe/Berlin "
    assert {"local", "UTC", "Europe/Berlin"} <= {*shell.offers("daytimed --timezone ")}


def test_users_and_groups(shell: Shell) -> None:
    """The shell completes users and groups of the system."""
    assert shell.complete("daytimed --user roo") == "daytimed --user root "
    assert shell.complete("daytimed --group roo") == "daytimed --group root "


@pytest.mark.parametrize("line", ["daytime-get ", "daytime-get -v ", "daytime-get --hostname ", "daytimed -l "])
def test_hosts(shell: Shell, line: str) -> None:
    """The shell offers hosts where an address is possible."""
    assert "localhost" in shell.offers(line)
