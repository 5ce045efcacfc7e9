"""Pipes, to read and to fill."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def open_pipe() -> Iterator[tuple[int, int]]:
    """Yield the descriptors of a pipe: a non-blocking one for reading, and one for writing."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    try:
        yield reading, writing
    finally:
        for descriptor in (reading, writing):
            with contextlib.suppress(OSError):
                os.close(descriptor)


def drain(reading: int) -> bytes:
    """Read everything that is in a pipe."""
    parts = []
    with contextlib.suppress(BlockingIOError):
        while part := os.read(reading, 1 << 20):
            parts.append(part)
    return b"".join(parts)


def fill(writing: int) -> None:
    """Fill a pipe to its last byte."""
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 65536)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x")
    os.set_blocking(writing, True)
