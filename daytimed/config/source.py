"""The file of the configuration: from a path to a TOML document."""

from __future__ import annotations

import codecs
import errno
import os
import re
import stat
from typing import Any

from daytimed.errors import OUT_OF_RESOURCES, NoPermissionError

#: Bytes; more than 1024 listeners need.
LARGEST_FILE = 1 << 20

#: The descriptors of a shell's < and <(...), which may be pipes and terminals.
_INHERITED = r"/dev/(stdin|fd/[0-9]+)|/proc/(self|[0-9]+)/fd/[0-9]+"


def read(path: str, must_exist: bool) -> dict[str, Any]:
    """
    Return the document of a file, without keys if the file may be missing.

    Raises:
        ValueError: With the reason.
        NoPermissionError: If this user may not read it.
        OSError: If this host lacks descriptors or memory.
    """
    try:
        content = _read_bytes(path)
    except FileNotFoundError:
        if os.path.lexists(path):
            raise ValueError("the link leads nowhere; restore the file, or remove the link") from None
        if must_exist:
            raise ValueError("No such file or directory; pass the path of the file with -c") from None
        return {}
    except IsADirectoryError:
        raise ValueError("Is a directory; pass the path of a file in it") from None
    except PermissionError as error:
        raise NoPermissionError(f"{path}: {error.strerror}; this user may not read the configuration") from None
    except OSError as error:
        if error.errno in OUT_OF_RESOURCES:
            raise
        reason = "it is a socket or a missing device" if error.errno == errno.ENXIO else error.strerror
        raise ValueError(f"{reason}; pass the path of a file with -c") from None
    return _parse(content) if content is not None else {}


def _read_bytes(path: str) -> bytes | None:
    """Return the content of a file; None for /dev/null, which stands for the defaults."""
    # opening a pipe would block until it has a writer
    with open(path, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)) as file:
        status = os.fstat(file.fileno())
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == os.makedev(1, 3):
            return None
        if not stat.S_ISREG(status.st_mode) and not re.fullmatch(_INHERITED, path):
            kind = "pipe" if stat.S_ISFIFO(status.st_mode) else "device"
            raise ValueError(f"it is a {kind}, which a reload cannot read again; use a file")
        os.set_blocking(file.fileno(), True)
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise ValueError(f"it is larger than {LARGEST_FILE} bytes; pass the path of the configuration with -c")
    return content


def _parse(content: bytes) -> dict[str, Any]:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError("it is UTF-16; save it as UTF-8")
    content = content.removeprefix(codecs.BOM_UTF8)
    # a file system can lose what was written before a crash, and leave zeros
    if not content.strip(b"\0 \t\r\n\f\v"):
        raise ValueError(
            "it is empty: it is being written, or its content was lost; restore it, or write a comment in it"
            " to run with the defaults"
        )
    if b"\0" in content:
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
        raise ValueError(f"line {line}: a zero byte: the file is damaged, or UTF-16; restore it, or save it as UTF-8")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"line {line}: byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from None
    import tomllib  # only for a daemon with a file

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        from daytimed.config import syntax  # for errors only

        raise ValueError(syntax.explain(text, error)) from None
    except RecursionError:
        raise ValueError("not TOML: it is nested too deeply") from None
    except ValueError:
        # the interpreter limits the digits of a number
        raise ValueError("not TOML: a number has too many digits") from None
