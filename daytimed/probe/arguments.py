"""The arguments of the probe, and the addresses and the survey that they describe."""

from __future__ import annotations

import argparse
import os
import re

from daytimed import __version__, addresses
from daytimed.probe import parsers, survey, tally, verdict, zones

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from daytimed.probe.ranges import Range

DEFAULT_PORT = 6000
DEFAULT_TIMEOUT_S = 10.0
DEFAULT_MAX_BYTES = 1 << 20
OUTPUTS = ("text", "raw", "json", "nagios", "prometheus")
#: Longer than any monitoring system waits; also keeps absurd numbers out of poll(2).
_LONGEST_TIMEOUT_S = 86400.0

#: Written by hand to fit a screen of 24 lines.
HELP = rf"""usage: daytime-get [OPTION]... [ADDRESS]...
Ask daytime servers (RFC 867) for the time, print their replies, and judge them.
Exit status: 0 OK, 1 WARNING, 2 CRITICAL (no reply, unreadable), 3 UNKNOWN.

  ADDRESS           [SCHEME://]HOST[:PORT], :PORT, PORT, [V6]:PORT, unix:///PATH
                    SCHEME tcp tcp4 tcp6 udp udp4 udp6; default localhost:{DEFAULT_PORT}
  -H HOST, -p PORT  host to ask; port of all addresses without one
  -4, -6            IPv4 only, IPv6 only
  -t SECONDS        deadline for each server, all samples included; default {DEFAULT_TIMEOUT_S:g}
  -n COUNT          samples, spread over a second; 0: until Ctrl-C
  -i SECONDS        minimum interval between samples
  -z ZONE           zone if a reply has none: local, UTC, +hh:mm, Europe/Berlin
  -w, -c RANGE      WARNING, CRITICAL if the offset is beyond it, in seconds
  -W, -C RANGE      the same for the response time; write 2, -1:5, '~:3', @4:5
  -o OUTPUT         text, raw, json, nagios or prometheus
  -q, -v            print nothing; also print how the reply was read
  --send TEXT       send this first, with \r \n \t \0 \\ \xHH; judge no reply
  --any             judge no reply; accept any that is not empty
  --max-bytes N     longest reply; default {DEFAULT_MAX_BYTES}      --version, --help
Examples:
  daytime-get -v localhost:{DEFAULT_PORT}
  daytime-get -o nagios -n 20 -w 0.5 -c 5 -W 1 -C 3 -H localhost
  daytime-get -o raw --send 'GET / HTTP/1.0\r\n\r\n' www.example.org:80
"""


class UsageError(Exception):
    """The arguments are wrong; the message is the reason."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


class _Formatter(argparse.HelpFormatter):
    """
    A formatter that loads nothing: argparse creates one for every argument, and uses none.

    The original loads modules to find the width of the terminal and, from Python 3.14, its colours.
    """

    def __init__(self, prog: str, **_: object) -> None:
        super().__init__(prog, width=78)

    def _set_color(self, *_: object, **__: object) -> None:
        return


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all options; `addresses_of` and `survey_of` check how they combine."""
    parser = _Parser(prog="daytime-get", usage="", add_help=False, allow_abbrev=False, formatter_class=_Formatter)
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
    parser.add_argument("-V", "--version", dest="shown", action="store_const", const=version)
    parser.add_argument("-h", "--help", dest="shown", action="store_const", const=HELP)
    return parser


def parse(arguments: list[str]) -> argparse.Namespace:
    """
    Return the options, each checked on its own.

    Raises:
        UsageError: With the reason.
    """
    parser = make_parser()
    flags = [flag for action in parser._actions for flag in action.option_strings]
    # argparse would take -zone for -z one
    dashed = [each for each in arguments if each[:1] == "-" and f"-{each.partition('=')[0]}" in flags]
    if dashed:
        raise _unrecognized(dashed, flags)
    options, left = parser.parse_known_intermixed_args(_join_negative(arguments))
    if left:
        raise _unrecognized(left, flags)
    for name, value in vars(options).items():
        # argparse up to Python 3.12 returns this for -z-- and --zone=--; as in arguments.py of the daemon
        if value == [] and name != "addresses":
            raise UsageError(f"argument --{name.replace('_', '-')}: expected one argument")
    return options


def _unrecognized(words: list[str], flags: list[str]) -> UsageError:
    """Return the error of arguments that this program does not have, with what was probably meant by the first."""
    from daytimed.nearest import hint_at_flag  # for errors only

    #: What to use instead of the flags of other probes.
    elsewhere = {
        flag: meant
        for meant, others in {
            "-H HOST": "-a --address",
            "-4": "--ipv4 --inet",
            "-6": "--ipv6 --inet6",
            "an address such as udp://HOST:PORT": "-u -U --udp",
            "an address such as tcp://HOST:PORT": "--tcp",
            "-o json": "-j --json",
            "-o raw": "-r --raw",
            "-o nagios": "--nagios",
            "-o prometheus": "--prometheus",
            "-o OUTPUT": "-f --format",
            "-n COUNT": "-k --samples --tries",
            "-v": "-d --debug",
            "-z ZONE": "--tz --timezone",
            "--send TEXT": "-s",
            "--max-bytes N": "-m",
            "--help": "-?",
        }.items()
        for flag in others.split()
    }
    hint = hint_at_flag(words[0], flags, elsewhere)
    return UsageError(f"unrecognized arguments: {' '.join(words)}{hint}")


_LONG_WITH_NEGATIVE = frozenset({"--warning", "--critical", "--response-warning", "--response-critical", "--zone"})


def _join_negative(arguments: list[str]) -> list[str]:
    """Join `-w -1:5` to `-w-1:5`: argparse takes a value that begins with a minus as an option."""
    joined: list[str] = []
    for each in arguments:
        before = joined[-1] if joined and each[:1] == "-" and each[1:2] in set("0123456789.:") else ""
        if before in _LONG_WITH_NEGATIVE:
            joined[-1] += f"={each}"
        elif before[:1] == "-" and before[-1] in "wcWCz" and set(before[1:-1]) <= set("qv46"):
            joined[-1] += each
        else:
            joined.append(each)
    return joined


def wants_plugin(arguments: list[str]) -> bool:
    """Return whether a monitoring system asks, which reads only standard output. Other arguments may be wrong."""
    text = "\0".join(["", *arguments, ""])
    return re.search("\0(-[qv46]*o[\0=]?|--output[\0=])nagios\0", text) is not None


def survey_of(options: argparse.Namespace, servers: int) -> survey.Survey:
    """
    Return the survey that the options ask for.

    Args:
        options: The options.
        servers: The number of servers.

    Raises:
        UsageError: The options do not go together.
    """
    is_judged = not (options.any or options.send or options.output == "raw")
    if not is_judged and (options.warning or options.critical):
        raise UsageError("-w and -c cannot be used with --any, --send or -o raw, which judge no reply")
    if not options.count:
        if servers > 1:
            raise UsageError("-n 0 asks only one server; give one address")
        if options.output in {"nagios", "prometheus"}:
            raise UsageError(f"-n 0 never ends, and -o {options.output} prints at the end; give a count")
    gap_s = survey.spread(options.count, options.interval)
    planned_s = (options.count - 1) * gap_s
    if options.count and planned_s >= options.timeout:
        raise UsageError(f"{options.count} samples take {planned_s:.1f} s, too long for -t {options.timeout:g}")
    if is_judged and options.zone == "local" and "TZ" in os.environ:
        from daytimed import tz  # not for other runs

        try:
            tz.check(os.environ["TZ"])
        except ValueError as error:
            raise UsageError(f"TZ: {error}") from None
    try:
        zone = zones.load_offsets(options.zone)
    except ValueError as error:
        raise UsageError(f"argument -z: {error}") from None
    limits = verdict.Limits(
        is_judged, options.warning, options.critical, options.response_warning, options.response_critical
    )
    # judged replies are short; the others are kept only for output that shows all of them
    is_shown = not options.quiet and (options.output in {"raw", "json"} or (options.output == "text" and servers == 1))
    kept = parsers.LONGEST_REPLY if is_judged or not is_shown else options.max_bytes
    kept_if_refused = kept if options.output == "raw" else parsers.LONGEST_REPLY
    return survey.Survey(
        options.send, options.timeout, options.max_bytes, options.count, gap_s, zone, limits, kept, kept_if_refused
    )


def addresses_of(options: argparse.Namespace) -> list[addresses.Address]:
    """
    Return the servers to ask.

    Raises:
        UsageError: One of them is not an address, or not of the family of -4 or -6.
    """
    port = DEFAULT_PORT if options.port is None else options.port
    asked = []
    for text in options.addresses:
        try:
            asked.append(addresses.parse(text, port))
        except ValueError as error:
            raise UsageError(f"argument ADDRESS: {error}") from None
    if options.hostname is not None:
        host = f"[{options.hostname}]" if ":" in options.hostname else options.hostname
        try:
            if not host:
                raise ValueError
            asked.append(addresses.parse(f"tcp://{host}:{port}"))
        except ValueError:
            reason = "is not a host; give a port with -p, and a whole address without -H"
            raise UsageError(f"argument -H: {options.hostname!r} {reason}") from None
    elif not asked:
        asked.append(addresses.Address("tcp", "localhost", port))
    if options.family:
        asked = [_with_family(address, options.family) for address in asked]
    # a server named twice is asked once
    return list(dict.fromkeys(asked))


def _with_family(address: addresses.Address, family: str) -> addresses.Address:
    if address.scheme == "unix" or (address.scheme[-1] in "46" and address.scheme[-1] != family):
        raise UsageError(f"argument -{family}: {address} is not IPv{family}")
    try:
        return addresses.parse(str(addresses.Address(address.transport + family, address.host, address.port)))
    except ValueError as error:
        raise UsageError(f"argument -{family}: {error}") from None


def _port(text: str) -> int | str:
    try:
        return addresses.parse(f":{text}").port
    except ValueError:
        reason = "is not a port; use a number up to 65535 or a service name"
        raise argparse.ArgumentTypeError(f"{text!r} {reason}") from None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= _LONGEST_TIMEOUT_S:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0 and up to one day")
    return seconds


def _samples(text: str) -> int:
    if not re.fullmatch("[0-9]{1,4}", text) or int(text) > tally.MOST_SAMPLES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number up to {tally.MOST_SAMPLES}")
    return int(text)


def _range(text: str, symmetric: bool = False) -> Range:
    from daytimed.probe import ranges  # not for runs without limits

    try:
        return ranges.parse(text, symmetric)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _offset_range(text: str) -> Range:
    return _range(text, symmetric=True)


def _count(text: str) -> int:
    if not re.fullmatch("[1-9][0-9]{0,11}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
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
            raise argparse.ArgumentTypeError(rf"\{escape} is not an escape; use \r \n \t \0 \\ or \xHH")
    return b"".join(parts)
