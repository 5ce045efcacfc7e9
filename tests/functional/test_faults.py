"""What else a machine does to a daemon: no memory, no disk, held and killed processes, storms, files that change."""

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

#: What is random is the same every time.
SEED = 867
#: So that the log is not what is measured.
QUIET = {**UNTRACED, "DAYTIMED_LOG_CLIENTS": "none"}

LISTENER = 'workers = 1\n[[listener]]\naddress = "127.0.0.1:0"\n'


# -- memory ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def without_memory(*pids: int, more: int = 0) -> Iterator[None]:
    """Let processes have only so many bytes more than they have; in the end those that are left, what they want."""
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
    """Every client has its reply, those that write too; what a worker needs for one it has from the start."""
    with serving("-w", "2", env=UNTRACED) as daemon, unharmed(daemon):
        workers = daemon.live_workers()
        with without_memory(*workers):
            for turn in range(100):
                assert fetch(daemon.port(), request=b"x" * 1000 * (turn % 2))
        assert daemon.live_workers() == workers


def test_a_master_that_gets_no_more_memory_replaces_counts_and_rejects(tmp_path: Path) -> None:
    """It replaces a worker, tells its statistics and rejects a reload; with memory again, the reload is taken."""
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
        # forked while there was none, the worker may have none: it goes with the reload
        daemon.send(signal.SIGHUP)
        daemon.wait_event("daemon_reloaded")
        assert fetch(daemon.port()).strip().isdigit()


@pytest.mark.parametrize("more_mib", [3, 6])
def test_a_configuration_that_memory_does_not_suffice_for_is_rejected(more_mib: int, tmp_path: Path) -> None:
    """It may fail at any point of the reload, again and again: the workers serve on, and a smaller one is taken."""
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
    """Whatever fails, nobody is left to connect to a socket that no worker accepts from."""
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
    """The log's file system fills while it serves: all are served; with room again, the loss is told, and is exact."""
    skip_without_mounts("unshare", "--mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    # what the log says is read from the file, by a process that ends with the daemon
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
        # the page that the log is in has room for some
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
    """SIGSTOP of the master: its workers serve on; one that is killed meanwhile is replaced when it goes on."""
    with serving("-w", "2", env=QUIET) as daemon, unharmed(daemon):
        running = load(daemon.port(), threads=10, clients=200)
        figures_of(daemon, accepted=100)
        daemon.send(signal.SIGSTOP)
        wait_until(lambda: process_state(daemon.process.pid) == "T", "the master is held")
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
    """Fifty times, master or worker, held for a client or killed: the others serve."""
    dice = random.Random(SEED)
    with serving("-w", "3", env=QUIET) as daemon, unharmed(daemon):
        for _ in range(50):
            wait_until(lambda: len(daemon.live_workers()) == 3, "every worker is there")
            victim = dice.choice([daemon.process.pid, *daemon.live_workers()])
            if victim == daemon.process.pid or dice.random() < 0.5:
                os.kill(victim, signal.SIGSTOP)
                wait_until(lambda victim=victim: process_state(victim) == "T", "it is held")  # type: ignore[misc]
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
    """Send SIGTERM, and say whether there is nobody any more to send it to."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    return process_state(pid) == ""


def test_a_worker_that_a_stranger_ends_is_replaced_at_once() -> None:
    """SIGTERM of somebody else is obeyed, and is no failure: no delay, though it had no client; INT is not obeyed."""
    with serving("-w", "1", env=UNTRACED) as daemon, unharmed(daemon):
        for count in range(2, 13):
            (worker,) = daemon.live_workers()
            os.kill(worker, signal.SIGINT)
            # again and again, as the master asks: one that falls just before accept is seen at the next client only
            wait_until(lambda worker=worker: ask_to_end(worker), "the worker has ended")  # type: ignore[misc]
            assert daemon.wait_event("worker_exited", pid=worker)["how"] == "exited with status 0"
            daemon.wait_events("worker_started", count)
        # after delays that double, the last would come later than any test waits
        assert fetch(daemon.port())


def reloads_under_way(daemon: Daemon) -> int:
    """Return how many have begun and not ended; one whose workers are asked to end again and again may be given up."""
    ended = len(daemon.find("daemon_reloaded")) + len(daemon.find("reload_rejected"))
    return len(daemon.find("daemon_reloading")) - ended


def test_a_storm_of_signals_loses_no_client() -> None:
    """10,000 signals: any of the six to workers, those that do not stop it to the master; all clients are served."""
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
        # without all its lines the log cannot say what has ended
        assert not daemon.find("log_lost")
        assert daemon.find("daemon_reloaded")


def test_a_storm_of_all_signals_stops_the_master_with_0() -> None:
    """Any of the six, until it has ended: it adds up to the end, and nobody is left."""
    dice = random.Random(SEED)
    with serving("-w", "2", env=QUIET, expect_killed=True) as daemon:
        assert fetch(daemon.port())
        over = time.monotonic() + DEADLINE_S
        while daemon.process.poll() is None:
            assert time.monotonic() < over, "it does not end"
            daemon.send(dice.choice(SIX))
        assert daemon.wait() == 0
        stopped = daemon.wait_event("daemon_stopped")
        assert stopped["accepted"] == stopped["served"] + stopped["dropped"] == 1


# -- files -----------------------------------------------------------------------------------------------------------


def version(number: int) -> str:
    """Return a configuration whose every part but the whole is wrong, and that every reply shows."""
    return 'format = "strftime:' + f"{number} " * 20 + '."\n'


def is_whole(reply: bytes) -> bool:
    """Say whether it is as a whole version has it; an empty file, as it is when it is cut, has the default format."""
    return reply.startswith(b"The Date Time is: ") or re.fullmatch(rb"(\d+ )\1{19}\.\r\n", reply) is not None


def test_a_configuration_rewritten_while_it_is_reloaded_is_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    """Replaced, or cut and written in pieces, with HUPs in between: no reply is of a half, and the last one counts."""
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
    """Deleted, a folder, in a folder that is closed to it, or a link to itself: the workers of before serve on."""
    folder = tmp_path / "folder"
    folder.mkdir()
    config = folder / "daytimed.toml"
    config.write_text(LISTENER)
    # root reads everything, without these too
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


def test_a_stolen_unix_path_is_told_at_the_reload_and_left_to_the_thief(tmp_path: Path) -> None:
    """Another process binds there: the reload is rejected, the port is served on, and the thief's socket stays."""
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
        # its socket is stale now, and whoever binds next may have the path
        daemon.send(signal.SIGHUP)
        daemon.wait_event("daemon_reloaded")
        assert ask_unix(path)
        path.unlink()
        stolen = socket.socket(socket.AF_UNIX)
        stolen.bind(str(path))
    stolen.close()
    assert path.is_socket()
