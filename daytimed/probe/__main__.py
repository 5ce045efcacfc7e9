"""The entry points of the probe: the console script and `python3 -m daytimed.probe`."""

import sys


def main() -> int:
    """Run the probe; return its exit code."""
    try:
        from daytimed.probe import cli

        return cli.main()
    except KeyboardInterrupt:
        # nothing is known yet: UNKNOWN
        return 3


if __name__ == "__main__":
    sys.exit(main())
