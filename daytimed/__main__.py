"""Run the daemon: the console script, and `python3 -m daytimed`."""

import os
import signal
import sys
import time


def main() -> int:
    """Run the daemon; return its exit code."""
    # first of all: until there is something to stop, Ctrl-C ends the process without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    begun = time.monotonic()
    # systemd closes a socket that starts its service too often; see `respite`
    least_s = 1.0 if "LISTEN_FDS" in os.environ else 0.0
    code = 1
    try:
        from daytimed import deferral

        with deferral.until_used(deferral.UNUSED, deferral.OPTIONAL):
            from daytimed import cli

        code = cli.main()
    finally:
        # wrong options, a bug, or an upgrade that replaces the modules just now
        if code:
            time.sleep(max(0.0, begun + least_s - time.monotonic()))
    return code


if __name__ == "__main__":
    sys.exit(main())
