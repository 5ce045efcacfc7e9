"""The sockets that a service manager has kept."""

from __future__ import annotations

import socket

import pytest

from daytimed.errors import ListenError
from daytimed.sockets import adopt_passed, stored_name


@pytest.mark.parametrize("rest", ["", "xx", "tcp;//::", "unix;//relative"])
def test_a_name_like_those_of_kept_sockets_is_refused(rest: str) -> None:
    """A passed socket whose name begins like those of kept sockets, but is not one of them, is an error."""
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(ListenError) as caught:
        adopt_passed(f"stored-{rest}", server.fileno())
    assert f"(stored-{rest}) bears the name of a socket that was kept for us, but " in str(caught.value)


def test_a_socket_of_ours_is_what_it_was() -> None:
    """A socket that systemd kept across a restart has the address that it was bound for."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        listener = adopt_passed("stored-tcp4;//localhost;0", server.detach())
        assert (str(listener.requested), listener.name) == ("tcp4://localhost:0", None)
        assert stored_name(listener.requested) == "stored-tcp4;//localhost;0"
        listener.close()
