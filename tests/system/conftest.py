"""One booted container for all tests of a Debian release; SYSTEM_TEST_SUITE names other releases."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from container import Container, install, make_root

SUITES = os.environ.get("SYSTEM_TEST_SUITE", "bookworm trixie").split()


@pytest.fixture(scope="module", params=SUITES)
def container(request: pytest.FixtureRequest) -> Iterator[Container]:
    root = make_root(request.param)
    install(root)
    with Container(root, f"daytimed-{request.param}") as booted:
        if booted.run("systemctl --version").startswith("systemd 252 "):
            # as Debian 12's package has it: see the example
            booted.run(
                "mkdir -p /etc/systemd/system/daytimed.service.d"
                " && cp /usr/share/doc/daytimed/examples/reload-252.conf /etc/systemd/system/daytimed.service.d/"
                " && systemctl daemon-reload"
            )
        yield booted
