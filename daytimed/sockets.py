"""The sockets that are open: passed, stored or bound here, and the assignment of each to a configuration."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from daytimed import addresses
from daytimed.addresses import Address, printable
from daytimed.config.settings import Config, ListenerConfig
from daytimed.errors import ConfigError, ListenError
from daytimed.listeners import Listener, adopt, open_listeners
from daytimed.log.log import Log
from daytimed.systemd import Notifier

#: The service manager keeps sockets that were bound here across a restart, under these names. A name has no colon.
_STORED = "stored-"

Assigned = list[tuple[Listener, ListenerConfig]]
"""Listeners with their settings."""


class Sockets:
    """Every listener of the daemon. Each worker keeps one of them."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self.all: list[Listener] = []

    @property
    def descriptors(self) -> list[int]:
        """The descriptors that stay open when the daemon detaches."""
        return [listener.socket.fileno() for listener in self.all]

    def adopt(self, passed: Sequence[tuple[str, int]]) -> None:
        """
        Adopt the sockets that a service manager has bound, and those of ours that it has kept.

        Raises:
            ListenError: If one of them is not a listener.
        """
        self.all = [adopt_passed(name, descriptor) for name, descriptor in passed]

    def open(self, config: Config) -> Assigned:
        """
        Open the listeners of a configuration; those that are open already stay open.

        If a manager has passed sockets, there are no others, and addresses are not used: each socket takes the settings
        of the listener that bears its name, or the defaults.

        Raises:
            ListenError, NoPermissionError: Nothing new is left open.
        """
        if passed := [listener for listener in self.all if listener.name is not None]:
            by_name = {settings.name: settings for settings in config.listeners}
            return [(each, by_name.get(str(each.name)) or config.defaults(str(each.name))) for each in passed]
        # sockets that were opened together stay together: port 0 is another port each time
        openings: dict[object, list[Listener]] = {}
        for listener in self.all:
            # a unix socket whose path was removed is bound again
            if listener.is_reachable:
                openings.setdefault(listener.opening, []).append(listener)
        by_address: dict[Address, list[list[Listener]]] = {}
        for sockets in openings.values():
            by_address.setdefault(sockets[0].requested, []).append(sockets)
        assigned: Assigned = []
        opened: list[Listener] = []
        try:
            for settings in config.listeners:
                if settings.address is None:
                    raise ConfigError(
                        [f'listener "{settings.name}": no address, and no socket of this name was passed']
                    )
                if by_address.get(settings.address):
                    sockets = by_address[settings.address].pop(0)
                else:
                    sockets = open_listeners(settings.address)
                    opened += sockets
                assigned += [(listener, settings) for listener in sockets]
        except BaseException:
            for listener in opened:
                listener.close()
            raise
        self.all += opened
        if self._notifier:
            for listener in opened:
                self._store(listener)
        return assigned

    def close_all_but(self, used: Collection[Listener], log: Log) -> None:
        """Close the listeners that no configuration uses any more."""
        for listener in [each for each in self.all if each not in used]:
            self.all.remove(listener)
            self._notifier.send(FDSTOREREMOVE=1, FDNAME=stored_name(listener.requested))
            _close(listener, log)

    def close(self, log: Log) -> None:
        """Close all listeners at the end; those that the manager keeps stay open there."""
        for listener in self.all:
            _close(listener, log)

    def leave_only(self, own: Listener) -> None:
        """In a worker, close the other listeners: a copy here would keep them open after the master has closed them."""
        for listener in self.all:
            if listener is not own:
                listener.socket.close()

    def _store(self, listener: Listener) -> None:
        """Let systemd keep a socket of ours, so that a restart loses no client (FDSTORE of sd_notify(3))."""
        listener.leave_path()
        descriptors = [listener.socket.fileno()]
        self._notifier.send(FDSTORE=1, FDNAME=stored_name(listener.requested), descriptors=descriptors)


def _close(listener: Listener, log: Log) -> None:
    address = listener.address
    listener.close()
    log.event("listener_closed", address=address)


def stored_name(requested: Address) -> str:
    """Return the name under which the manager keeps a socket."""
    return _STORED + str(requested).replace(":", ";")


def adopt_passed(name: str, descriptor: int) -> Listener:
    """
    Adopt a socket that a service manager has bound, or one of ours that it has kept.

    Raises:
        ListenError: If it is not a listener.
    """
    if not name.startswith(_STORED):
        return adopt(name, descriptor)
    try:
        address = addresses.parse(name[len(_STORED) :].replace(";", ":"))
    except ValueError as error:
        where = f"LISTEN_FDS: descriptor {descriptor} ({printable(name)})"
        raise ListenError(f"{where} bears the name of a socket that was kept for us, but {error}") from None
    return adopt(name, descriptor, address)
