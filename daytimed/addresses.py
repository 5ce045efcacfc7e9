"""
The address grammar, shared by listeners and the probe.

    [SCHEME://]HOST:PORT    :PORT    PORT    [V6]:PORT    unix:///PATH

SCHEME is one of the network names of Go's net package: tcp tcp4 tcp6 udp udp4 udp6 unix. PORT is a number or a
service name. This module resolves nothing: names become numbers when a socket is created.

The probe loads this module at every start, so it imports nothing and compiles no patterns.
"""

from __future__ import annotations

SCHEMES = ("tcp", "tcp4", "tcp6", "udp", "udp4", "udp6", "unix")

#: sizeof(sun_path) - 1, unix(7)
LONGEST_UNIX_PATH = 107

#: RFC 6335, section 5.1
LONGEST_SERVICE_NAME = 15
_NOT_IN_HOST = frozenset(" /[]:@")


class Address:
    """A place to listen on or to query: a scheme with a host and a port or, for `unix`, a path."""

    __slots__ = ("host", "path", "port", "scheme")

    def __init__(self, scheme: str, host: str = "", port: int | str = 0, path: str = "") -> None:
        self.scheme = scheme
        self.host = host
        self.port = port
        self.path = path

    @property
    def transport(self) -> str:
        """`tcp`, `udp` or `unix`."""
        return self.scheme.rstrip("46")

    def _key(self) -> tuple[str, str, int | str, str]:
        return (self.scheme, self.host, self.port, self.path)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"Address({str(self)!r})"

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix://{self.path}"
        return f"{self.scheme}://{join_host_port(self.host, self.port)}"


def join_host_port(host: str, port: int | str) -> str:
    """Join a host and a port, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def unmap(host: str) -> str:
    """Convert an IPv4-mapped IPv6 address (::ffff:a.b.c.d, RFC 4291) to plain IPv4."""
    return host[7:] if host.startswith("::ffff:") and "." in host else host


def overlap(one: Address, other: Address) -> bool:
    """Return whether two listeners cannot have these addresses. Names are compared, not resolved."""
    if one.transport != other.transport or one.port != other.port or not (one.port or one.path):
        return False
    if one.path or other.path:
        return one.path == other.path
    (families, host), (others, other_host) = _reach(one), _reach(other)
    if host == other_host:
        return bool(families & others)
    # a name has addresses of one family or of both
    return (host == "" and families >= others) or (other_host == "" and others >= families)


def _reach(address: Address) -> tuple[set[str], str]:
    """Return the families of an address, and its host in one form: empty for all addresses of these families."""
    import ipaddress  # deferred, as in _check_v6

    families = {address.scheme[-1]} & {"4", "6"} or {"4", "6"}
    try:
        ip = ipaddress.ip_address(address.host)
    except ValueError:
        return families, address.host
    return {str(ip.version)}, "" if ip.is_unspecified else str(ip)


def parse(text: str, default_port: int | None = None) -> Address:
    """
    Parse an address.

    Args:
        text: The address as a person wrote it.
        default_port: The port of an address that consists of a host alone; None rejects such an address.

    Raises:
        ValueError: With the reason; the caller puts the location of the address in front.
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        _refuse_other_ways(text)
        scheme, rest = "tcp", text
    elif scheme not in SCHEMES:
        raise ValueError(f"{text!r} has the unknown scheme {scheme!r}; use one of {' '.join(SCHEMES)}")
    if scheme == "unix":
        return _parse_path(text, rest)
    host, port = _split_host_port(text, rest)
    if host.startswith("["):
        host = _check_v6(text, scheme, host[1:-1])
    elif not host.isprintable() or _NOT_IN_HOST & set(host):
        raise ValueError(f"{text!r} has the invalid host {host!r}; use a host name or an IP address")
    if port is None:
        if default_port is None:
            example = f"{text}://:6000" if text in SCHEMES else join_host_port(host or "localhost", 6000)
            raise ValueError(f"{text!r} has no port; write HOST:PORT, for example {example}")
        return Address(scheme, host, default_port)
    return Address(scheme, host, _check_port(text, port))


def _refuse_other_ways(text: str) -> None:
    """Refuse a scheme that is not before ://, which would be taken for a host, and a path without its scheme."""
    word, colon, rest = text.partition(":")
    scheme = word.rstrip("/").lower()
    if colon and scheme in SCHEMES:
        meant = _guess(scheme, rest.lstrip("/"))
        is_host = word.isalnum() and rest.isascii() and rest.isdigit()
        host = f" For a host named {word}, write tcp://{text}" if is_host else ""
        raise ValueError(f"{text!r} has no // after the scheme; did you mean {meant}?{host}")
    if text.startswith("/"):
        raise ValueError(f"{text!r} is a path; did you mean {_guess('unix', text.lstrip('/'))}?")
    place, slash, scheme = text.rpartition("/")
    if slash and scheme in SCHEMES:
        raise ValueError(f"{text!r} has its scheme at the end; did you mean {_guess(scheme, place)}?")


def _guess(scheme: str, rest: str) -> str:
    """Return the address that was probably meant; an example if that is none."""
    if scheme == "unix":
        meant, example = f"unix:///{rest}", "unix:///run/daytimed.sock"
    else:
        is_port = rest == "daytime" or (rest.isascii() and rest.isdigit())
        meant, example = f"{scheme}://{':' if is_port else ''}{rest}", f"{scheme}://:6000"
    try:
        return str(parse(meant, 6000))
    except ValueError:
        return example


def _parse_path(text: str, path: str) -> Address:
    if not path.startswith("/") or path.endswith("/"):
        raise ValueError(f"{text!r} needs the absolute path of a socket, for example unix:///run/daytimed.sock")
    if not path.isprintable() or len(path.encode(errors="surrogateescape")) > LONGEST_UNIX_PATH:
        raise ValueError(
            f"{text!r} has an invalid socket path; use at most {LONGEST_UNIX_PATH} bytes of printable characters"
        )
    return Address("unix", path=path)


def _split_host_port(text: str, rest: str) -> tuple[str, str | None]:
    if rest.startswith("["):
        host, bracket, port = rest.partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise ValueError(f"{text!r} is not an address; write an IPv6 address as [::1]:6000")
        return host + bracket, port[1:] if port else None
    if rest.count(":") > 1:
        raise ValueError(f"{text!r} has an IPv6 address without brackets; write [::1]:6000")
    if rest.isascii() and rest.isdigit():
        return "", rest
    host, colon, port = rest.partition(":")
    if not host and not colon:
        raise ValueError("the address is empty; write HOST:PORT, :PORT, PORT, [V6]:PORT or unix:///PATH")
    return host, port if colon else None


def _check_v6(text: str, scheme: str, host: str) -> str:
    import ipaddress  # deferred: a run with a host name does not need it

    try:
        ipaddress.IPv6Address(host)
        # ipaddress takes anything for the name of an interface
        is_address = host.isprintable()
    except ValueError:
        is_address = False
    if not is_address:
        raise ValueError(f"{text!r} has no IPv6 address in its brackets; write, for example, [::1]:6000")
    if scheme.endswith("4"):
        raise ValueError(f"{text!r} combines an IPv4 scheme with an IPv6 address; use {scheme[:-1]}6://")
    return host


def _check_port(text: str, port: str) -> int | str:
    if port.isascii() and port.isdigit():
        if len(port) > 5 or int(port) > 65535:
            raise ValueError(f"{text!r} has the invalid port {port[:20]}; use 0 to 65535")
        return int(port)
    if not _is_service_name(port):
        raise ValueError(f"{text!r} has no port after the colon; write a number or a service name such as daytime")
    return port


def _is_service_name(text: str) -> bool:
    letters = text.replace("-", "")
    return letters.isascii() and letters.isalnum() and text[0] != "-" != text[-1] and len(text) <= LONGEST_SERVICE_NAME
