"""
The command line of the daemon.

The table of settings defines the flags that set a value; the other flags choose a mode.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn

from daytimed import __version__
from daytimed.config import checks, load, settings
from daytimed.config.settings import SETTINGS, Setting
from daytimed.errors import UsageError
from daytimed.nearest import hint_at_flag

DEFAULT_PIDFILE = "/run/daytimed.pid"

#: What to use for the flags of other daemons.
_ELSEWHERE = {
    flag: meant
    for meant, flags in {
        "-l PORT": "-p --port",
        "-l ADDRESS": "-a -b -i -H -I --address --bind --bind-address --host --interface --listen-address",
        "-l tcp4://:6000": "-4 --ipv4",
        "-l tcp6://:6000": "-6 --ipv6",
        "-l udp://:6000": "--udp",
        "-w N": "-j --jobs --processes --threads",
        "-z ZONE": "--tz --zone",
        "--log-level debug": "-d -v -vv -x --debug --verbose --trace",
        "--log-level warning": "-q -s --quiet --silent",
        "--daemon": "-B -D --background --daemonize --detach --fork",
        "no flag: without --daemon, daytimed stays in the foreground": "-F -n --foreground --no-daemon --nodaemon",
        "--check": "-C -t -T --configtest --dry-run --test --validate",
        "--pidfile FILE": "-P --pid",
        "--user U": "-u",
        "--group G": "-g",
        "-c FILE": "--file",
        "--version": "-V",
        "--help": "-?",
    }.items()
    for flag in flags.split()
}


class _Parser(argparse.ArgumentParser):
    """Reports an error in one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    # argparse would look for translations of its words, and load the names of all locales for that
    argparse._ = lambda text: text  # type: ignore[attr-defined]
    parser = _Parser(
        prog="daytimed",
        description="Send the date and time to every client (RFC 867). Without options, listen on TCP port 6000.",
        epilog="Exit status: 0 stopped on request, 2 usage error, 69 cannot bind a listener, 70 cannot start a worker,"
        " 77 no permission, 78 configuration error. Signals: TERM and INT stop, HUP reloads, USR1 logs statistics.",
        allow_abbrev=False,
        # without a width, argparse loads shutil for each option, to find the width of the terminal
        formatter_class=partial(argparse.HelpFormatter, width=78),
    )
    address = settings.SECTIONS["listener"]["address"]
    parser.add_argument(
        "-c", "--config", metavar="FILE", type=_path,
        help=f"configuration file (default: {load.DEFAULT_PATH}, if it exists)",
    )  # fmt: skip
    parser.add_argument(
        *settings.LISTEN_FLAGS, metavar="ADDRESS", type=_option(address), action="append",
        help="listen on this address instead of those in the file; can be repeated: "
        + address.help.partition(": ")[2].partition("\n")[0],
    )  # fmt: skip
    for setting in SETTINGS:
        if setting.flags:
            parser.add_argument(
                *setting.flags, dest=setting.path, metavar=setting.metavar, type=_option(setting),
                help=f"{setting.help} (default: {setting.default})".replace("%", "%%"),
            )  # fmt: skip
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument("--check", action="store_true", help="check the configuration, report every error, and exit")
    modes.add_argument("--print-config", action="store_true", help="print the merged configuration and exit")
    modes.add_argument("--inetd", action="store_true", help="answer the client on standard input and exit")
    modes.add_argument("--daemon", action="store_true", help="detach from the terminal (for hosts without systemd)")
    parser.add_argument(
        "--pidfile", metavar="FILE", type=_path, help=f"with --daemon: pid file (default: {DEFAULT_PIDFILE})"
    )
    parser.add_argument("--user", metavar="U", help="with --daemon: run as this user")
    parser.add_argument("--group", metavar="G", help="with --daemon: run as this group (default: the user's)")
    parser.add_argument("--version", action="version", version=f"daytimed {__version__}")
    return parser


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """
    Return the options, each checked on its own and with the others.

    Raises:
        UsageError: With the reason.
    """
    parser = make_parser()
    flags = [flag for action in parser._actions for flag in action.option_strings]
    # argparse would take -check for -c heck
    dashed = [each for each in arguments if each[:1] == "-" and f"-{each.partition('=')[0]}" in flags]
    if dashed:
        raise _unrecognized(dashed, flags)
    options, left = parser.parse_known_args(arguments)
    if left:
        raise _unrecognized(left, flags)
    for name, value in vars(options).items():
        # argparse up to Python 3.12 returns this for -c-- and --config=--; as in probe/arguments.py
        if value in ([], [[]]):
            raise UsageError(f"argument --{name.replace('.', '-')}: expected one argument; see daytimed --help")
    if not options.daemon:
        for name in ("pidfile", "user", "group"):
            if getattr(options, name) is not None:
                raise UsageError(f"argument --{name}: only valid with --daemon; see daytimed --help")
    options.pidfile = options.pidfile or DEFAULT_PIDFILE
    return options


def _unrecognized(words: Sequence[str], flags: Sequence[str]) -> UsageError:
    """Return the error of arguments that this program does not have, with what was probably meant by one of them."""
    word = next((each for each in words if each.startswith("-")), words[0])
    hint = hint_at_flag(word, flags, _ELSEWHERE) or _hint_at_value(word)
    return UsageError(f"unrecognized arguments: {' '.join(words)}{hint}; see daytimed --help")


def _hint_at_value(word: str) -> str:
    """Return a hint at the flag of which a word is probably the value."""
    if word.endswith(".toml"):
        return f"; did you mean -c {word}?"
    try:
        return f"; did you mean -l {checks.address(word)}?"
    except ValueError:
        return ""


def _option(setting: Setting) -> Callable[[str], Any]:
    def check(text: str) -> Any:
        try:
            return load.check_option(setting, text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return check


def _path(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("the path is empty")
    try:
        return os.path.abspath(text)
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r}: cannot read the current directory: {error.strerror}; use an absolute path"
        ) from None
