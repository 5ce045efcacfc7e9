"""Stand-ins for the sinks of a log: they keep what they take, and count losses."""

from __future__ import annotations

from collections.abc import Mapping


class Lines:
    """A sink that keeps every line while `takes` is set."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str]] = []
        self.takes = True

    def __call__(self, level: str, rendered: bytes) -> bool:
        if self.takes:
            self.taken.append((level, rendered.decode()))
        return self.takes


class Entries:
    """A journal that keeps its entries."""

    def __init__(self) -> None:
        self.taken: list[dict[str, str]] = []

    def __call__(self, fields: Mapping[str, str]) -> bool:
        self.taken.append(dict(fields))
        return True


class Losses:
    """A counter of lost events."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1
