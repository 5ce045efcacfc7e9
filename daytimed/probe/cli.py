"""
The command line of the probe: it runs a survey, prints the verdicts and returns the exit code.

The exit codes are those of monitoring plugins: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN (also for wrong arguments).
"""

from __future__ import annotations

import os
import sys

from daytimed import addresses
from daytimed.probe import arguments
from daytimed.probe.tally import Tally
from daytimed.probe.verdict import EXIT_CODES, UNKNOWN, judge, worst_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from typing import TextIO

    from daytimed.probe.client import Answer
    from daytimed.probe.offset import Interval
    from daytimed.probe.survey import Survey
    from daytimed.probe.verdict import Verdict

_UNKNOWN = EXIT_CODES[UNKNOWN]


def main(given: Sequence[str] | None = None) -> int:
    """Run the probe; return its exit code."""
    words = list(sys.argv[1:] if given is None else given)
    try:
        try:
            return _run(words)
        except arguments.UsageError as error:
            _refuse(words, str(error))
    except KeyboardInterrupt:
        _complain("interrupted")
    except OSError as error:
        # network errors are answers, so this one comes from the output
        _complain(f"standard output: cannot write: {error.strerror}")
        _forget_output()
    except Exception:
        # Python would exit with 1, which means WARNING
        sys.excepthook(*sys.exc_info())
    return _UNKNOWN


def _run(words: list[str]) -> int:
    options = arguments.parse(words)
    if sys.stdout is None and (options.told or not options.quiet):
        _complain("standard output is closed; use -q to get only the exit status")
        return _UNKNOWN
    if options.told:
        _write(options.told.rstrip("\n"))
        return 0
    asked = arguments.addresses_of(options)
    plan = arguments.survey_of(options, len(asked))
    verdicts: list[Verdict] = []
    try:
        if len(asked) == 1:
            verdicts.append(plan.check(asked[0], _each(options, plan)))
        else:
            live = not options.quiet and _is_terminal(sys.stderr)
            verdicts += plan.check_all(asked, _show_outstanding if live else _ignore)
        if not options.quiet:
            _print(verdicts, options, plan)
    except BrokenPipeError:
        # a reader that leaves, such as head, wants no more output
        _forget_output()
    return EXIT_CODES[worst_of(verdict.state for verdict in verdicts)]


def _refuse(words: list[str], reason: str) -> None:
    if not arguments.wants_plugin(words):
        _complain(f"{reason}; see daytime-get --help")
    elif sys.stdout is not None:
        from daytimed.probe import report

        _write(report.as_plugin_error(f"{reason}; see daytime-get --help"))


# -- output ----------------------------------------------------------------------------------------------------------


def _each(options: argparse.Namespace, plan: Survey) -> Callable[[Tally, Answer, Interval | None], None] | None:
    """Return a function that prints each sample as it arrives, or None if the output shows results only."""
    if options.quiet:
        return None
    if options.output == "raw":
        return lambda tally, answer, interval: _write_raw(answer.reply)
    if options.output == "text" and plan.count != 1:
        from daytimed.probe import screen

        def line(tally: Tally, answer: Answer, interval: Interval | None) -> None:
            _write(screen.sample(tally.sent, answer, interval, tally.failure if plan.limits.is_judged else None))

        return line
    if options.output == "json" and not plan.count:
        from daytimed.probe import report

        def alone(tally: Tally, answer: Answer, interval: Interval | None) -> None:
            single = Tally(tally.address)
            single.add(answer, plan.zone)
            _write(report.as_json(judge(single, plan.limits)))

        return alone
    return None


def _print(verdicts: list[Verdict], options: argparse.Namespace, plan: Survey) -> None:
    if options.output == "text":
        _print_text(verdicts, options, plan)
    elif options.output == "raw":
        for verdict in verdicts:
            if len(verdicts) > 1 and verdict.tally.last:
                _write_raw(verdict.tally.last.reply)
            _complain_of(verdict)
    else:
        from daytimed.probe import report

        if options.output == "nagios":
            _write(report.as_plugin_output(verdicts, plan.limits, plan.timeout_s))
        elif options.output == "prometheus":
            _write(report.as_metrics(verdicts))
        elif plan.count:
            for verdict in verdicts:
                _write(report.as_json(verdict))


def _print_text(verdicts: list[Verdict], options: argparse.Namespace, plan: Survey) -> None:
    from daytimed.probe import screen

    if len(verdicts) > 1:
        _write(screen.table(verdicts, colour=_is_terminal(sys.stdout) and not os.environ.get("NO_COLOR")))
    elif plan.count != 1:
        _write(screen.summary(verdicts[0]))
    elif verdicts[0].reply:
        _write(screen.visible(verdicts[0].reply))
    if options.verbose:
        for verdict in verdicts:
            _write(screen.details(verdict))
    if len(verdicts) == 1:
        _complain_of(verdicts[0])


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


def _complain_of(verdict: Verdict) -> None:
    # the reason of an OK verdict is a note on how the reply was read
    if verdict.reason:
        _complain(f"{verdict.tally.address}: {verdict.reason}")


def _write(text: str) -> None:
    """Write a line and flush it; characters that the encoding of the output lacks become escapes."""
    line = f"{text}\n"
    try:
        data = line.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        data = line.replace("±", "+/-").encode(sys.stdout.encoding, errors="backslashreplace")
    _write_raw(data)


def _write_raw(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _show_outstanding(count: int) -> None:
    from daytimed.probe import screen

    _write_error(screen.outstanding(count))


def _ignore(count: int) -> None:
    return


def _forget_output() -> None:
    """Keep the interpreter from flushing, and failing, again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _complain(line: str) -> None:
    _write_error(f"daytime-get: {addresses.printable(line)}\n")


def _write_error(text: str) -> None:
    try:
        os.write(2, text.encode(errors="backslashreplace"))
    except OSError:
        # nobody reads standard error; the exit status remains
        return
