"""
Standard output and standard error of the probe, written without buffers: nothing is left to be flushed at exit.

A reader that leaves, such as head, takes no more output and changes nothing else.
"""

from __future__ import annotations

import errno
import os
import sys

from daytimed import charset
from daytimed.charset import printable

_STDOUT, _STDERR = 1, 2
#: The reader has left: of a pipe, of a socket, or of a terminal that has hung up.
_LEFT = frozenset({errno.EPIPE, errno.ECONNRESET, errno.EIO})


class WriteError(Exception):
    """Standard output cannot be written, and not because its reader has left; the message is the reason."""


class Streams:
    """Both streams of this process."""

    __slots__ = ("_utf8", "has_reader", "is_open", "is_terminal")

    def __init__(self) -> None:
        self.is_open = sys.stdout is not None
        self.is_terminal = self.is_open and os.isatty(_STDOUT)
        self.has_reader = self.is_open
        """Whether somebody still reads standard output."""
        encodings = [stream.encoding for stream in (sys.stdout, sys.stderr) if stream is not None]
        # PYTHONIOENCODING can only narrow what the locale allows
        self._utf8 = charset.is_utf8(os.environ) and all(map(charset.names_utf8, encodings))

    def write(self, text: str, *, is_utf8: bool = False) -> None:
        """
        Write a line to standard output.

        Args:
            text: Without the newline at its end; no character of it controls a terminal.
            is_utf8: UTF-8 is a part of the form, for a reader that is a program.

        Raises:
            WriteError: With the reason.
        """
        utf8 = self._utf8 or (is_utf8 and not self.is_terminal)
        self.write_bytes(charset.encode(f"{text if utf8 else text.replace('±', '+/-')}\n", utf8))

    def write_bytes(self, data: bytes) -> None:
        """Write bytes to standard output, however long its reader takes; raise what `write` raises."""
        while data and self.has_reader:
            try:
                data = data[os.write(_STDOUT, data) :]
            except BlockingIOError:
                # the parent has set O_NONBLOCK
                import select

                select.select([], [_STDOUT], [])
            except OSError as error:
                if error.errno not in _LEFT:
                    raise WriteError(f"cannot write: {error.strerror}") from None
                self.has_reader = False

    def complain(self, line: str) -> None:
        """Write a line to standard error, with every control character escaped."""
        self.show(f"daytime-get: {printable(line)}\n")

    def show(self, text: str) -> None:
        """Write text to standard error; if nobody reads that, the exit status remains."""
        if sys.stderr is None:
            return
        try:
            os.write(_STDERR, charset.encode(text, self._utf8))
        except OSError:
            return
