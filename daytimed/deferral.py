"""
Modules that are imported, but not loaded before they are used.

A library imports what any of its users may need, and each start, and the memory of each process, pays for it. What is
deferred here is there as always: the first use of anything in it loads it. (LazyLoader of importlib.util does not wait
for that: it loads a module when a second import names it, as soon as two files of a library do.)
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

#: What structlog and dataclasses import for others than us. With asyncio come ssl and OpenSSL; threading has Python run
#: in every process that is forked; `stdlib` is for the loggers of `logging`, and `threadlocal` is done with uuids.
UNUSED = ("asyncio", "inspect", "logging", "threading", "structlog.stdlib", "structlog.threadlocal")
#: What structlog uses if it happens to be installed, for tracebacks that it is not given here to render.
OPTIONAL = ("rich", "better_exceptions", "twisted")


class _Deferred(ModuleType):
    """Stands for a module until that is used, and wherever it was imported by then passes on what is asked of it."""

    def __getattr__(self, attribute: str) -> Any:
        _forget(self)
        return getattr(importlib.import_module(self.__name__), attribute)


def _forget(module: ModuleType) -> None:
    """Let the next import of a deferred module find the real one."""
    if sys.modules.get(module.__name__) is module:
        del sys.modules[module.__name__]


@contextlib.contextmanager
def until_used(names: Sequence[str], missing: Sequence[str] = ()) -> Iterator[None]:
    """Defer these modules for the imports inside a `with`, unless they are loaded already; `missing` are not found."""
    deferred = [_Deferred(name) for name in names if name not in sys.modules]
    sys.modules.update({module.__name__: module for module in deferred})
    hidden = [name for name in missing if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
        for module in deferred:
            _forget(module)
