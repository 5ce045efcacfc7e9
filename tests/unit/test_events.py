"""The vocabulary of the log: its events, their levels and their sentences."""

from __future__ import annotations

import ast
import string
from pathlib import Path
from typing import Any

import pytest

import daytimed
from daytimed.log.events import EVENTS, SEVERITIES

#: Fields for every sentence; the fields that a sentence does not name are for programs.
FIELDS: dict[str, Any] = {
    "version": "1.2.3", "listeners": 2, "workers": 4, "seconds": 1.25, "generation": 3, "error": "it broke",
    "signal": "SIGTERM", "accepted": 10, "served": 7, "dropped": 3, "uptime_s": 99.5, "address": "tcp://:6000",
    "listener": "daytime", "pid": 4711, "how": "stopped as asked", "bytes": 59, "client": "192.0.2.1", "port": 55512,
    "reason": "reset", "pauses": 2, "lost": 5, "networks": "192.0.2.0/24=9", "sampled": 12,
    "problem": "not on tcp://:6000.",
}  # fmt: skip


SENTENCES = {
    "daemon_starting": "Starting daytimed 1.2.3.",
    "daemon_ready": "Ready after 1.250 s: 2 listeners, 4 workers.",
    "daemon_reloading": "Reloading the configuration.",
    "daemon_reloaded": "Reloaded: generation 3 serves with 4 workers.",
    "reload_rejected": "Reload rejected, nothing has changed: it broke",
    "daemon_stopping": "Stopping on SIGTERM.",
    "daemon_stopped": "Stopped: 10 clients accepted, 7 served, 3 dropped in 100 s.",
    "listener_opened": "Listening on tcp://:6000 as daytime.",
    "listener_adopted": "Adopted tcp://:6000 as daytime.",
    "listener_closed": "Closed tcp://:6000.",
    "listener_address_ignored": "Listener daytime: not on tcp://:6000.",
    "worker_started": "Worker 4711 (daytime) started.",
    "worker_exited": "Worker 4711 (daytime) stopped as asked.",
    "worker_stuck": "Worker 4711 (daytime) made no progress for 1.25 s; replacing it.",
    "client_served": "Served 59 bytes to 192.0.2.1.",
    "client_dropped": "Dropped 192.0.2.1: reset.",
    "clients_suppressed": "7 served and 3 dropped clients were not logged; networks of 12 sampled: 192.0.2.0/24=9.",
    "accept_paused": "Worker 4711 (daytime) cannot accept clients: it broke; retrying.",
    "accept_resumed": "Worker 4711 (daytime) accepts clients again after 2 pauses.",
    "statistics": "10 clients accepted, 7 served, 3 dropped in 100 s, by 4 workers.",
    "log_lost": "5 events could not be logged.",
    "start_failed": "Cannot start: it broke",
}


def test_events_are_those_of_the_design() -> None:
    """The names of the events are an interface."""
    assert set(SENTENCES) == set(EVENTS)


@pytest.mark.parametrize("name", EVENTS)
def test_sentence(name: str) -> None:
    """Every event has a sentence, with the values of its fields."""
    assert SENTENCES[name] == EVENTS[name].sentence.format_map(FIELDS)


def test_clients_cause_nothing_above_info() -> None:
    """The events that a client can cause have the level info."""
    caused = {name: event.level for name, event in EVENTS.items() if name.startswith(("client_", "clients_"))}
    assert {"client_served": "info", "client_dropped": "info", "clients_suppressed": "info"} == caused


def test_levels_are_known() -> None:
    """Every event has one of the levels, which have the severities of syslog(3)."""
    assert {event.level for event in EVENTS.values()} <= set(SEVERITIES)
    assert {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2} == SEVERITIES


def calls_of_event() -> list[tuple[str, str, ast.Call]]:
    """Return every call of `event` in the package, with its place, once for each event that it can name."""
    found = []
    for path in sorted(Path(daytimed.__file__).parent.rglob("*.py")):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "event":
                found += [(f"{path.name}:{node.lineno}", name, node) for name in names_in(node.args[0], tree)]
    return found


def names_in(argument: ast.expr, tree: ast.Module) -> list[str]:
    """Return the names that an argument can be: a literal, or the literals assigned to a variable of the module."""
    if not isinstance(argument, ast.Name):
        return [ast.literal_eval(argument)]
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and argument.id in {getattr(target, "id", None) for target in node.targets}:
            value = node.value
            values = (value.body, value.orelse) if isinstance(value, ast.IfExp) else (value,)
            names += [ast.literal_eval(each) for each in values]
    assert names, f"{argument.id} is assigned no name of an event"
    return names


def test_program_logs_only_known_events_with_all_their_fields() -> None:
    """No call names an unknown event or omits a field of its sentence, which would end the process."""
    wrong = []
    for place, name, call in calls_of_event():
        given_fields = {keyword.arg for keyword in call.keywords}
        wanted = {field for _, field, _, _ in string.Formatter().parse(EVENTS[name].sentence) if field}
        # the fields of a ** are not known here
        if None not in given_fields and not wanted <= given_fields:
            wrong.append((place, name, wanted - given_fields))
    assert [] == wrong
    assert len(calls_of_event()) > 10


def test_every_event_has_an_id_of_its_own() -> None:
    """Each event has a different id of 128 bits, in lower-case hexadecimal digits as the catalog requires."""
    ids = [event.id for event in EVENTS.values()]
    assert len(EVENTS) == len(set(ids))
    assert [] == [each for each in ids if len(each) != 32 or set(each) - set("0123456789abcdef")]
