"""Addresses before and after a restart, under own sockets: PORT is a free port, FOLDER is emptied by the restart."""

from __future__ import annotations

PAIRS: dict[str, tuple[list[str], list[str]]] = {
    # edges: an address that overlaps
    "all to one": (["tcp://:PORT"], ["tcp://127.0.0.1:PORT"]),
    "IPv4 to both": (["tcp4://:PORT"], ["tcp://:PORT"]),
    "datagrams of all to one": (["udp://:PORT"], ["udp://127.0.0.1:PORT"]),
    "name to number": (["tcp://localhost:PORT"], ["tcp://127.0.0.1:PORT"]),
    # names that could not be undone
    "path beside a port": (["unix://FOLDER/zeit-ü.sock", "tcp://:PORT"], ["unix://FOLDER/zeit-ü.sock", "tcp://:PORT"]),
    "path with a semicolon": (["unix://FOLDER/a;b.sock"], ["unix://FOLDER/a;b.sock"]),
    # a path that has gone
    "path": (["unix://FOLDER/socket"], ["unix://FOLDER/socket"]),
    "one to all": (["tcp://127.0.0.1:PORT"], ["tcp://:PORT"]),
    "IPv6 to both": (["tcp6://:PORT"], ["tcp://:PORT"]),
    "both to each": (["tcp://:PORT"], ["tcp4://:PORT", "tcp6://:PORT"]),
    "each to both": (["tcp4://:PORT", "tcp6://:PORT"], ["tcp://:PORT"]),
    "datagrams of one to all": (["udp4://127.0.0.1:PORT"], ["udp://:PORT"]),
    "number to name": (["tcp://127.0.0.1:PORT"], ["tcp://localhost:PORT"]),
    "IPv6 number to all IPv6": (["tcp://[::1]:PORT"], ["tcp6://:PORT"]),
    "path to port": (["unix://FOLDER/socket"], ["tcp://:PORT"]),
    "port to path": (["tcp://:PORT"], ["unix://FOLDER/socket"]),
    "path written otherwise": (["unix://FOLDER/socket"], ["unix://FOLDER/./socket"]),
    "stream to datagrams": (["tcp://:PORT", "udp://127.0.0.1:PORT"], ["udp://:PORT", "tcp4://:PORT"]),
    "nothing changed": (["tcp://:PORT", "udp://:PORT"], ["tcp://:PORT", "udp://:PORT"]),
}


def fill_in(addresses: list[str], port: int, folder: str) -> list[str]:
    """Return addresses with this port and this folder."""
    return [each.replace("PORT", str(port)).replace("FOLDER", folder) for each in addresses]


def askable(address: str) -> str:
    """Return where a client asks: a server that listens everywhere is asked on the loopback."""
    scheme = address.partition("://")[0]
    host = "[::1]" if scheme.endswith("6") else "127.0.0.1"
    return address.replace("://:", f"://{host}:").replace("localhost", "127.0.0.1")


def listeners(addresses: list[str]) -> str:
    """Return a configuration with a listener for each address."""
    return "workers = 1\n" + "".join(f'[[listener]]\naddress = "{each}"\n' for each in addresses)
