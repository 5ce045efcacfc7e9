"""Run the daemon: the console script, and `python3 -m daytimed`."""

import signal
import sys


def main() -> int:
    """Run the daemon; return its exit code."""
    # first of all: until there is something to stop, Ctrl-C ends the process without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from daytimed import deferral

    with deferral.until_used(deferral.UNUSED, deferral.OPTIONAL):
        from daytimed import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
