"""
The vocabulary of the log: each event has a name, a level and a sentence.

Names and ids are an interface: other people's scripts and the catalog of the journal use them.
"""

from __future__ import annotations

from typing import NamedTuple

#: Severities of syslog(3).
SEVERITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


class Event(NamedTuple):
    """An entry of the vocabulary."""

    id: str
    """MESSAGE_ID of the journal, the key of its entry in the catalog; it never changes."""
    level: str
    sentence: str


#: Clients can cause events up to info, never above.
EVENTS = {
    "daemon_starting": Event(
        "784d4637a81040f483bba9283622d7a6",
        "info",
        "Starting daytimed {version}.",
    ),
    "daemon_ready": Event(
        "ea425e4c2ee048b9bb9a1fd1b921eb57",
        "info",
        "Ready after {seconds:.3f} s: {listeners} listeners, {workers} workers.",
    ),
    "daemon_reloading": Event(
        "070e642d682a403aa9c55745972d1d03",
        "info",
        "Reloading the configuration.",
    ),
    "daemon_reloaded": Event(
        "87a7392b5a644693b4a4b253de685440",
        "info",
        "Reloaded: generation {generation} serves with {workers} workers.",
    ),
    "reload_rejected": Event(
        "c926761218084d3db47dfce82f1e2a76",
        "error",
        "Reload rejected, nothing has changed: {error}",
    ),
    "daemon_stopping": Event(
        "32f281074d4044feaa58d6d1bfd0a93f",
        "info",
        "Stopping on {signal}.",
    ),
    "daemon_stopped": Event(
        "c51b4b1b018f441ca166bc8283f02e0b",
        "info",
        "Stopped: {accepted} clients accepted, {served} served, {dropped} dropped in {uptime_s:.0f} s.",
    ),
    "listener_opened": Event(
        "a9382e633eec439da452000815ff2642",
        "info",
        "Listening on {address} as {listener}.",
    ),
    "listener_adopted": Event(
        "2c9a5727355142d0bbba90d8ef279256",
        "info",
        "Adopted {address} as {listener}.",
    ),
    "listener_closed": Event(
        "363c0895696e44079a2f31bbddca16a6",
        "info",
        "Closed {address}.",
    ),
    "listener_address_ignored": Event(
        "dc97a672c42a4942a048f595f8f07668",
        "warning",
        "Listener {listener}: {problem}",
    ),
    "worker_started": Event(
        "cb2c377c29c3417dbd2a9b0d706b4a5f",
        "info",
        "Worker {pid} ({listener}) started.",
    ),
    "worker_exited": Event(
        "26dd30435ebf4c87bb691740f9fe8649",
        "info",
        "Worker {pid} ({listener}) {how}.",
    ),
    "worker_stuck": Event(
        "4e076c42069844f2b26aeab2946f690d",
        "warning",
        "Worker {pid} ({listener}) made no progress for {seconds} s; replacing it.",
    ),
    "client_served": Event(
        "767d9ec97ac1488aadff1994b850daaf",
        "info",
        "Served {bytes} bytes to {client}.",
    ),
    "client_dropped": Event(
        "2e906531815f412da55f3cbe44edae19",
        "info",
        "Dropped {client}: {reason}.",
    ),
    "clients_suppressed": Event(
        "07e3b06b324b4595a6239a1170b16cb5",
        "info",
        "{served} served and {dropped} dropped clients were not logged; networks of {sampled} sampled: {networks}.",
    ),
    "accept_paused": Event(
        "1329abf6997a4b6eb4014b0d00abaef0",
        "warning",
        "Worker {pid} ({listener}) cannot accept clients: {error}; retrying.",
    ),
    "accept_resumed": Event(
        "337234c22a1840eea61aea7c619e503f",
        "info",
        "Worker {pid} ({listener}) accepts clients again after {pauses} pauses.",
    ),
    "statistics": Event(
        "134ca0b71d414d0ea0cbe88dad0f7734",
        "info",
        "{accepted} clients accepted, {served} served, {dropped} dropped in {uptime_s:.0f} s, by {workers} workers.",
    ),
    "log_lost": Event(
        "01a8f40628ce4a18919c74d7e44da20e",
        "warning",
        "{lost} events could not be logged.",
    ),
    "start_failed": Event(
        "b5c1f0c8a3e14d0c9d7e7f6a2c4b1e90",
        "error",
        "Cannot start: {error}",
    ),
}
