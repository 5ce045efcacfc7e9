"""
The variable TZ, as the C library reads it: tzset(3).

The C library takes a value that it does not understand for UTC, and says nothing.
"""

from __future__ import annotations

import errno
import os
import re
import stat

#: Names that are UTC without a file too.
_UTC = frozenset({"", "UTC", "GMT"})

_NAME = r"([A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)"
_OFFSET = r"[+-]?([01]?[0-9]|2[0-4])(:[0-5]?[0-9]){0,2}"
_DAY = r"(J?(36[0-5]|3[0-5][0-9]|[12][0-9][0-9]|[1-9][0-9]?)|0|M(0?[1-9]|1[0-2])\.[1-5]\.[0-6])"
_AT = rf"{_DAY}(/[+-]?(1[0-5][0-9]|16[0-7]|[0-9]?[0-9])(:[0-5]?[0-9]){{0,2}})?"
#: CET-1CEST,M3.5.0,M10.5.0/3
_RULE = rf"{_NAME}{_OFFSET}({_NAME}({_OFFSET})?(,{_AT},{_AT})?)?"


def check(value: str | None) -> None:
    """
    Check a value of TZ; None means that it is not set.

    Raises:
        ValueError: If it names no zone: no file of the database of zones, and no rule.
    """
    name = (value or "").removeprefix(":")
    if name in _UTC or re.fullmatch(_RULE, name):
        return
    folder = os.environ.get("TZDIR") or "/usr/share/zoneinfo"
    if not _is_zone(_read(os.path.join(folder, name))):
        raise ValueError(
            f"{value!r} is not a time zone on this system; use an IANA name such as Europe/Berlin (package tzdata),"
            " UTC, or a rule such as CET-1CEST,M3.5.0,M10.5.0/3"
        )


def _read(path: str) -> bytes:
    """Return the content of a file, or nothing; raise OSError if this host lacks descriptors or memory."""
    try:
        with open(path, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as file:
            return file.read() if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise
        # no file, or no name of one
        return b""


def _is_zone(content: bytes) -> bool:
    """Return whether a file is a whole TZif file, RFC 8536."""
    end = _end_of_block(content, 0, 4)
    if content[4:5] >= b"2":
        end = end and _end_of_block(content, end, 8)
    return 0 < end <= len(content)


def _end_of_block(content: bytes, start: int, time_size: int) -> int:
    """Return where a header and its data end; 0 if there is no header."""
    header = content[start : start + 44]
    if header[:4] != b"TZif" or len(header) < 44:
        return 0
    counts = (int.from_bytes(header[at : at + 4], "big") for at in range(20, 44, 4))
    utc_marks, standard_marks, leaps, times, types, letters = counts
    size = times * (time_size + 1) + types * 6 + letters + leaps * (time_size + 4) + standard_marks + utc_marks
    return start + 44 + size
