"""Checks of values: from a value of the file to the value in use, or a ValueError with the reason."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection
from typing import Any

from daytimed import addresses, clock, formats
from daytimed.addresses import Address
from daytimed.charset import printable
from daytimed.nearest import nearest

#: Once in a quarter of an hour; more than one machine can serve.
LEAST_RATE, MOST_RATE = 0.001, 1_000_000

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def whole(least: int, most: int) -> Callable[[Any], int]:
    """Return the check of an integer."""

    def check(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"{show(value)} is not a whole number from {least} to {most}")
        return value

    return check


def rate(value: Any) -> float:
    """Check events per second."""
    if type(value) not in (int, float) or not (value == 0 or LEAST_RATE <= value <= MOST_RATE):
        raise ValueError(f"{show(value)} is neither 0 nor a number from {LEAST_RATE} to {MOST_RATE}")
    return float(value)


def text(value: Any) -> str:
    """Check a string."""
    if not isinstance(value, str):
        raise ValueError(f"{show(value)} is not a string in quotes")
    return value


def one_of(*choices: str) -> Callable[[Any], str]:
    """Return the check of one of several words."""

    def check(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"{show(value)} is not one of {', '.join(choices)}{guess(value, choices)}")
        return str(value)

    return check


def timezone(value: Any) -> str:
    """Check a time zone against those of the system."""
    clock.load_zone(text(value))
    return str(value)


def format_name(value: Any) -> str:
    """Check a format."""
    return formats.check_format(text(value))


#: The names that systemd accepts, sd_listen_fds_with_names(3), without the blank.
_LISTENER_NAME = re.compile(r"[!-9;-~]{1,255}\Z")


def listener_name(value: Any) -> str:
    """Check the name of a listener."""
    if not _LISTENER_NAME.match(text(value)):
        raise ValueError(
            f"{show(value)} is not a name; use up to 255 printable ASCII characters except blank and colon"
        )
    return str(value)


def address(value: Any) -> Address:
    """Check the address of a listener; a number is a port."""
    if type(value) is int:
        value = str(value)
    address = addresses.parse(text(value))
    if address.host == "*":
        raise ValueError(
            f"{value!r} names no host; for all addresses, write {Address(address.scheme, '', address.port)}"
        )
    # a client can ask such an address, but a socket that is for IPv6 only cannot be bound to it
    mapped = ipaddress.IPv6Address(address.host).ipv4_mapped if ":" in address.host else None
    if mapped:
        meant = Address(address.transport, str(mapped), address.port)
        raise ValueError(f"{value!r} is an IPv4 address in IPv6 notation; write {meant}")
    return address


def networks(value: Any) -> tuple[Network, ...]:
    """Check a list of networks."""
    if not isinstance(value, list):
        raise ValueError(f'{show(value)} is not a list of networks like ["192.0.2.0/24", "2001:db8::/32"]')
    networks, problems = [], []
    for each in value:
        try:
            networks.append(_network(each))
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError("; ".join(problems))
    return tuple(networks)


def _network(value: Any) -> Network:
    if isinstance(value, str) and "%" in value:
        raise ValueError(f"{show(value)} names an interface; a network applies to all of them, write it without %")
    try:
        network = ipaddress.ip_network(text(value))
    except ValueError:
        raise ValueError(
            f"{show(value)} is not a network; write an address, or address/prefix with no bit set after the prefix"
        ) from None
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped:
            return ipaddress.IPv4Network((mapped, network.prefixlen - 96))
    return network


def int_from(text: str) -> Any:
    """Return an integer, or the text itself for the check to refuse."""
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text.strip()) else text


def number_from(text: str) -> Any:
    """Return a number, or the text itself for the check to refuse."""
    try:
        return float(text) if "." in text else int_from(text)
    except ValueError:
        return text


def list_from(text: str) -> list[str]:
    """Return the words of a list with commas or blanks."""
    return text.replace(",", " ").split()


def show(value: Any) -> str:
    """Return a value for an error: short, and safe for a terminal."""
    try:
        shown = printable(f'"{value}"') if isinstance(value, str) else repr(value)
    except (ValueError, RecursionError):
        # a number of thousands of digits, deeply nested tables
        shown = "this value"
    return shown if len(shown) <= 60 else shown[:57] + "..."


def guess(word: Any, known: Collection[str]) -> str:
    """Return a hint at the known word that was probably meant, or an empty string."""
    meant = nearest(word, known) if isinstance(word, str) else ""
    return f"; did you mean {meant}?" if meant else ""
