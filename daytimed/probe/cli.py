"""
The command line of the probe, and the only place that ends it.

Exit codes are those of monitoring plugins: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN (the arguments are wrong).
"""

from __future__ import annotations

import argparse
import os
import re
import sys

from daytimed import __version__, addresses
from daytimed.probe import check, survey, zones

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    from daytimed.probe.check import Tally, Verdict
    from daytimed.probe.client import Answer
    from daytimed.probe.offset import Interval
    from daytimed.probe.ranges import Range
    from daytimed.probe.survey import Survey

DEFAULT_PORT = 6000
DEFAULT_TIMEOUT_S = 10.0
DEFAULT_MAX_BYTES = 1 << 20
OUTPUTS = ("text", "raw", "json", "nagios", "prometheus")
#: As long as an alarm could wait that a monitoring system sets; also keeps an absurd number out of poll(2).
_LONGEST_TIMEOUT_S = 86400.0
_MOST_SAMPLES = check.MOST_SAMPLES

#: By hand, so that it fits a screen.
HELP = rf"""usage: daytime-get [OPTION]... [ADDRESS]...
Ask daytime servers (RFC 867) for the time, print what they say, and judge it.
Exit status: 0 OK, 1 WARNING, 2 CRITICAL (no reply, unreadable), 3 UNKNOWN.

  ADDRESS           [SCHEME://]HOST[:PORT], :PORT, PORT, [V6]:PORT, unix:///PATH
                    SCHEME tcp tcp4 tcp6 udp udp4 udp6; default localhost:{DEFAULT_PORT}
  -H HOST, -p PORT  a host to ask; the port of all that have none
  -4, -6            IPv4 only, IPv6 only
  -t SECONDS        deadline for everything; default {DEFAULT_TIMEOUT_S:g}
  -n COUNT          samples, spread over a second; 0: until Ctrl-C
  -i SECONDS        from one sample to the next
  -z ZONE           of replies that name none: local, UTC, +hh:mm, Europe/Berlin
  -w, -c RANGE      WARNING, CRITICAL if its clock is off by more, in seconds
  -W, -C RANGE      the same for the response time; as in 2, -1:5, ~:3, @4:5
  -o OUTPUT         text, raw, json, nagios or prometheus
  -q, -v            print nothing; print what was understood, too
  --send TEXT       write this first, with \r \n \t \0 \\ \xHH; judge no reply
  --any             any reply is good that is not empty
  --max-bytes N     longest reply; default {DEFAULT_MAX_BYTES}      --version, --help
Examples:
  daytime-get -v localhost:{DEFAULT_PORT}
  daytime-get -o nagios -n 20 -w 0.5 -c 5 -W 1 -C 3 -H localhost
  daytime-get -o raw --send 'GET / HTTP/1.0\r\n\r\n' www.example.org:80
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the probe; return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options = _make_parser().parse_args(_join_negative(given))
        if options.told:
            sys.stdout.write(options.told)
            sys.stdout.flush()
            return 0
        asked = _addresses(options)
        plan = _plan(options, len(asked))
    except _UsageError as error:
        if _wants_plugin(given):
            _tell_plugin(str(error))
        else:
            _complain(f"{error}; see daytime-get --help")
        return check.EXIT_CODES[check.UNKNOWN]
    if sys.stdout is None and not options.quiet:
        _complain("standard output is closed; use -q to be told by the exit status alone")
        return check.EXIT_CODES[check.UNKNOWN]
    return _run(options, asked, plan)


def _run(options: argparse.Namespace, asked: list[addresses.Address], plan: Survey) -> int:
    worst = 0
    try:
        if len(asked) == 1:
            verdicts = [plan.check(asked[0], _each(options, plan))]
        else:
            verdicts = plan.check_all(asked, _show_outstanding if sys.stderr and sys.stderr.isatty() else _ignore)
        worst = max(check.EXIT_CODES[verdict.state] for verdict in verdicts)
        if not options.quiet:
            _print(verdicts, options, plan)
        _flush()
    except KeyboardInterrupt:
        _complain("interrupted")
        return check.EXIT_CODES[check.UNKNOWN]
    except BrokenPipeError:
        _forget_output()
    except OSError as error:
        _complain(f"standard output: cannot write: {error.strerror}")
        _forget_output()
        return check.EXIT_CODES[check.UNKNOWN]
    return worst


# -- output ----------------------------------------------------------------------------------------------------------


def _each(options: argparse.Namespace, plan: Survey) -> Callable[[Tally, Answer, Interval | None], None] | None:
    """Return what prints every sample as it comes, for the outputs that have something to say of each."""
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
            single = check.Tally(tally.address)
            single.add(answer, plan.zone)
            _write(report.as_json(check.judge(single, plan.limits)))

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
            _write(report.as_metrics(verdicts, plan.limits))
        elif plan.count:
            for verdict in verdicts:
                _write(report.as_json(verdict))


def _print_text(verdicts: list[Verdict], options: argparse.Namespace, plan: Survey) -> None:
    from daytimed.probe import screen

    if len(verdicts) > 1:
        is_terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("NO_COLOR")
        _write(screen.table(verdicts, is_terminal))
    elif plan.count != 1:
        _write(screen.summary(verdicts[0]))
    elif verdicts[0].reply:
        _write(screen.visible(verdicts[0].reply))
    if options.verbose:
        for verdict in verdicts:
            _write(screen.details(verdict))
    if len(verdicts) == 1:
        _complain_of(verdicts[0])


def _complain_of(verdict: Verdict) -> None:
    if verdict.state != check.OK:
        _flush()
        _complain(f"{verdict.tally.address}: {verdict.reason}")


def _write(text: str) -> None:
    """Write a line at once; what the encoding of the terminal lacks is shown as an escape, not raised."""
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

    os.write(2, screen.outstanding(count).encode())


def _ignore(count: int) -> None:
    return


def _wants_plugin(arguments: list[str]) -> bool:
    """Whether a monitoring system asks, which reads standard output alone; the arguments may be wrong elsewhere."""
    return any(
        each in {"-onagios", "--output=nagios"} or (each == "nagios" and before in {"-o", "--output"})
        for before, each in zip(["", *arguments], arguments, strict=False)
    )


def _tell_plugin(reason: str) -> None:
    from daytimed.probe import report

    if sys.stdout is not None:
        _write(report.as_plugin_error(f"{reason}; see daytime-get --help"))


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _forget_output() -> None:
    """Keep the interpreter from trying, and complaining, once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _complain(line: str) -> None:
    try:
        os.write(2, f"daytime-get: {addresses.printable(line)}\n".encode(errors="backslashreplace"))
    except OSError:
        # nobody can be told; the exit status still says it
        return


# -- arguments -------------------------------------------------------------------------------------------------------


class _UsageError(Exception):
    pass


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _UsageError(message)


def _make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="daytime-get", usage="", add_help=False, allow_abbrev=False,
        # argparse makes one for every argument, and loads much to find the width it would have
        formatter_class=lambda prog: argparse.HelpFormatter(prog, width=78),
    )  # fmt: skip
    parser.add_argument("addresses", metavar="ADDRESS", nargs="*")
    families = parser.add_mutually_exclusive_group()
    families.add_argument("-4", dest="family", action="store_const", const="4")
    families.add_argument("-6", dest="family", action="store_const", const="6")
    parser.add_argument("-H", "--hostname")
    parser.add_argument("-p", "--port", type=_port)
    parser.add_argument("-t", "--timeout", type=_seconds, default=DEFAULT_TIMEOUT_S)
    parser.add_argument("-n", "--count", type=_samples, default=1)
    parser.add_argument("-i", "--interval", type=_seconds)
    parser.add_argument("-z", "--zone", default="local")
    parser.add_argument("-w", "--warning", type=_offset_range)
    parser.add_argument("-c", "--critical", type=_offset_range)
    parser.add_argument("-W", "--response-warning", type=_range)
    parser.add_argument("-C", "--response-critical", type=_range)
    parser.add_argument("-o", "--output", choices=OUTPUTS, default="text")
    parser.add_argument("-q", "--quiet", action="store_true")
    parser.add_argument("-v", "--verbose", action="count", default=0)
    parser.add_argument("--send", metavar="TEXT", type=_unescape, default=b"")
    parser.add_argument("--any", action="store_true")
    parser.add_argument("--max-bytes", type=_count, default=DEFAULT_MAX_BYTES)
    version = f"daytime-get {__version__}\n"
    parser.add_argument("-V", "--version", dest="told", action="store_const", const=version)
    parser.add_argument("-h", "--help", dest="told", action="store_const", const=HELP)
    return parser


def _join_negative(arguments: list[str]) -> list[str]:
    """Join `-w -1:5` to `-w-1:5`: argparse takes a value that begins with a minus for an option."""
    joined: list[str] = []
    for each in arguments:
        if joined and joined[-1] in {"-w", "-c", "-W", "-C", "-z"} and re.match(r"-[\d.:]", each):
            joined[-1] += each
        else:
            joined.append(each)
    return joined


def _plan(options: argparse.Namespace, servers: int) -> Survey:
    is_judged = not (options.any or options.send or options.output == "raw")
    if not is_judged and (options.warning or options.critical):
        raise _UsageError("-w and -c need a reply that is judged: not with --any, --send or -o raw")
    if not options.count:
        if servers > 1:
            raise _UsageError("-n 0 asks one server; give it one address")
        if options.output in {"nagios", "prometheus"}:
            raise _UsageError(f"-n 0 has no end, and -o {options.output} is written at the end; give a count")
    gap_s = survey.spread(options.count, options.interval)
    planned_s = (options.count - 1) * gap_s
    if planned_s >= options.timeout:
        raise _UsageError(f"{options.count} samples take {planned_s:.1f} s, and -t {options.timeout:g} allows less")
    try:
        zone = zones.load_offsets(options.zone)
    except ValueError as error:
        raise _UsageError(f"argument -z: {error}") from None
    limits = check.Limits(
        is_judged, options.warning, options.critical, options.response_warning, options.response_critical
    )
    return survey.Survey(options.send, options.timeout, options.max_bytes, options.count, gap_s, zone, limits)


def _addresses(options: argparse.Namespace) -> list[addresses.Address]:
    port = DEFAULT_PORT if options.port is None else options.port
    asked = []
    for text in options.addresses:
        try:
            asked.append(addresses.parse(text, port))
        except ValueError as error:
            raise _UsageError(f"argument ADDRESS: {error}") from None
    if options.hostname is not None:
        host = f"[{options.hostname}]" if ":" in options.hostname else options.hostname
        try:
            if not host:
                raise ValueError
            asked.append(addresses.parse(f"tcp://{host}:{port}"))
        except ValueError:
            raise _UsageError(f"argument -H: {options.hostname!r} is no host") from None
    elif not asked:
        asked.append(addresses.Address("tcp", "localhost", port))
    if options.family:
        asked = [_with_family(address, options.family) for address in asked]
    return asked


def _with_family(address: addresses.Address, family: str) -> addresses.Address:
    if address.scheme == "unix" or (address.scheme[-1] in "46" and address.scheme[-1] != family):
        raise _UsageError(f"argument -{family}: {address} is not of that family")
    try:
        return addresses.parse(str(addresses.Address(address.transport + family, address.host, address.port)))
    except ValueError as error:
        raise _UsageError(f"argument -{family}: {error}") from None


def _port(text: str) -> int | str:
    try:
        return addresses.parse(f":{text}").port
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; write a number up to 65535 or a service name") from None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= _LONGEST_TIMEOUT_S:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0 and up to one day")
    return seconds


def _samples(text: str) -> int:
    if not re.fullmatch("[0-9]{1,4}", text) or int(text) > _MOST_SAMPLES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number up to {_MOST_SAMPLES}")
    return int(text)


def _range(text: str, symmetric: bool = False) -> Range:
    from daytimed.probe import ranges  # not for the runs without limits

    try:
        return ranges.parse(text, symmetric)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _offset_range(text: str) -> Range:
    return _range(text, symmetric=True)


def _count(text: str) -> int:
    if not re.fullmatch("[1-9][0-9]{0,11}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


_ESCAPES = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "\\": b"\\"}


def _unescape(text: str) -> bytes:
    parts = []
    for match in re.finditer(r"\\(x[0-9A-Fa-f]{2}|.|\Z)|[^\\]+", text, re.DOTALL):
        escape = match[1]
        if escape is None:
            parts.append(match[0].encode(errors="surrogateescape"))
        elif escape in _ESCAPES:
            parts.append(_ESCAPES[escape])
        elif len(escape) == 3:
            parts.append(bytes.fromhex(escape[1:]))
        else:
            raise argparse.ArgumentTypeError(rf"\{escape} is no escape; there are \r \n \t \0 \\ and \xHH")
    return b"".join(parts)
