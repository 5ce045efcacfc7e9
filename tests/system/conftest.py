"""A booted host with the package, for the tests of the service; SYSTEM_TEST_SUITE names the releases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from clients import bring_load
from package import SUITES, Host


@pytest.fixture(scope="session", params=SUITES)
def suite(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def container(suite: str) -> Iterator[Host]:
    """Boot a release with the package and the load program."""
    with Host(suite, "service") as host:
        host.install()
        bring_load(host)
        yield host
