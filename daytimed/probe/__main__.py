"""Run the probe as `python3 -m daytimed.probe`."""

import sys

from daytimed.probe.cli import main

if __name__ == "__main__":
    sys.exit(main())
