"""
The command line of the probe, and the only place that ends it.

Exit codes are those of monitoring plugins: 0 OK, 2 CRITICAL (no whole reply), 3 UNKNOWN (the arguments are wrong).
"""

from __future__ import annotations

import argparse
import os
import re
import sys

from daytimed import __version__, addresses
from daytimed.probe import report
from daytimed.probe.client import Answer, ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

DEFAULT_PORT = 6000
DEFAULT_TIMEOUT_S = 10.0
DEFAULT_MAX_BYTES = 1 << 20
#: As long as an alarm could wait that a monitoring system sets; also keeps an absurd number out of poll(2).
_LONGEST_TIMEOUT_S = 86400.0

_EXIT_UNKNOWN = report.EXIT_CODES["UNKNOWN"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the probe; return its exit code."""
    try:
        options = _make_parser().parse_args(arguments)
        asked = _addresses(options)
    except _UsageError as error:
        _complain(f"{error}; see daytime-get --help")
        return _EXIT_UNKNOWN
    if sys.stdout is None and not options.quiet:
        _complain("standard output is closed; use -q to be told by the exit status alone")
        return _EXIT_UNKNOWN
    worst = 0
    try:
        for address in asked:
            answer = ask(address, options.send, options.timeout, options.max_bytes)
            worst = max(worst, report.EXIT_CODES[report.state_of(answer)])
            if not options.quiet:
                _print(answer, options.output, len(asked) > 1)
        _flush()
    except KeyboardInterrupt:
        _complain("interrupted")
        return _EXIT_UNKNOWN
    except BrokenPipeError:
        _forget_output()
    except OSError as error:
        _complain(f"standard output: cannot write: {error.strerror}")
        _forget_output()
        return _EXIT_UNKNOWN
    return worst


def _print(answer: Answer, output: str, several: bool) -> None:
    if output == "json":
        sys.stdout.write(report.as_json(answer) + "\n")
        return
    if output == "raw":
        sys.stdout.flush()
        sys.stdout.buffer.write(answer.reply)
    elif answer.reply:
        line = report.visible(answer.reply)
        line = f"{answer.address}: {line}\n" if several else f"{line}\n"
        # through bytes: what the terminal's encoding lacks is shown as an escape, not raised
        sys.stdout.buffer.write(line.encode(sys.stdout.encoding, errors="backslashreplace"))
    if answer.reason:
        _flush()
        _complain(f"{answer.address}: {answer.reason}")


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


class _UsageError(Exception):
    pass


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _UsageError(message)


def _make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="daytime-get",
        description="Ask daytime servers (RFC 867) for the time and print what they say.",
        epilog="Exit status: 0 a whole reply from everyone asked, 2 not so, 3 wrong arguments.",
        allow_abbrev=False,
        # argparse makes one for every argument, and loads much to find the width it would have
        formatter_class=lambda prog: argparse.HelpFormatter(prog, width=_terminal_width()),
    )
    parser.add_argument(
        "addresses", metavar="ADDRESS", nargs="*",
        help="[SCHEME://]HOST[:PORT], :PORT, PORT, [V6]:PORT or unix:///PATH; SCHEME is tcp tcp4 tcp6 udp udp4 udp6"
        f" (default: localhost:{DEFAULT_PORT})",
    )  # fmt: skip
    families = parser.add_mutually_exclusive_group()
    families.add_argument("-4", dest="family", action="store_const", const="4", help="IPv4 only")
    families.add_argument("-6", dest="family", action="store_const", const="6", help="IPv6 only")
    parser.add_argument("-H", "--host", metavar="HOST", help="a host to ask, as monitoring plugins name it")
    parser.add_argument("-p", "--port", metavar="PORT", type=_port, help="the port where an address has none")
    parser.add_argument(
        "-t", "--timeout", metavar="SECONDS", type=_seconds, default=DEFAULT_TIMEOUT_S,
        help=f"for everything, of each address (default: {DEFAULT_TIMEOUT_S:g})",
    )  # fmt: skip
    parser.add_argument(
        "--send", metavar="TEXT", type=_unescape, default=b"",
        help=r"write this first; understands \r \n \t \0 \\ \xHH, as in 'GET / HTTP/1.0\r\n\r\n'",
    )  # fmt: skip
    parser.add_argument(
        "--max-bytes", metavar="N", type=_count, default=DEFAULT_MAX_BYTES,
        help=f"longest reply to accept (default: {DEFAULT_MAX_BYTES})",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", metavar="text|raw|json", choices=("text", "raw", "json"), default="text",
        help="text: safe for a terminal; raw: the bytes as they came; json: one object a line (default: text)",
    )  # fmt: skip
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing; the exit status says it")
    parser.add_argument("--version", action="version", version=f"daytime-get {__version__}")
    return parser


def _terminal_width() -> int:
    try:
        return max(40, int(os.environ.get("COLUMNS") or os.get_terminal_size(1).columns) - 2)
    except (OSError, ValueError):
        return 78


def _addresses(options: argparse.Namespace) -> list[addresses.Address]:
    port = DEFAULT_PORT if options.port is None else options.port
    asked = []
    for text in options.addresses:
        try:
            asked.append(addresses.parse(text, port))
        except ValueError as error:
            raise _UsageError(f"argument ADDRESS: {error}") from None
    if options.host is not None:
        host = f"[{options.host}]" if ":" in options.host else options.host
        try:
            if not host:
                raise ValueError
            asked.append(addresses.parse(f"tcp://{host}:{port}"))
        except ValueError:
            raise _UsageError(f"argument -H: {options.host!r} is no host") from None
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
