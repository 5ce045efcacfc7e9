"""
Deferred imports: modules that are loaded at their first use.

A library imports everything that any of its users may need, at the cost of start time and of memory in each process. A
deferred module behaves as usual: the first access to one of its attributes loads it. (LazyLoader of importlib.util
loads too early: a second import of the same module, by another file of the library, already loads it.)
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

#: structlog, dataclasses, socket and ctypes import these, but daytimed does not use them. asyncio loads ssl and
#: OpenSSL; threading runs code in every forked process; `stdlib` serves the loggers of `logging`; `threadlocal` uses
#: uuid; ctypes uses sysconfig on other systems (from Python 3.14).
UNUSED = (
    *("asyncio", "inspect", "logging", "selectors", "sysconfig", "threading"),
    *("structlog.stdlib", "structlog.threadlocal"),
)
#: structlog uses these, where installed, to render tracebacks; daytimed passes it none.
OPTIONAL = ("rich", "better_exceptions", "twisted")


class _Deferred(ModuleType):
    """A placeholder that loads the real module at the first access and passes on every attribute."""

    def __getattr__(self, attribute: str) -> Any:
        _forget(self)
        return getattr(importlib.import_module(self.__name__), attribute)


def _forget(module: ModuleType) -> None:
    """Make the next import of a deferred module load the real one."""
    if sys.modules.get(module.__name__) is module:
        del sys.modules[module.__name__]


@contextlib.contextmanager
def until_used(names: Sequence[str], missing: Sequence[str] = ()) -> Iterator[None]:
    """Inside a `with`, defer the imports of `names` and fail those of `missing`; loaded modules are left alone."""
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
