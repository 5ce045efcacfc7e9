"""
A soak: full load, with faults of the machine, acts of an administrator and hostile clients in random order.

SOAK_SECONDS is its duration (`make soak`: ten minutes), SOAK_SEED determines the order (`make soak`: a new one each
time).
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import struct
import time
from collections import Counter
from pathlib import Path

from aftermath import figures_of, memory_kib
from harness import DEADLINE_S, UNTRACED, Daemon, descriptors, fetch, process_state, serving, wait_until
from loads import load, outcomes

SECONDS = float(os.environ.get("SOAK_SECONDS", "15"))
SEED = int(os.environ.get("SOAK_SEED", "867"))
THREADS = 16
#: How much the memory of all processes together may grow: pages that only rare events touch.
SLACK_KIB = 1024

LISTENERS = """
[[listener]]
name = "daytime"
address = "tcp://127.0.0.1:0"
[[listener]]
name = "datagrams"
address = "udp4://127.0.0.1:0"
workers = 1
[[listener]]
name = "local"
address = "unix://{path}"
workers = 1
"""
MORE = '[[listener]]\nname = "more"\naddress = "tcp4://127.0.0.1:0"\n'
#: None of them denies the load or limits its rate, but all of their rules apply.
CONFIGURATIONS = (
    "workers = 2\n" + LISTENERS,
    "workers = 3\n" + LISTENERS + MORE + '[access]\nallow = ["127.0.0.0/8"]\ndeny = ["127.0.2.0/24"]\n',
    'workers = 2\ntimezone = "Asia/Kolkata"\n' + LISTENERS + "[access]\nrate = 1000000\nburst = 1000\n",
    "workers = 1\n" + LISTENERS + '[log]\nclients = "dropped"\nquiet = ["127.0.0.0/8"]\n',
    "workers = 2\n" + LISTENERS + "[log]\nclient_rate = 5\nclient_burst = 5\n",
)
BROKEN = ("workers = 0\n[[listener]\n", 'timezone = "Mars/Olympus"\n', '[[listener]]\naddress = "192.0.2.1:6000"\n')


class Chaos:
    """The random acts; each turn first releases what the one before holds."""

    def __init__(self, daemon: Daemon, config: Path, path: Path) -> None:
        self._daemon = daemon
        self._config = config
        self._path = path
        self._random = random.Random(SEED)
        self._port = daemon.port()
        self._datagrams = daemon.port("datagrams")
        self._held: list[socket.socket] = []
        self._frozen: list[int] = []
        self.killed: set[int] = set()
        self.done: Counter[str] = Counter()

    def turn(self) -> None:
        """Do one act."""
        self.let_go()
        act = self._random.choice((
            self.reload, self.reload_broken, self.kill, self.end, self.freeze_worker, self.freeze_master, self.signals,
            self.resets, self.silent_clients, self.urgent_data, self.datagrams, self.unix_clients,
        ))  # fmt: skip
        self.done[act.__name__] += 1
        act()

    def let_go(self) -> None:
        for each in self._held:
            each.close()
        for pid in self._frozen:
            self._signal(pid, signal.SIGCONT)
        self._held, self._frozen = [], []

    def configure(self, text: str) -> None:
        """Replace the file atomically, and ask for a reload."""
        new = self._config.with_suffix(".new")
        new.write_text(text.format(path=self._path))
        new.rename(self._config)
        self._daemon.send(signal.SIGHUP)

    def reload(self) -> None:
        self.configure(self._random.choice(CONFIGURATIONS))

    def reload_broken(self) -> None:
        self._config.write_text(self._random.choice(BROKEN))
        self._daemon.send(signal.SIGHUP)

    def kill(self) -> None:
        if victim := self._worker():
            self.killed.add(victim)
            self._signal(victim, signal.SIGKILL)

    def end(self) -> None:
        """End a worker without the master."""
        if victim := self._worker():
            self._signal(victim, signal.SIGTERM)

    def freeze_worker(self) -> None:
        if victim := self._worker():
            self._frozen.append(victim)
            self._signal(victim, signal.SIGSTOP)

    def freeze_master(self) -> None:
        self._frozen.append(self._daemon.process.pid)
        self._daemon.send(signal.SIGSTOP)

    def signals(self) -> None:
        for _ in range(50):
            self._daemon.send(self._random.choice((signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD)))
            if victim := self._worker():
                others = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD)
                self._signal(victim, self._random.choice(others))

    def resets(self) -> None:
        for _ in range(50):
            with self._client() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def silent_clients(self) -> None:
        self._held = [self._client() for _ in range(50)]

    def urgent_data(self) -> None:
        for _ in range(20):
            with self._client() as client, contextlib.suppress(BrokenPipeError, ConnectionResetError):
                client.send(b"!", socket.MSG_OOB)

    def datagrams(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            for _ in range(100):
                client.sendto(self._random.randbytes(self._random.randrange(1400)), ("127.0.0.1", self._datagrams))

    def unix_clients(self) -> None:
        for _ in range(20):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(self._path))

    def _client(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._port), DEADLINE_S, ("127.0.3.1", 0))

    def _worker(self) -> int | None:
        workers = self._daemon.live_workers()
        return self._random.choice(workers) if workers else None

    @staticmethod
    def _signal(pid: int, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def settle(daemon: Daemon, chaos: Chaos) -> None:
    """Return to the first configuration, with all its workers."""
    ready = len(daemon.find("daemon_reloaded"))
    generation = 0

    def is_settled() -> bool:
        alive = [pid for pid in daemon.live_workers() if process_state(pid) not in ("", "Z")]
        return len(alive) == 4 and {
            event["generation"] for event in daemon.find("worker_started") if event["pid"] in alive
        } == {generation}

    chaos.configure(CONFIGURATIONS[0])
    generation = daemon.wait_events("daemon_reloaded", ready + 1)[-1]["generation"]
    wait_until(is_settled, "all workers belong to the last generation")


def resources(daemon: Daemon) -> dict[str, int]:
    """Return the number of descriptors of the master, and the highest of any worker for each listener."""
    daemon.rest()
    found, workers = {"master": [daemon.process.pid]}, daemon.live_workers()
    for event in daemon.find("worker_started"):
        if event["pid"] in workers:
            found.setdefault(event["listener"], []).append(event["pid"])
    return {name: max(len(descriptors(pid)) for pid in pids) for name, pids in found.items()}


def test_it_runs_for_ever(tmp_path: Path) -> None:
    """Only clients of killed workers are lost, all figures add up, and nothing grows."""
    config, path = tmp_path / "daytimed.toml", tmp_path / "socket"
    config.write_text(CONFIGURATIONS[0].format(path=path))
    print(f"SOAK_SEED={SEED} SOAK_SECONDS={SECONDS}")
    with serving(config=config, env=UNTRACED) as daemon:
        chaos = Chaos(daemon, config, path)
        # a warm-up: all code has run once, and everything that only faults need is loaded
        assert set(outcomes(load(daemon.port(), THREADS, 100))) == {"whole"}
        for event, texts in (("reload_rejected", BROKEN), ("daemon_reloaded", CONFIGURATIONS)):
            for count, text in enumerate(texts, 1):
                chaos.configure(text)
                daemon.wait_events(event, count)
        settle(daemon, chaos)
        before, kib_before = resources(daemon), memory_kib(daemon)
        with load(daemon.port(), THREADS, None) as running:
            over = time.monotonic() + SECONDS
            while time.monotonic() < over:
                chaos.turn()
                # the pace of the soak, not a wait
                time.sleep(0.1)
            chaos.let_go()
            ended = outcomes(running)
        settle(daemon, chaos)
        after, kib_after = resources(daemon), memory_kib(daemon)
        killed = chaos.killed | {event["pid"] for event in daemon.find("worker_stuck")}
        totals = figures_of(daemon)
        lost = sum(ended.values()) - ended["whole"]
        print("done:", dict(chaos.done))
        print(f"clients: {dict(ended)}; workers killed: {len(killed)}; {totals['message']}")
        print(f"memory of master and workers, KiB: {kib_before} at the start, {kib_after} at the end")
        print(f"descriptors: {before} at the start, {after} at the end")
        assert lost <= len(killed)
        assert after == before
        assert sum(kib_after) <= sum(kib_before) + SLACK_KIB
        assert fetch(daemon.port()).startswith(b"The Date Time is: ")
