"""The ways to run the daemon; `main` turns every error into an exit code."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

from daytimed import charset, signals, systemd
from daytimed.arguments import parse
from daytimed.charset import printable
from daytimed.config import load, toml
from daytimed.config.settings import ENVIRONMENT_PREFIX, SETTINGS, Config
from daytimed.errors import EXIT_INTERNAL, EXIT_OK, DaytimedError, StartError
from daytimed.log.log import Log
from daytimed.log.output import Output
from daytimed.log.sinks import Journal, error_descriptor, stream_sink, syslog_sink
from daytimed.master import Master
from daytimed.respite import Respite

_STDERR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the daemon; return its exit code."""
    _open_standard_descriptors()
    options = argparse.Namespace()
    try:
        options = parse(sys.argv[1:] if arguments is None else arguments)
        return _run(options)
    except (DaytimedError, OSError) as error:
        return _report(error, options).exit_code


def _report(error: DaytimedError | OSError, options: argparse.Namespace) -> DaytimedError:
    """
    Report why the start has failed: to the journal as an event, otherwise in lines for a person; in JSON as both.

    Returns:
        The error that was reported.
    """
    if isinstance(error, OSError):
        # expected errors have their own sentences; this one means that the system lacks a resource
        error = StartError(f"cannot start: {error}", error.errno or 0)
    form = vars(options).get("log.format") or os.environ.get(f"{ENVIRONMENT_PREFIX}LOG_FORMAT")
    output = make_output(error_descriptor())
    if form == "json" or output.is_journal_stream:
        log = output.make_log("json" if form == "json" else "auto", "error", lambda: None)
        if log.event("start_failed", error="; ".join(error.problems)) and form != "json":
            return error
    for problem in error.problems:
        complain(problem)
    return error


def complain(line: str) -> None:
    """Report an error in one line on standard error, or in the system log if standard error leads to a client."""
    descriptor = error_descriptor()
    if descriptor is None:
        syslog_sink()("error", charset.encode(printable(line), utf8=True))
        return
    # if standard error cannot be written, the exit code still reports the failure
    with contextlib.suppress(OSError):
        line = f"daytimed: {printable(line)}"
        stream_sink(descriptor)("error", charset.encode(line, charset.is_utf8(os.environ)))


def _run(options: argparse.Namespace) -> int:
    if options.check or options.print_config:
        return _show_config(options)
    signals.write_from_background()
    if options.inetd:
        from daytimed import inetd  # deferred, like daemonize: only one mode needs it

        return inetd.run(_load(options), make_output(error_descriptor()))
    if options.daemon:
        from daytimed import daemonize

        make_master = partial(_make_master, options)
        return daemonize.run(make_master, options.pidfile, options.user, options.group, complain)
    return _serve(options)


def _serve(options: argparse.Namespace) -> int:
    """Serve in the foreground, under systemd or in a terminal."""
    environ = dict(os.environ)
    respite = Respite(systemd.take_passed(os.environ), options.config or load.DEFAULT_PATH, environ)
    notifier = systemd.Notifier({})
    try:
        notifier = systemd.Notifier(os.environ)
        master = _make_master(options, _STDERR, notifier)
        is_open = master.open(respite.passed, respite.client)
        respite.end()
        if is_open:
            master.run(private=notifier.descriptors)
        return EXIT_OK
    except (DaytimedError, OSError) as error:
        failure = _report(error, options)
        # `systemctl status` shows these
        notifier.send(STATUS="; ".join(failure.problems), ERRNO=failure.errno)
        notifier.extend_timeout(respite.longest_s)
        respite.take()
        return failure.exit_code


def _make_master(
    options: argparse.Namespace, log_descriptor: int | None, notifier: systemd.Notifier | None = None
) -> Master:
    # opened at the first event: detaching, which comes before it, closes descriptors that it does not know
    output = cache(lambda: make_output(log_descriptor))

    def make_log(loaded: Config, on_lost: Callable[[], None]) -> Log:
        return output().make_log(loaded.log.format, loaded.log.level, on_lost)

    # while an editor replaces the file, a reload must not fall back to the defaults
    options.config = options.config or _default_file()
    about: dict[str, str] = {"config": options.config or "built-in defaults"}
    if notifier is None:
        notifier = systemd.Notifier({})
    if ignored := [*load.unknown_variables(os.environ), *notifier.ignored]:
        about["ignored_variables"] = " ".join(ignored)
    return Master(lambda: _load(options), make_log, about, notifier)


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
