"""Run the daemon as `python3 -m daytimed`."""

import sys

from daytimed.cli import main

if __name__ == "__main__":
    sys.exit(main())
