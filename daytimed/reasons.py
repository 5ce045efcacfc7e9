"""The reasons for a drop. The names are an interface: events, statistics and other people's scripts use them."""

from __future__ import annotations

REASONS = ("reset", "timeout", "denied", "rate", "no_fd", "no_memory", "os_error")

#: Indexes into REASONS, and into the counters.
RESET, TIMEOUT, DENIED, RATE, NO_FD, NO_MEMORY, OS_ERROR = range(len(REASONS))
