"""The containers themselves: their end, and one that does not boot."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from container import Container, with_groups
from package import make_host


def has_groups(container: Container) -> bool:
    return subprocess.run(with_groups('[ -d "$1" ]', container.group), check=False).returncode == 0


def test_its_groups_end_with_it(suite: str) -> None:
    """A container that ends leaves no control group behind."""
    with Container(make_host(suite), f"daytimed-ends-{suite}") as container:
        assert has_groups(container)
    assert not has_groups(container)


def test_one_that_does_not_boot_is_reported_at_once(tmp_path: Path) -> None:
    """A container that ends during the boot is reported at once, with its output; its groups end too."""
    container = Container(tmp_path, "daytimed-empty")
    with pytest.raises(AssertionError, match=r"has ended:\n.* doesn't look like "), container:
        pass
    assert not has_groups(container)
