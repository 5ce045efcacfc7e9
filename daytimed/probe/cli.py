"""
The command line of the probe: it runs a survey, prints the verdicts and returns the exit code.

The exit codes are those of monitoring plugins: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN (also for wrong arguments).
"""

from __future__ import annotations

import os
import sys

from daytimed.probe import arguments
from daytimed.probe.streams import Streams, WriteError
from daytimed.probe.tally import Tally
from daytimed.probe.verdict import EXIT_CODES, UNKNOWN, judge, worst_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from daytimed.addresses import Address
    from daytimed.probe.client import Answer
    from daytimed.probe.offset import Interval
    from daytimed.probe.survey import Survey
    from daytimed.probe.verdict import Verdict

_UNKNOWN = EXIT_CODES[UNKNOWN]


def main(given: Sequence[str] | None = None) -> int:
    """Run the probe; return its exit code."""
    words = list(sys.argv[1:] if given is None else given)
    streams = Streams()
    try:
        try:
            return _run(words, streams)
        except arguments.UsageError as error:
            _refuse(words, f"{error}; see daytime-get --help", streams)
    except KeyboardInterrupt:
        streams.complain("interrupted")
    except WriteError as error:
        streams.complain(f"standard output: {error}")
    return _UNKNOWN


def _run(words: list[str], streams: Streams) -> int:
    options = arguments.parse(words)
    if not streams.is_open and (options.shown or not options.quiet):
        streams.complain("standard output is closed; use -q to get only the exit status")
        return _UNKNOWN
    if options.shown:
        streams.write(options.shown.rstrip("\n"))
        return 0
    asked = arguments.addresses_of(options)
    plan = arguments.survey_of(options, len(asked))
    if len(asked) == 1:
        verdicts = [plan.check(asked[0], _each(options, plan, streams))]
    else:
        verdicts = _check_all(asked, options, plan, streams)
    if not options.quiet:
        _print(verdicts, options, plan, streams)
    return EXIT_CODES[worst_of(verdict.state for verdict in verdicts)]


def _check_all(asked: list[Address], options: argparse.Namespace, plan: Survey, streams: Streams) -> list[Verdict]:
    def show_outstanding(count: int) -> None:
        from daytimed.probe import screen

        streams.show(screen.outstanding(count))

    live = not options.quiet and sys.stderr is not None and sys.stderr.isatty() and _is_smart()
    progress = show_outstanding if live else _ignore
    verdicts = []
    for verdict in plan.check_all(asked, progress):
        if options.output == "raw" and not options.quiet and verdict.tally.last:
            # now, because the replies of many servers need much memory
            progress(0)
            _print_raw(verdict.tally.last, streams)
            _complain_of(verdict, streams)
        verdicts.append(verdict)
    return verdicts


def _refuse(words: list[str], reason: str, streams: Streams) -> None:
    if not arguments.wants_plugin(words):
        streams.complain(reason)
    elif streams.is_open:
        from daytimed.probe import report

        streams.write(report.as_plugin_error(reason))


# -- output ----------------------------------------------------------------------------------------------------------


def _each(
    options: argparse.Namespace, plan: Survey, streams: Streams
) -> Callable[[Tally, Answer, Interval | None], bool] | None:
    """
    Return a function that prints each sample as it arrives, or None if the output shows results only.

    It returns whether there is a reader for more.
    """
    if options.quiet:
        return None
    if options.output == "raw":

        def raw(tally: Tally, answer: Answer, interval: Interval | None) -> bool:
            _print_raw(answer, streams)
            return streams.has_reader

        return raw
    if options.output == "text" and plan.count != 1:
        from daytimed.probe import screen

        def line(tally: Tally, answer: Answer, interval: Interval | None) -> bool:
            streams.write(screen.sample(tally.sent, answer, interval, tally.failure if plan.limits.is_judged else None))
            return streams.has_reader

        return line
    if options.output == "json" and not plan.count:
        from daytimed.probe import report

        def alone(tally: Tally, answer: Answer, interval: Interval | None) -> bool:
            single = Tally(tally.address)
            single.add(answer, plan.zone)
            streams.write(report.as_json(judge(single, plan.limits)))
            return streams.has_reader

        return alone
    return None


def _print(verdicts: list[Verdict], options: argparse.Namespace, plan: Survey, streams: Streams) -> None:
    if options.output == "text":
        _print_text(verdicts, options, plan, streams)
    elif options.output == "raw":
        if len(verdicts) == 1:
            _complain_of(verdicts[0], streams)
    else:
        from daytimed.probe import report

        if options.output == "nagios":
            streams.write(report.as_plugin_output(verdicts, plan.limits, plan.timeout_s))
        elif options.output == "prometheus":
            streams.write(report.as_metrics(verdicts), is_utf8=True)
        elif plan.count:
            for verdict in verdicts:
                streams.write(report.as_json(verdict))


def _print_text(verdicts: list[Verdict], options: argparse.Namespace, plan: Survey, streams: Streams) -> None:
    from daytimed.probe import screen

    if len(verdicts) > 1:
        colour = streams.is_terminal and _is_smart() and not os.environ.get("NO_COLOR")
        streams.write(screen.table(verdicts, colour))
    elif plan.count != 1:
        streams.write(screen.summary(verdicts[0]))
    elif verdicts[0].reply:
        streams.write(screen.visible(verdicts[0].reply))
    if options.verbose:
        for verdict in verdicts:
            streams.write(screen.details(verdict))
    if len(verdicts) == 1:
        _complain_of(verdicts[0], streams)


def _print_raw(answer: Answer, streams: Streams) -> None:
    """Print the bytes of a reply, on a terminal with escapes for those that would control it; keep none of them."""
    if not streams.is_terminal:
        streams.write_bytes(answer.reply)
    elif answer.reply:
        from daytimed.probe import screen

        streams.write(screen.visible(answer.reply))
    answer.keep(0)


def _ignore(count: int) -> None:
    return


def _is_smart() -> bool:
    """Return whether a terminal understands escape sequences."""
    return os.environ.get("TERM") != "dumb"


def _complain_of(verdict: Verdict, streams: Streams) -> None:
    # the reason of an OK verdict is a note on how the reply was read
    if verdict.reason:
        streams.complain(f"{verdict.tally.address}: {verdict.reason}")
