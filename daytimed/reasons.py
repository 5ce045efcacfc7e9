"""Why a client is dropped. The names are an interface: of the events, of the statistics, of other people's scripts."""

from __future__ import annotations

REASONS = ("reset", "timeout", "denied", "rate", "no_fd", "no_memory", "os_error")

#: Their places in REASONS, which is how they are counted.
RESET, TIMEOUT, DENIED, RATE, NO_FD, NO_MEMORY, OS_ERROR = range(len(REASONS))
