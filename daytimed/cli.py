"""
The command line of the daemon; `main` turns every error into an exit code.

The table of settings defines the flags that set a value; the other flags choose a mode.
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
        # expected errors have their own sentences; this one means that the system lacks a resource
        complain(f"cannot start: {error}")
        return EXIT_INTERNAL


def complain(line: str) -> None:
    """Report an error in one line on standard error, or in the system log if standard error leads to a client."""
    descriptor = error_descriptor()
    if descriptor is None:
        syslog_sink()("error", printable(line).encode(errors="backslashreplace"))
        return
    # if standard error cannot be written, the exit code still reports the failure
    with contextlib.suppress(OSError):
        stream_sink(descriptor)("error", f"daytimed: {printable(line)}".encode(errors="backslashreplace"))


def _run(options: argparse.Namespace) -> int:
    if options.check or options.print_config:
        return _show_config(options)
    if options.inetd:
        from daytimed import inetd  # deferred, like daemonize: only one mode needs it

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
        # `systemctl status` shows these
        notifier.send(STATUS=str(error), ERRNO=error.errno)
        raise


def _make_master(
    options: argparse.Namespace, log_descriptor: int | None, notifier: systemd.Notifier | None = None
) -> Master:
    # opened at the first event: detaching, which comes before it, closes descriptors that it does not know
    output = cache(lambda: make_output(log_descriptor))

    def make_log(loaded: Config, on_lost: Callable[[], None]) -> Log:
        return output().make_log(loaded.log.format, loaded.log.level, on_lost)

    about: dict[str, str] = {"config": options.config or _default_file() or "built-in defaults"}
    unknown = load.unknown_variables(os.environ)
    if unknown:
        about["ignored_variables"] = " ".join(unknown)
    return Master(lambda: _load(options), make_log, about, notifier or systemd.Notifier({}))


def make_output(descriptor: int | None) -> Output:
    """Return the log output: the journal if `descriptor` is a stream to it, otherwise `descriptor`."""
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
        # at exit, the interpreter would write the rest of the buffer again, and report the error again
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EXIT_INTERNAL
    return EXIT_OK


def _open_standard_descriptors() -> None:
    """Open descriptors 0, 1 and 2 if closed: otherwise a socket could get such a number, and be used as the stream."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


class _Parser(argparse.ArgumentParser):
    """Reports an error in one line."""

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
        raise argparse.ArgumentTypeError(
            f"{text!r}: cannot read the current directory: {error.strerror}; use an absolute path"
        ) from None


def _address(text: str) -> addresses.Address:
    try:
        return addresses.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


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
    parser.add_argument(
        "-c", "--config", metavar="FILE", type=_path,
        help=f"configuration file (default: {load.DEFAULT_PATH}, if it exists)",
    )  # fmt: skip
    parser.add_argument(
        *settings.LISTEN_FLAGS, metavar="ADDRESS", type=_address, action="append",
        help="listen on this address instead of those in the file; can be repeated: "
        + settings.SECTIONS["listener"]["address"].help.partition(": ")[2],
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


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
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
