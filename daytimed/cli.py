"""
The command line of the daemon, and the only place that ends the process.

The flags that set something come from the table of settings; what is left says what to do with them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, NoReturn

from daytimed import __version__, addresses, systemd
from daytimed.addresses import printable
from daytimed.config import load, settings, toml
from daytimed.config.settings import SETTINGS, Config, Setting
from daytimed.errors import EXIT_INTERNAL, EXIT_OK, DaytimedError, UsageError
from daytimed.log.log import Log
from daytimed.log.output import Output
from daytimed.log.sinks import Journal, error_descriptor, stream_sink, syslog_sink
from daytimed.master import Master

DEFAULT_PIDFILE = "/run/daytimed.pid"

_STDERR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the daemon; return its exit code."""
    _open_standard_descriptors()
    try:
        return _run(_parse(sys.argv[1:] if arguments is None else arguments))
    except DaytimedError as error:
        for problem in error.problems:
            complain(problem)
        return error.exit_code
    except OSError as error:
        # all that is expected has a sentence of its own; this is a system that is out of something
        complain(f"the system refuses what a start needs: {error}")
        return EXIT_INTERNAL


def complain(line: str) -> None:
    """Tell a person, by one line on standard error; by the system log where a client is at the other end of that."""
    descriptor = error_descriptor()
    if descriptor is None:
        syslog_sink()("error", printable(line).encode(errors="backslashreplace"))
        return
    # where nobody can be told, the exit code still says it
    with contextlib.suppress(OSError):
        stream_sink(descriptor)("error", f"daytimed: {printable(line)}".encode(errors="backslashreplace"))


def _run(options: argparse.Namespace) -> int:
    if options.check or options.print_config:
        return _show_config(options)
    if options.inetd:
        from daytimed import inetd  # what one mode needs is not loaded for the others

        return inetd.run(_load(options), make_output(error_descriptor()))
    if options.daemon:
        from daytimed import daemonize

        make_master = partial(_make_master, options)
        return daemonize.run(make_master, options.pidfile, options.user, options.group, complain)
    passed = systemd.take_passed(os.environ)
    notifier = systemd.Notifier(os.environ)
    try:
        master = _make_master(options, _STDERR, notifier)
        master.open(passed)
        return master.run(private=notifier.descriptors)
    except DaytimedError as error:
        # `systemctl status` shows both
        notifier.send(STATUS=str(error), ERRNO=error.errno)
        raise


def _make_master(
    options: argparse.Namespace, log_descriptor: int | None, notifier: systemd.Notifier | None = None
) -> Master:
    # not before the first event: by then a daemon has detached, and has closed what it does not know of
    output = cache(lambda: make_output(log_descriptor))

    def make_log(loaded: Config, on_lost: Callable[[], None]) -> Log:
        return output().make_log(loaded.log.format, loaded.log.level, on_lost)

    about: dict[str, str] = {"config": options.config or _default_file() or "built-in defaults"}
    unknown = load.unknown_variables(os.environ)
    if unknown:
        about["ignored_variables"] = " ".join(unknown)
    return Master(lambda: _load(options), make_log, about, notifier or systemd.Notifier({}))


def make_output(descriptor: int | None) -> Output:
    """Return where the log goes: to the journal where `descriptor` is a stream to it, and else to `descriptor`."""
    stream = descriptor is not None and systemd.is_journal_stream(os.environ, descriptor)
    return Output(descriptor, _find_journal, is_journal_stream=stream)


@cache
def _find_journal() -> Journal | None:
    return systemd.Journal().write if systemd.has_journal() else None


def _load(options: argparse.Namespace) -> Config:
    set_here: Mapping[str, Any] = {
        each.path: getattr(options, each.path)
        for each in SETTINGS
        if each.flags and getattr(options, each.path) is not None
    }
    return load.load(options.config, os.environ, set_here, options.listen or [])


def _default_file() -> str | None:
    return load.DEFAULT_PATH if os.path.exists(load.DEFAULT_PATH) else None


def _show_config(options: argparse.Namespace) -> int:
    loaded = _load(options)
    source = options.config or _default_file() or "built-in defaults"
    text = toml.to_toml(loaded) if options.print_config else f"{source}: ok\n"
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        complain(f"standard output: cannot write: {error.strerror}")
        # what is left in the buffer would be tried again, and complained about, at the end of the interpreter
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EXIT_INTERNAL
    return EXIT_OK


def _open_standard_descriptors() -> None:
    """Make sure that 0, 1 and 2 are open: a socket that got one of these numbers would be taken for it."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


class _Parser(argparse.ArgumentParser):
    """Tells what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


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
        raise argparse.ArgumentTypeError(f"{text!r} in this folder, which is gone: {error.strerror}") from None


def _address(text: str) -> addresses.Address:
    try:
        return addresses.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = _Parser(
        prog="daytimed",
        description="Tell the date and the time to every client (RFC 867). Without options: serve on TCP port 6000.",
        epilog="Exit status: 0 stopped as asked, 2 usage, 69 a listener cannot be bound, 70 no worker can start,"
        " 77 no permission, 78 configuration. Signals: TERM and INT stop, HUP reloads, USR1 logs the statistics.",
        allow_abbrev=False,
        # as it is, it loads much to find the width of the terminal, for every option that is added
        formatter_class=partial(argparse.HelpFormatter, width=78),
    )
    parser.add_argument(
        "-c", "--config", metavar="FILE", type=_path,
        help=f"configuration file (default: {load.DEFAULT_PATH}, if it exists)",
    )  # fmt: skip
    parser.add_argument(
        *settings.LISTEN_FLAGS, metavar="ADDRESS", type=_address, action="append",
        help="listen here and not where the file says, may be repeated: "
        + settings.SECTIONS["listener"]["address"].help.partition(": ")[2],
    )  # fmt: skip
    for setting in SETTINGS:
        if setting.flags:
            parser.add_argument(
                *setting.flags, dest=setting.path, metavar=setting.metavar, type=_option(setting),
                help=f"{setting.help} (default: {setting.default})".replace("%", "%%"),
            )  # fmt: skip
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument("--check", action="store_true", help="load the configuration, say ok or every fault, and exit")
    modes.add_argument("--print-config", action="store_true", help="print the configuration as it is merged, and exit")
    modes.add_argument("--inetd", action="store_true", help="answer the one client on standard input, and exit")
    modes.add_argument("--daemon", action="store_true", help="detach from the terminal, for hosts without systemd")
    parser.add_argument(
        "--pidfile", metavar="FILE", type=_path, help=f"with --daemon: pid file (default: {DEFAULT_PIDFILE})"
    )
    parser.add_argument("--user", metavar="U", help="with --daemon: serve as this user")
    parser.add_argument("--group", metavar="G", help="with --daemon: serve as this group (default: the user's)")
    parser.add_argument("--version", action="version", version=f"daytimed {__version__}")
    return parser


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    options = make_parser().parse_args(arguments)
    for name, value in vars(options).items():
        # what argparse makes of -c-- and --config=--, up to Python 3.12; as in probe/arguments.py
        if value in ([], [[]]):
            raise UsageError(f"argument --{name.replace('.', '-')}: expected one argument; see daytimed --help")
    if not options.daemon:
        for name in ("pidfile", "user", "group"):
            if getattr(options, name) is not None:
                raise UsageError(f"argument --{name}: goes with --daemon only; see daytimed --help")
    options.pidfile = options.pidfile or DEFAULT_PIDFILE
    return options
