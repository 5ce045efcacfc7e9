"""The entry points of the probe: the console script and `python3 -m daytimed.probe`."""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_UNKNOWN = 3


def main() -> int:
    """
    Run the probe; return its exit code.

    After an error that nothing expected, Python would exit with 1, which means WARNING. This covers the imports too,
    which fail where memory or descriptors are short.
    """
    try:
        from daytimed.probe import cli

        return cli.main()
    except KeyboardInterrupt:
        # nothing is known yet
        return _UNKNOWN
    except BaseException as error:
        _leave(error)


def _leave(error: BaseException) -> "NoReturn":
    """Report a crash and exit at once: on its own way out, an interpreter without memory could fail again."""
    try:
        os.write(2, _report(error))
    finally:
        os._exit(_UNKNOWN)


def _report(error: BaseException) -> bytes:
    if isinstance(error, MemoryError):
        return b"daytime-get: this host is out of memory\n"
    if isinstance(error, (ImportError, OSError)):
        return f"daytime-get: cannot start: {error}\n".encode("ascii", "backslashreplace")
    import traceback

    return "".join(traceback.format_exception(error)).encode("ascii", "backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
