"""Faults of the machine: no memory, a full disk, stopped and killed processes, signal storms, changing files."""

from __future__ import annotations

import contextlib
import os
import random
import re
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aftermath import children, figures_of, unharmed
from harness import (
    DEADLINE_S,
    UNTRACED,
    Daemon,
    fetch,
    needs,
    process_state,
    read_all,
    serving,
    skip_without_mounts,
    wait_until,
)
from loads import load, outcomes

#: The same random choices in every run.
SEED = 867
#: Logging no clients keeps the log out of the way.
QUIET = {**UNTRACED, "DAYTIMED_LOG_CLIENTS": "none"}

LISTENER = 'workers = 1\n[[listener]]\naddress = "127.0.0.1:0"\n'


# -- memory ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def without_memory(*pids: int, more: int = 0) -> Iterator[None]:
    """Limit processes to `more` bytes more than they have; restore the limits of those that still run at the end."""
    kinds = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    before = {(pid, kind): resource.prlimit(pid, kind) for pid in pids for kind in kinds}
    for (pid, kind), (_, hard) in before.items():
        have = int(re.findall(r"VmSize:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0]) * 1024 if more else 0
        resource.prlimit(pid, kind, (have + more, hard))
    yield
    for (pid, kind), limits in before.items():
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, kind, limits)


def test_workers_that_get_no_more_memory_serve_on() -> None:
    """A worker needs no new memory for a client: every one gets its reply, even if it writes."""
    with serving("-w", "2", env=UNTRACED) as daemon, unharmed(daemon):
        workers = daemon.live_workers()
        with without_memory(*workers):
            for turn in range(100):
                assert fetch(daemon.port(), request=b"x" * 1000 * (turn % 2))
        assert daemon.live_workers() == workers


def test_a_master_that_gets_no_more_memory_replaces_counts_and_rejects(tmp_path: Path) -> None:
    """Without memory it replaces a worker, logs its statistics and rejects a reload; with memory, it reloads."""
    config = tmp_path / "daytimed.toml"
    config.write_text(LISTENER)
    with serving(config=config, env=UNTRACED) as daemon, unharmed(daemon):
        with without_memory(daemon.process.pid):
            (victim,) = daemon.live_workers()
            os.kill(victim, signal.SIGKILL)
            daemon.wait_event("worker_exited", pid=victim)
            assert fetch(daemon.port())
            figures_of(daemon, accepted=2)
            workers = daemon.live_workers()
            config.write_text('format = "unix"\n' + LISTENER)
            daemon.send(signal.SIGHUP)
            rejected = daemon.wait_event("reload_rejected")
            assert rejected["error"] == "there is not enough memory for the configuration"
            assert fetch(daemon.port()).startswith(b"The Date Time is: ")
            assert daemon.live_workers() == workers
        # the worker that was forked without memory may still lack it: the reload replaces that worker
        daemon.send(signal.SIGHUP)
        daemon.wait_event("daemon_reloaded")
        assert fetch(daemon.port()).strip().isdigit()


@pytest.mark.parametrize("more_mib", [3, 6])
def test_a_configuration_that_memory_does_not_suffice_for_is_rejected(more_mib: int, tmp_path: Path) -> None:
    """Memory may run out at any point of a reload, repeatedly: the workers serve on, and a smaller file is loaded."""
    config = tmp_path / "daytimed.toml"
    config.write_text(LISTENER)
    networks = ", ".join(f'"10.{number >> 8 & 255}.{number & 255}.0/24"' for number in range(40_000))
    with serving(config=config, env=UNTRACED) as daemon, unharmed(daemon):
        with without_memory(daemon.process.pid, more=more_mib << 20):
            config.write_text(f"{LISTENER}[access]\ndeny = [{networks}]\n")
            for count in (1, 2):
                daemon.send(signal.SIGHUP)
                daemon.wait_events("reload_rejected", count)
                assert fetch(daemon.port())
        config.write_text('format = "unix"\n' + LISTENER)
        daemon.send(signal.SIGHUP)
        daemon.wait_event("daemon_reloaded")
        assert fetch(daemon.port()).strip().isdigit()


def test_a_reload_that_fails_when_its_sockets_are_open_closes_them(tmp_path: Path) -> None:
    """A reload that fails leaves no socket to which clients connect and from which no worker accepts."""
    config, flag, path = tmp_path / "daytimed.toml", tmp_path / "flag", tmp_path / "socket"
    script = (
        "import os, sys\n"
        "from daytimed import cli, generation\n"
        "real = generation.Generation.__init__\n"
        "def make(self, *rest):\n"
        f"    if os.path.exists({str(flag)!r}):\n"
        "        raise RuntimeError('it is broken')\n"
        "    real(self, *rest)\n"
        "generation.Generation.__init__ = make\n"
        "sys.exit(cli.main())\n"
    )
    config.write_text(LISTENER)
    program = [sys.executable, "-c", script]
    with serving(config=config, program=program, expect_traceback=True) as daemon, unharmed(daemon):
        flag.touch()
        config.write_text(f'{LISTENER}[[listener]]\naddress = "unix://{path}"\n')
        daemon.send(signal.SIGHUP)
        rejected = daemon.wait_event("reload_rejected")
        assert "RuntimeError('it is broken')" in rejected["error"]
        assert "in make" in rejected["exception"]
        daemon.wait_event("listener_closed", address=f"unix://{path}")
        assert not path.exists()


# -- disk ------------------------------------------------------------------------------------------------------------


@needs("unshare", "tail")
def test_a_disk_that_is_full_for_a_time_costs_nothing_but_lines(tmp_path: Path) -> None:
    """While the log's file system is full, all clients are served; with room again, log_lost has the exact loss."""
    skip_without_mounts("unshare", "--mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    # a process that ends with the daemon reads the log from the file
    script = (
        f"mount -t tmpfs -o size=64k none {disk} && : >{disk}/log && "
        f'{{ tail --pid=$$ --lines=+1 --follow {disk}/log >&2 & exec "$@" 2>{disk}/log; }}'
    )
    prefix = ["unshare", "--mount", "sh", "-c", script, "sh"]
    with serving("-w", "1", prefix=prefix, env={**UNTRACED, "DAYTIMED_LOG_CLIENT_RATE": "0"}) as daemon:
        assert fetch(daemon.port())
        daemon.wait_event("client_served")
        ballast = Path(f"/proc/{daemon.process.pid}/root", str(disk).lstrip("/"), "ballast")
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        # the last page of the log has room for some lines
        for _ in range(100):
            assert fetch(daemon.port())
        assert not daemon.find("log_lost")
        ballast.unlink()
        daemon.send(signal.SIGUSR1)
        lost = daemon.wait_event("log_lost")["lost"]
        served = figures_of(daemon, accepted=101)["served"]
        assert fetch(daemon.port())
        daemon.wait_events("client_served", served - lost + 1)
        daemon.send(signal.SIGTERM)
        assert daemon.wait() == 0
        lines = len(daemon.find("client_served"))
        lost = sum(event["lost"] for event in daemon.find("log_lost"))
        assert 50 < lost < 100
        assert served + 1 == lines + lost


# -- processes -------------------------------------------------------------------------------------------------------


def test_a_master_that_is_held_under_load_costs_only_the_client_of_a_killed_worker() -> None:
    """Workers serve on while SIGSTOP holds the master, which replaces a killed one when it continues."""
    with serving("-w", "2", env=QUIET) as daemon, unharmed(daemon):
        running = load(daemon.port(), threads=10, clients=200)
        figures_of(daemon, accepted=100)
        daemon.send(signal.SIGSTOP)
        wait_until(lambda: process_state(daemon.process.pid) == "T", "the master is stopped")
        victim = daemon.live_workers()[0]
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: process_state(victim) == "Z", "the worker has ended")
        for _ in range(20):
            assert fetch(daemon.port())
        daemon.send(signal.SIGCONT)
        exited = daemon.wait_event("worker_exited", pid=victim)
        ended = outcomes(running)
        assert sum(ended.values()) == 2000
        assert 2000 - ended["whole"] <= 1
        assert exited["lost"] <= 1


def test_processes_held_and_killed_at_random_are_made_good() -> None:
    """Fifty times, the master or a worker is killed, or stopped for one client: the others serve."""
    dice = random.Random(SEED)
    with serving("-w", "3", env=QUIET) as daemon, unharmed(daemon):
        for _ in range(50):
            wait_until(lambda: len(daemon.live_workers()) == 3, "every worker runs")
            victim = dice.choice([daemon.process.pid, *daemon.live_workers()])
            if victim == daemon.process.pid or dice.random() < 0.5:
                os.kill(victim, signal.SIGSTOP)
                wait_until(lambda victim=victim: process_state(victim) == "T", "it is stopped")  # type: ignore[misc]
                assert fetch(daemon.port())
                os.kill(victim, signal.SIGCONT)
            else:
                os.kill(victim, signal.SIGKILL)
                daemon.wait_event("worker_exited", pid=victim)
                assert fetch(daemon.port())
        assert not daemon.find("worker_stuck")


# -- signals ---------------------------------------------------------------------------------------------------------

HARMLESS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD)
SIX = (signal.SIGTERM, signal.SIGINT, *HARMLESS)


def ask_to_end(pid: int) -> bool:
    """Send SIGTERM; return whether the process has gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    return process_state(pid) == ""


def test_a_worker_that_a_stranger_ends_is_replaced_at_once() -> None:
    """A worker obeys SIGTERM from any process and is replaced at once, though it had no client; it ignores INT."""
    with serving("-w", "1", env=UNTRACED) as daemon, unharmed(daemon):
        for count in range(2, 13):
            (worker,) = daemon.live_workers()
            os.kill(worker, signal.SIGINT)
            # repeated, as the master does: a worker notices a signal just before accept only at the next client
            wait_until(lambda worker=worker: ask_to_end(worker), "the worker has ended")  # type: ignore[misc]
            assert daemon.wait_event("worker_exited", pid=worker)["how"] == "exited with status 0"
            daemon.wait_events("worker_started", count)
        # with delays that double, the last replacement would come after any deadline of a test
        assert fetch(daemon.port())


def reloads_under_way(daemon: Daemon) -> int:
    """Return the number of reloads that have begun and not ended; a reload whose workers keep ending is rejected."""
    ended = len(daemon.find("daemon_reloaded")) + len(daemon.find("reload_rejected"))
    return len(daemon.find("daemon_reloading")) - ended


def test_a_storm_of_signals_loses_no_client() -> None:
    """10,000 signals, any of the six to workers and the harmless ones to the master: all clients are served."""
    dice = random.Random(SEED)
    with serving("-w", "2", env=QUIET) as daemon, unharmed(daemon):
        master = daemon.process.pid
        running = load(daemon.port(), threads=10, clients=100)
        for number in range(10_000):
            if number % 50 == 0:
                assert fetch(daemon.port())
                workers = children(master)
            if dice.random() < 0.5:
                os.kill(master, dice.choice(HARMLESS))
            elif workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(dice.choice(workers), dice.choice(SIX))
        assert outcomes(running) == {"whole": 1000}
        figures = figures_of(daemon, accepted=1201)
        assert (figures["accepted"], figures["dropped"]) == (1201, 0)
        wait_until(lambda: bool(daemon.find("log_lost")) or not reloads_under_way(daemon), "every reload has ended")
        # a log with lost lines cannot show which reloads have ended
        assert not daemon.find("log_lost")
        assert daemon.find("daemon_reloaded")


def test_a_storm_of_all_signals_stops_the_master_with_0() -> None:
    """The master gets any of the six signals until it has ended: its figures add up, and no process is left."""
    dice = random.Random(SEED)
    with serving("-w", "2", env=QUIET, expect_killed=True) as daemon:
        assert fetch(daemon.port())
        over = time.monotonic() + DEADLINE_S
        while daemon.process.poll() is None:
            assert time.monotonic() < over, "the master does not end"
            daemon.send(dice.choice(SIX))
        assert daemon.wait() == 0
        stopped = daemon.wait_event("daemon_stopped")
        assert stopped["accepted"] == stopped["served"] + stopped["dropped"] == 1


# -- files -----------------------------------------------------------------------------------------------------------


def version(number: int) -> str:
    """Return a configuration of which every part is invalid, and which shows in every reply."""
    return 'format = "strftime:' + f"{number} " * 20 + '."\n'


def is_whole(reply: bytes) -> bool:
    """Return whether a reply is that of a whole version; an empty file, after a cut, has the default format."""
    return reply.startswith(b"The Date Time is: ") or re.fullmatch(rb"(\d+ )\1{19}\.\r\n", reply) is not None


def test_a_configuration_rewritten_while_it_is_reloaded_is_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    """A file is replaced, or cut and written in pieces, with HUPs in between: no reply shows a part of a version."""
    dice = random.Random(SEED)
    config, new = tmp_path / "daytimed.toml", tmp_path / "new"
    config.write_text(version(0))
    with serving("-l", "127.0.0.1:0", "-w", "2", config=config, env=QUIET) as daemon, unharmed(daemon):
        for number in range(1, 40):
            text = version(number)
            if number % 2:
                new.write_text(text)
                new.rename(config)
                daemon.send(signal.SIGHUP)
                reply = text.partition(":")[2].encode().replace(b'"\n', b"\r\n")
                wait_until(lambda reply=reply: fetch(daemon.port()) == reply, "the version is served")  # type: ignore[misc]
            else:
                with config.open("w") as file:
                    for start in range(0, len(text), 25):
                        file.write(text[start : start + 25])
                        file.flush()
                        if dice.random() < 0.5:
                            daemon.send(signal.SIGHUP)
                        assert is_whole(fetch(daemon.port()))
        new.write_text(text[:25])
        new.rename(config)
        count = len(daemon.find("reload_rejected"))
        daemon.send(signal.SIGHUP)
        daemon.wait_events("reload_rejected", count + 1)
        assert fetch(daemon.port()) == reply


@needs("setpriv")
def test_a_configuration_that_cannot_be_read_is_rejected_and_nothing_changes(tmp_path: Path) -> None:
    """A file that is missing, unreadable, a folder or a link to itself: the old workers serve on."""
    folder = tmp_path / "folder"
    folder.mkdir()
    config = folder / "daytimed.toml"
    config.write_text(LISTENER)
    # root can read every file, unless it lacks these capabilities
    prefix = (
        ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"] if os.geteuid() == 0 else []
    )
    with serving(config=config, env=UNTRACED, prefix=prefix) as daemon, unharmed(daemon):
        workers = daemon.live_workers()

        def rejected(error: str) -> None:
            count = len(daemon.find("reload_rejected"))
            daemon.send(signal.SIGHUP)
            assert error in daemon.wait_events("reload_rejected", count + 1)[-1]["error"]
            assert fetch(daemon.port())
            assert daemon.live_workers() == workers

        folder.chmod(0)
        rejected("Permission denied")
        folder.chmod(0o755)
        config.unlink()
        rejected("No such file or directory")
        config.mkdir()
        rejected("Is a directory")
        config.rmdir()
        config.symlink_to(config)
        rejected("Too many levels of symbolic links")
        config.unlink()
        config.write_text(LISTENER)
        daemon.send(signal.SIGHUP)
        daemon.wait_event("daemon_reloaded")


def ask_unix(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(DEADLINE_S)
        client.connect(str(path))
        return read_all(client)


def test_a_stolen_unix_path_is_reported_at_the_reload_and_left_to_the_thief(tmp_path: Path) -> None:
    """If another process binds the path, the reload is rejected; the port is served, and the thief's socket stays."""
    path = tmp_path / "socket"
    with serving("-l", "127.0.0.1:0", "-l", f"unix://{path}", "-w", "1", env=UNTRACED) as daemon, unharmed(daemon):
        workers = daemon.live_workers()
        assert ask_unix(path)
        path.unlink()
        with socket.socket(socket.AF_UNIX) as thief:
            thief.bind(str(path))
            thief.listen()
            daemon.send(signal.SIGHUP)
            error = daemon.wait_event("reload_rejected")["error"]
            assert error.startswith(
                f"unix://{path}: cannot listen: Address already in use; stop the program that uses it"
            )
            assert fetch(daemon.port())
            assert daemon.live_workers() == workers
        # the thief's socket is stale now, so that the daemon may take the path
        daemon.send(signal.SIGHUP)
        daemon.wait_event("daemon_reloaded")
        assert ask_unix(path)
        path.unlink()
        stolen = socket.socket(socket.AF_UNIX)
        stolen.bind(str(path))
    stolen.close()
    assert path.is_socket()
