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
from daytimed.config import load, settings
from daytimed.config.settings import SETTINGS, Setting
from daytimed.errors import UsageError

DEFAULT_PIDFILE = "/run/daytimed.pid"


class _Parser(argparse.ArgumentParser):
    """Reports an error in one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
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
        help="listen on this address instead of those in the file; can be repeated: " + address.help.partition(": ")[2],
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
    options = make_parser().parse_args(arguments)
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
