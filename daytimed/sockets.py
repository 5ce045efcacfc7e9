"""
The sockets that are open, and the assignment of each to a configuration.

There are two kinds. *Passed* sockets are a service manager's: it has bound them, and each has a name. If there is one,
there are no others. *Own* sockets are bound here, for the addresses of the configuration. systemd keeps a copy of each,
and gives it back after a restart, so that no client is lost (FDSTORE of sd_notify(3)). Which of these are still wanted
is known once the configuration is.
"""

from __future__ import annotations

import contextlib
import errno
import re
import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from daytimed import socketfile
from daytimed.addresses import Address
from daytimed.config.settings import Config, ListenerConfig
from daytimed.errors import ConfigError, ListenError
from daytimed.listeners import Listener, Place, adopt, adopt_kept, open_listeners
from daytimed.log.log import Log
from daytimed.systemd import Notifier

#: The names of kept sockets; the second form is that of 0.1.0, whose sockets are never wanted.
_KEPT = re.compile(r"stored-([0-9a-f]{32}|(tcp|udp)[46]?;//.*|unix;///.*)")
#: systemd closes its copy of a socket some time after it was asked to; until then, the address can be in use.
_RELEASE_S = 2.0
_RETRY_S = 0.01

Assigned = list[tuple[Listener, ListenerConfig]]
"""Listeners with their settings."""
Empty = Callable[[Sequence[Listener]], None]
"""Answers the clients that wait at listeners before these are closed."""
Key = tuple[Address, int]
"""An address, and the number of the listener among those with this address: several can have port 0."""


class Sockets:
    """Every listener of the daemon. Each worker keeps one of them."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self.all: list[Listener] = []
        self._kept: list[Listener] = []
        """Own sockets that systemd has given back; empty after the first `open`."""
        self._discarded: list[str] = []
        """Addresses that were closed before there was a log."""

    @property
    def descriptors(self) -> list[int]:
        """The descriptors that stay open when the daemon detaches."""
        return [listener.socket.fileno() for listener in self.all]

    def adopt(self, given: Sequence[tuple[str, int]]) -> None:
        """
        Adopt the passed sockets; set aside those of ours that were kept.

        Raises:
            ListenError: If a passed socket is not a listener.
        """
        for name, descriptor in given:
            if not is_kept(name):
                self.all.append(adopt(name, descriptor))
                continue
            try:
                self._kept.append(adopt_kept(name, descriptor))
            except ListenError:
                # whatever it is, nobody connects to it
                self._notifier.send(FDSTOREREMOVE=1, FDNAME=name)

    def unopened(self, config: Config) -> list[Address]:
        """
        Return the addresses that `open` will bind; nobody listens on them yet.

        Raises:
            ConfigError: If a listener has no address, and there is no passed socket.
        """
        kept = {listener.kept_as for listener in self._kept}
        wanted = self._wanted(config)
        return [key[0] for key in wanted if not self._find(key) and not (kept and kept_name(*key) in kept)]

    def open(self, config: Config, places: Mapping[Address, Sequence[Place]], empty: Empty) -> Assigned:
        """
        Open the listeners of a configuration; those that are open already stay open.

        Args:
            config: A passed socket takes the settings of the listener that bears its name, or the defaults, and no
                address is used.
            places: Where to bind each of the `unopened` addresses.
            empty: Called with the listeners that are no longer wanted.

        Raises:
            ConfigError: If a listener has no address, and there is no passed socket.
            ListenError, NoPermissionError: Nothing new is left open.
        """
        wanted = self._wanted(config)
        has_discarded = bool(self._kept) and self._take_back(wanted, empty)
        if passed := self._passed:
            return [(each, config.settings_of(str(each.name))) for each in passed]
        until = time.monotonic() + _RELEASE_S if has_discarded else 0.0
        listeners = {key: self._find(key) for key in wanted}
        opened: list[Listener] = []
        try:
            for key in [key for key, found in listeners.items() if not found]:
                here = [*opened, *(each for found in listeners.values() for each in found)]
                listeners[key] = self._bind(key, places.get(key[0], ()), here, until)
                opened += listeners[key]
        except BaseException:
            for listener in opened:
                listener.close()
            raise
        self.all += opened
        for listener in opened:
            self._keep(listener)
        return [(listener, wanted[key]) for key, found in listeners.items() for listener in found]

    def close_all_but(self, used: Collection[Listener], log: Log, empty: Empty) -> None:
        """Close the listeners that no configuration uses any more, after the clients that wait there are answered."""
        unused = [each for each in self.all if each not in used]
        self.all = [each for each in self.all if each in used]
        self._discard(unused, empty)
        for address in self._discarded:
            log.event("listener_closed", address=address)
        self._discarded.clear()

    def close(self, log: Log) -> None:
        """Close all listeners at the end; those that systemd keeps stay open there."""
        for listener in self.all:
            address = listener.address
            listener.close()
            log.event("listener_closed", address=address)

    def leave_only(self, own: Listener | None) -> None:
        """In a child, close the other listeners: a copy here would keep them open after the master has closed them."""
        for listener in self.all:
            if listener is not own:
                listener.socket.close()

    @property
    def _passed(self) -> list[Listener]:
        return [listener for listener in self.all if listener.name is not None]

    def _wanted(self, config: Config) -> dict[Key, ListenerConfig]:
        """Return the own sockets of a configuration."""
        if self._passed:
            return {}
        problems = []
        wanted: dict[Key, ListenerConfig] = {}
        for position, settings in enumerate(config.listeners):
            address: Address | None = settings.address
            if address is None:
                problems.append(
                    f"listener[{position}].address: missing; only a socket that systemd passes needs none,"
                    f' and none named "{settings.name}" was passed'
                )
                continue
            number = sum(1 for known, _ in wanted if known == address)
            wanted[address, number] = settings
        if problems:
            raise ConfigError(problems)
        return wanted

    def _find(self, key: Key) -> list[Listener]:
        """Return the open listeners of an address; a host name can have several. Those without their path are not."""
        return [each for each in self.all if (each.requested, each.number) == key and each.is_reachable]

    def _take_back(self, wanted: Collection[Key], empty: Empty) -> bool:
        """Take the kept sockets that are wanted; close the others, and return whether there were any."""
        keys = {kept_name(*key): key for key in wanted}
        others: list[Listener] = []
        for listener in self._kept:
            if key := keys.get(listener.kept_as):
                listener.requested, listener.number = key
            if listener.is_unix and kept_name(listener.requested, listener.number) == listener.kept_as:
                listener.identity = socketfile.identify(listener.requested.path)
            (self.all if key else others).append(listener)
        self._kept.clear()
        self._discard(others, empty)
        return bool(others)

    def _bind(self, key: Key, places: Sequence[Place], here: Collection[Listener], until: float) -> list[Listener]:
        address, number = key
        while True:
            try:
                return open_listeners(address, places, number)
            except ListenError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                own = next((each for each in [*here, *self.all] if each.blocks(address, places)), None)
                if own is None and time.monotonic() < until:
                    time.sleep(_RETRY_S)
                    continue
                if own is None:
                    raise
                hint = (
                    f"the configuration has {own.requested} too: remove one of the two"
                    if own in here
                    else "restart it to change that: systemctl restart daytimed"
                )
                text = f"{address}: cannot listen: this daemon itself listens on {own.address}; {hint}"
                raise ListenError(text, error.errno) from None

    def _keep(self, listener: Listener) -> None:
        """Let systemd keep a copy of an own socket."""
        if self._notifier:
            listener.kept_as = kept_name(listener.requested, listener.number)
            descriptors = [listener.socket.fileno()]
            self._notifier.send(FDSTORE=1, FDNAME=listener.kept_as, descriptors=descriptors)

    def _discard(self, listeners: Sequence[Listener], empty: Empty) -> None:
        """Close own sockets, after the clients that wait there are answered."""
        empty(listeners)
        for listener in listeners:
            self._discarded.append(listener.address)
            if listener.kept_as:
                self._notifier.send(FDSTOREREMOVE=1, FDNAME=listener.kept_as)
                listener.kept_as = ""
            with contextlib.suppress(OSError):
                # until systemd has closed its copy, that would take clients, and hold the address
                listener.socket.shutdown(socket.SHUT_RDWR)
            listener.close()


def is_kept(name: str) -> bool:
    """Return whether a descriptor with this name is an own socket that systemd has kept, not a passed one."""
    return bool(_KEPT.fullmatch(name))


def kept_name(address: Address, number: int) -> str:
    """
    Return the name under which systemd keeps a socket.

    It is a hash, because a name of a descriptor has no colon, no other than ASCII characters, and a bounded length. The
    file of a unix socket is part of it: a socket whose path leads elsewhere by now is not found under its name.
    """
    import hashlib  # deferred: only a daemon whose sockets are kept needs it

    file = socketfile.identify(address.path) if address.scheme == "unix" else ()
    digest = hashlib.sha256(f"{address} {number} {file}".encode(errors="surrogateescape"))
    return f"stored-{digest.hexdigest()[:32]}"
