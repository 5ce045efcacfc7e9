"""Run the daemon: the console script, and `python3 -m daytimed`."""

import os
import signal
import sys
import time


def main() -> int:
    """Run the daemon; return its exit code."""
    # first of all: until there is something to stop, Ctrl-C ends the process without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    is_passed = "LISTEN_FDS" in os.environ
    try:
        from daytimed import deferral

        with deferral.until_used(deferral.UNUSED, deferral.OPTIONAL):
            from daytimed import cli

        return cli.main()
    except Exception:
        # a bug, or an upgrade that replaces the modules just now. As in `respite`: systemd closes a socket that starts
        # its service too often
        if is_passed:
            time.sleep(1)
        raise


if __name__ == "__main__":
    sys.exit(main())
