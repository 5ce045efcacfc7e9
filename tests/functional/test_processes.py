"""The master and its workers: start, stop, reload, respawn, and the loss of either."""

from __future__ import annotations

import json
import os
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aftermath import children, zombies
from harness import (
    DAYTIMED,
    DEADLINE_S,
    UNTRACED,
    Daemon,
    clean_environment,
    fetch,
    needs,
    process_state,
    program,
    read_all,
    serving,
    wait_until,
)
from name_servers import HOST, name_server

from daytimed.cpus import MOST_PER_LISTENER, usable_cpus


def test_the_master_forks_the_workers_that_are_wanted_and_has_no_threads() -> None:
    """`-w 3` starts three workers for one listener; the master has one thread."""
    with serving("-w", "3") as daemon:
        assert sorted(children(daemon.process.pid)) == sorted(daemon.live_workers())
        assert len(daemon.live_workers()) == 3
        assert len(list(Path(f"/proc/{daemon.process.pid}/task").iterdir())) == 1


def test_workers_default_to_one_for_each_usable_cpu() -> None:
    """Without a number, the daemon starts one worker for each CPU that it may use, at most 8."""
    with serving() as daemon:
        assert len(daemon.live_workers()) == min(usable_cpus(), MOST_PER_LISTENER)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_term_and_int_stop_with_status_0(number: signal.Signals) -> None:
    """Either signal stops the daemon, which logs its name and figures that add up."""
    with serving() as daemon:
        fetch(daemon.port())
        daemon.send(number)
        assert daemon.wait() == 0
        assert daemon.find("daemon_stopping", signal=number.name)
        stopped = daemon.wait_event("daemon_stopped")
        assert (stopped["accepted"], stopped["served"], stopped["dropped"]) == (1, 1, 0)


def test_a_signal_to_the_whole_process_group_is_a_clean_stop() -> None:
    """Ctrl-C reaches the master and the workers; every worker still stops as asked."""
    with serving("-w", "4", start_new_session=True) as daemon:
        os.killpg(daemon.process.pid, signal.SIGINT)
        assert daemon.wait() == 0
        assert [event["how"] for event in daemon.find("worker_exited")] == ["stopped as asked"] * 4


def test_a_second_term_stops_at_once() -> None:
    """The second TERM kills a worker that cannot stop, before the deadline."""
    with serving("-w", "1", expect_killed=True) as daemon:
        worker = daemon.live_workers()[0]
        os.kill(worker, signal.SIGSTOP)
        daemon.send(signal.SIGTERM)
        daemon.wait_event("daemon_stopping")
        begun = time.monotonic()
        daemon.send(signal.SIGTERM)
        assert daemon.wait() == 0
        assert daemon.wait_event("worker_exited", pid=worker)["how"] == "was killed by SIGKILL"
        assert time.monotonic() - begun < 4, "the deadline of a stop is 5 s"


def test_a_worker_that_does_not_stop_is_killed_at_the_deadline() -> None:
    """One TERM is enough: the master kills a stopped worker, and the daemon exits with 0."""
    with serving("-w", "1", expect_killed=True) as daemon:
        worker = daemon.live_workers()[0]
        os.kill(worker, signal.SIGSTOP)
        daemon.send(signal.SIGTERM)
        assert daemon.wait() == 0
        assert daemon.wait_event("worker_exited", pid=worker)["how"] == "was killed by SIGKILL"


def test_a_killed_worker_is_replaced_at_once_when_it_has_served() -> None:
    """The replacement serves the listener, and the figures include those of the dead worker."""
    with serving("-w", "1") as daemon:
        fetch(daemon.port())
        # the worker counts a client before it logs it
        daemon.wait_event("client_served")
        os.kill(daemon.live_workers()[0], signal.SIGKILL)
        event = daemon.wait_event("worker_exited")
        assert (event["level"], event["how"], event["served"]) == ("warning", "was killed by SIGKILL", 1)
        daemon.wait_events("worker_started", 2)
        assert fetch(daemon.port())
        figures = daemon.statistics(accepted=2)
        assert (figures["accepted"], figures["served"]) == (2, 2)


def test_a_worker_that_dies_again_and_again_before_its_first_client_is_delayed_ever_longer() -> None:
    """The delay grows with each replacement of a worker that has not served."""
    with serving("-w", "1") as daemon:
        stamps = []
        for count in range(1, 5):
            daemon.wait_events("worker_started", count)
            pid = daemon.worker_pids()[-1]
            # a ready worker, whose stop signal is no longer blocked: its death is not a failed start
            wait_until(lambda pid=pid: is_accepting(pid), "the worker accepts")  # type: ignore[misc]
            os.kill(pid, signal.SIGKILL)
            daemon.wait_event("worker_exited", pid=pid)
            stamps.append(time.monotonic())
        daemon.wait_events("worker_started", 5)
        assert stamps[3] - stamps[2] > 0.15
        assert fetch(daemon.port())


def is_accepting(pid: int) -> bool:
    wchan = Path(f"/proc/{pid}/syscall")
    try:
        return wchan.read_text().split()[0] in ("288", "43", "242", "202")
    except (OSError, IndexError):
        return False


@pytest.mark.parametrize(
    ("broken", "how", "level"),
    [("worker.main", "failed", "error"), ("generation.Generation.make_worker", "could not be made", "warning")],
)
def test_a_daemon_whose_workers_cannot_start_gives_up_with_70(broken: str, how: str, level: str) -> None:
    """If no worker can be made or started, the daemon exits with one line; the log has the reasons."""
    script = (
        "import sys\n"
        "from daytimed import cli, generation, worker\n"
        "def fail(*rest):\n"
        "    raise RuntimeError('it is broken')\n"
        f"{broken} = fail\n"
        "sys.exit(cli.main())\n"
    )
    program = [sys.executable, "-c", script]
    with Daemon(
        "-l", "127.0.0.1:0", "-w", "1", program=program, expect_exit=70, expect_traceback=level == "error"
    ) as daemon:
        assert daemon.wait() == 70
    assert daemon.lines[-1] == "daytimed: no worker of daytime can be started: 6 tries failed; the log says why"
    assert len(daemon.find("worker_exited", level=level, how=f"{how}: RuntimeError('it is broken')")) == 6


def scarce(flag: Path, workers: int) -> list[str]:
    """Return the command of a daemon that has memory for `workers` more workers while the file exists."""
    script = (
        "import os, sys\n"
        "from daytimed import cli, generation\n"
        "real = generation.Generation.make_worker\n"
        "made = []\n"
        "def make_worker(self, *rest):\n"
        f"    if os.path.exists({str(flag)!r}):\n"
        f"        if len(made) == {workers}:\n"
        "            raise MemoryError\n"
        "        made.append(rest)\n"
        "    return real(self, *rest)\n"
        "generation.Generation.make_worker = make_worker\n"
        "sys.exit(cli.main())\n"
    )
    return [sys.executable, "-c", script]


@pytest.mark.parametrize(("killed", "memory_for"), [(1, 0), (2, 1)])
def test_a_worker_that_cannot_be_made_costs_the_others_nothing(tmp_path: Path, killed: int, memory_for: int) -> None:
    """The other workers serve; the master logs the missing one and retries until it starts."""
    flag = tmp_path / "flag"
    with serving("-w", "2", program=scarce(flag, memory_for)) as daemon:
        victims = daemon.live_workers()[:killed]
        flag.touch()
        # the master finds all of them dead at once
        os.kill(daemon.process.pid, signal.SIGSTOP)
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        os.kill(daemon.process.pid, signal.SIGCONT)
        daemon.wait_event("worker_exited", level="warning", pid=None, how="could not be made: MemoryError()")
        assert fetch(daemon.port())
        assert len(daemon.live_workers()) == 1
        flag.unlink()
        wait_until(lambda: len(daemon.live_workers()) == 2, "two workers run again")
        assert fetch(daemon.port())


def test_a_stopped_worker_is_stuck_and_replaced() -> None:
    """The master kills and replaces a worker that SIGSTOP holds, and logs it."""
    with serving("-w", "1") as daemon:
        held = daemon.live_workers()[0]
        os.kill(held, signal.SIGSTOP)
        assert daemon.wait_event("worker_stuck")["pid"] == held
        assert daemon.wait_event("worker_exited", pid=held)["how"] == "was killed by SIGKILL"
        assert fetch(daemon.port())


def test_a_worker_that_is_stopped_and_goes_on_is_left_alone() -> None:
    """A worker that gets SIGCONT in time serves on and is not replaced."""
    with serving("-w", "1") as daemon:
        held = daemon.live_workers()[0]
        os.kill(held, signal.SIGSTOP)
        wait_until(lambda: process_state(held) == "T", "the worker is stopped")
        os.kill(held, signal.SIGCONT)
        assert fetch(daemon.port())
        assert daemon.live_workers() == [held]


@pytest.mark.parametrize("load", [False, True])
def test_orphans_end_themselves(load: bool) -> None:
    """Workers end when the master is killed, so that the port is free for the next start."""
    with serving("-w", "4", expect_exit=-signal.SIGKILL) as daemon:
        port, workers = daemon.port(), daemon.live_workers()
        if load:
            fetch(port)
        daemon.send(signal.SIGKILL)
        daemon.wait()
        wait_until(lambda: not any(process_state(pid) not in ("", "Z") for pid in workers), "all workers are gone")
    with serving("-l", f"127.0.0.1:{port}") as daemon:
        assert fetch(port)


def test_a_reload_takes_the_new_configuration_and_keeps_the_socket(tmp_path: Path) -> None:
    """HUP starts new workers with the new format on the same socket, and then the old ones retire."""
    config = tmp_path / "daytimed.toml"
    config.write_text('workers = 1\n[[listener]]\naddress = "127.0.0.1:0"\n')
    with serving(config=config) as daemon:
        port, old = daemon.port(), daemon.live_workers()
        config.write_text('workers = 2\nformat = "unix"\n[[listener]]\naddress = "127.0.0.1:0"\n')
        daemon.send(signal.SIGHUP)
        daemon.wait_event("daemon_reloaded", generation=2)
        daemon.wait_event("worker_exited", pid=old[0], how="stopped as asked")
        assert fetch(port).strip().isdigit()
        assert len(daemon.live_workers()) == 2
        assert not daemon.find("listener_closed")


def test_a_reload_opens_and_closes_listeners(tmp_path: Path) -> None:
    """A reload opens the listeners that the file adds and closes those that it removes."""
    config, path = tmp_path / "daytimed.toml", tmp_path / "socket"
    config.write_text(f'[[listener]]\naddress = "127.0.0.1:0"\n[[listener]]\naddress = "unix://{path}"\n')
    with serving(config=config) as daemon:
        config.write_text('[[listener]]\naddress = "127.0.0.1:0"\n[[listener]]\nname="v6"\naddress = "[::1]:0"\n')
        daemon.send(signal.SIGHUP)
        daemon.wait_event("daemon_reloaded")
        assert daemon.wait_event("listener_closed")["address"] == f"unix://{path}"
        assert not path.exists()
        assert fetch(daemon.port("v6"), "::1")
        assert fetch(daemon.port("daytime"))


def test_a_reload_keeps_every_port_that_the_kernel_chose(tmp_path: Path) -> None:
    """Each listener on port 0 keeps its port across a reload, even if its host name has two addresses."""
    config = tmp_path / "daytimed.toml"
    config.write_text(
        '[[listener]]\naddress = "127.0.0.1:0"\n[[listener]]\nformat = "unix"\naddress = "127.0.0.1:0"\n'
        '[[listener]]\naddress = "localhost:0"\n'
    )
    with serving("-w", "1", config=config) as daemon:
        before, ports = daemon.bound(), (daemon.port("daytime"), daemon.port("daytime-2"))
        daemon.send(signal.SIGHUP)
        daemon.wait_event("daemon_reloaded")
        assert daemon.bound() == before
        assert fetch(ports[0]).startswith(b"The Date Time is: ")
        assert fetch(ports[1]).strip().isdigit()
        assert len(daemon.live_workers()) == len(before)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("workers = [", "the [ in line 1 is not closed"),
        ("", "it is empty"),
        ('format = "nosuch"\nworkers = -1', "format: 'nosuch' is not a format"),
        (None, "No such file or directory"),
        ('[[listener]]\naddress = "127.0.0.1:PORT"\n', "Address already in use"),
    ],
)
def test_a_reload_that_fails_changes_nothing(tmp_path: Path, text: str | None, reason: str) -> None:
    """An invalid, empty or missing file or an address in use: reload_rejected, and the same workers serve on."""
    config = tmp_path / "daytimed.toml"
    config.write_text('[[listener]]\naddress = "127.0.0.1:0"\n')
    with serving(config=config) as daemon, socket.create_server(("127.0.0.1", 0)) as taken:
        workers = daemon.live_workers()
        if text is None:
            config.unlink()
        else:
            config.write_text(text.replace("PORT", str(taken.getsockname()[1])))
        daemon.send(signal.SIGHUP)
        event = daemon.wait_event("reload_rejected")
        assert reason in event["error"]
        assert event["level"] == "error"
        assert "\n" not in event["error"]
        assert fetch(daemon.port())
        assert daemon.live_workers() == workers
        config.write_text('format = "unix"\n[[listener]]\naddress = "127.0.0.1:0"\n')
        daemon.send(signal.SIGHUP)
        daemon.wait_event("daemon_reloaded")
        assert fetch(daemon.port()).strip().isdigit()


def test_a_reload_without_the_default_file_of_the_start_is_rejected(tmp_path: Path) -> None:
    """The file that was read at the start must not be missing later: its access rules would be lost."""
    config = tmp_path / "daytimed.toml"
    config.write_text('[[listener]]\naddress = "127.0.0.1:0"\n')
    script = (
        f"from daytimed.config import load; load.DEFAULT_PATH = {str(config)!r}; from daytimed import cli; cli.main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, "--log-format", "json"], env=clean_environment(), stderr=subprocess.PIPE
    )
    assert process.stderr
    try:
        events = (json.loads(line) for line in process.stderr)
        next(event for event in events if event["event"] == "daemon_ready")
        config.unlink()
        process.send_signal(signal.SIGHUP)
        rejected = next(event for event in events if event["event"] in {"reload_rejected", "daemon_reloaded"})
        assert f"{config}: No such file or directory" in rejected["error"]
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE_S)


def test_a_reload_that_runs_out_of_descriptors_changes_nothing(tmp_path: Path) -> None:
    """A reload with more listeners than descriptors is rejected with one sentence, and the old workers serve on."""
    config = tmp_path / "daytimed.toml"
    config.write_text('[[listener]]\naddress = "127.0.0.1:0"\n')
    with serving(config=config, prefix=["prlimit", "--nofile=16:16"]) as daemon:
        more = "".join(f'[[listener]]\naddress = "unix://{tmp_path}/{number}"\n' for number in range(14))
        config.write_text(config.read_text() + more)
        daemon.send(signal.SIGHUP)
        assert "Too many open files" in daemon.wait_event("reload_rejected")["error"]
        assert fetch(daemon.port())
        assert [path for path in tmp_path.iterdir() if path.is_socket()] == []


def test_a_reload_whose_workers_do_not_start_is_rejected_and_has_served_nobody(tmp_path: Path) -> None:
    """The workers of a generation start together or not at all: if one fails, none of them serves."""
    config, flag = tmp_path / "daytimed.toml", tmp_path / "flag"
    script = (
        "import os, sys\n"
        "from daytimed import cli, worker\n"
        "real = worker.main\n"
        "def main(own, *rest):\n"
        f"    if os.path.exists({str(flag)!r}) and own.name == 'daytime-2':\n"
        "        sys.exit(1)\n"
        "    return real(own, *rest)\n"
        "worker.main = main\n"
        "sys.exit(cli.main())\n"
    )
    config.write_text('[[listener]]\naddress = "127.0.0.1:0"\n')
    program = [sys.executable, "-c", script]
    with serving("-w", "1", config=config, program=program, expect_traceback=True) as daemon:
        workers = daemon.live_workers()
        flag.touch()
        config.write_text('format = "unix"\n' + config.read_text() + '[[listener]]\naddress = "[::1]:0"\n')
        daemon.send(signal.SIGHUP)
        daemon.wait_event("worker_started", generation=2, listener="daytime")
        while not daemon.find("reload_rejected"):
            assert fetch(daemon.port()).startswith(b"The Date Time is: ")
        assert daemon.wait_event("reload_rejected")["error"].startswith("the workers of the new configuration do not")
        wait_until(lambda: daemon.live_workers() == workers, "only the old workers are left")
        flag.unlink()
        daemon.send(signal.SIGHUP)
        daemon.wait_event("daemon_reloaded")
        assert fetch(daemon.port()).strip().isdigit()


def test_a_worker_that_hangs_before_it_is_ready_is_replaced(tmp_path: Path) -> None:
    """A worker that makes no progress at its start is stuck, and is replaced."""
    flag = tmp_path / "flag"
    flag.touch()
    script = (
        "import os, sys, time\n"
        "from daytimed import cli, worker\n"
        "real = worker.main\n"
        "def main(*rest):\n"
        "    try:\n"
        f"        os.unlink({str(flag)!r})\n"
        "    except FileNotFoundError:\n"
        "        return real(*rest)\n"
        "    time.sleep(60)\n"
        "worker.main = main\n"
        "sys.exit(cli.main())\n"
    )
    with serving("-w", "1", program=[sys.executable, "-c", script]) as daemon:
        assert daemon.find("worker_stuck")
        assert fetch(daemon.port())


def test_a_rehearsal_that_fails_does_not_fail_the_start() -> None:
    """If the clients that the master makes before the fork fail, the daemon starts, and counts only the others."""
    script = (
        "import os, sys\n"
        "from daytimed import cli, session\n"
        "master, real = os.getpid(), session.time_ns\n"
        "session.time_ns = lambda: 1 // 0 if os.getpid() == master else real()\n"
        "sys.exit(cli.main())\n"
    )
    with serving("-w", "1", program=[sys.executable, "-c", script]) as daemon:
        assert fetch(daemon.port())
        assert daemon.statistics(1)["served"] == 1


def test_datagrams_are_answered_through_reloads() -> None:
    """Through 20 reloads, every datagram gets its reply."""
    with serving("-l", "udp4://127.0.0.1:0", env={"DAYTIMED_ACCESS_RATE": "1000000"}) as daemon:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(DEADLINE_S)
            client.connect(("127.0.0.1", daemon.port()))
            asked = 0
            while len(daemon.find("daemon_reloaded")) < 20:
                if asked % 100 == 0:
                    daemon.send(signal.SIGHUP)
                client.send(b"")
                assert client.recv(2048)
                asked += 1
        figures = daemon.statistics(accepted=asked)
        assert (figures["served"], figures["dropped"]) == (asked, 0)


def test_a_local_zone_that_is_replaced_is_read_again_at_a_reload(tmp_path: Path) -> None:
    """A reload reads the file that TZ names again."""
    zone = tmp_path / "localtime"
    shutil.copy("/usr/share/zoneinfo/Asia/Kolkata", zone)
    with serving("-f", "iso8601", env={"TZ": f":{zone}"}) as daemon:
        assert fetch(daemon.port()).endswith(b"+05:30\r\n")
        zone.unlink()
        shutil.copy("/usr/share/zoneinfo/Asia/Tokyo", zone)
        daemon.send(signal.SIGHUP)
        daemon.wait_event("daemon_reloaded")
        assert fetch(daemon.port()).endswith(b"+09:00\r\n")


def test_a_worker_killed_by_a_signal_without_a_name_is_replaced() -> None:
    """The master replaces a worker that a real-time signal kills; signal 35 has no name."""
    with serving("-w", "1") as daemon:
        os.kill(daemon.live_workers()[0], 35)
        assert daemon.wait_event("worker_exited")["how"] == "was killed by signal 35"
        daemon.wait_events("worker_started", 2)
        assert fetch(daemon.port())


def test_a_reload_to_a_looser_limit_is_felt_at_once(tmp_path: Path) -> None:
    """A reload applies a higher rate at once, to sources and to the log: the old use is no debt."""
    config = tmp_path / "daytimed.toml"
    listener = '[[listener]]\naddress = "127.0.0.1:0"\n'
    tight = "[access]\nrate = 0.001\nburst = 1\n[log]\nclient_rate = 0.001\nclient_burst = 1\n"
    config.write_text(listener + tight)
    with serving("-w", "1", config=config) as daemon:
        assert [bool(fetch(daemon.port())) for _ in range(3)] == [True, False, False]
        config.write_text(listener + "[access]\nrate = 1000\nburst = 1000\n[log]\nclient_rate = 1000\n")
        daemon.send(signal.SIGHUP)
        daemon.wait_event("daemon_reloaded")
        # the first may still be dropped: the used-up burst carries over, in the new unit
        wait_until(lambda: bool(fetch(daemon.port())), "the source is served")
        wait_until(lambda: bool(fetch(daemon.port())) and len(daemon.find("client_served")) > 1, "clients are logged")


def test_a_unix_socket_whose_path_was_removed_is_made_again_by_a_reload(tmp_path: Path) -> None:
    """After `rm` of the path and HUP, clients can connect again."""
    path = tmp_path / "socket"
    with serving("-l", f"unix://{path}") as daemon:
        path.unlink()
        daemon.send(signal.SIGHUP)
        daemon.wait_event("daemon_reloaded")
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(DEADLINE_S)
            client.connect(str(path))
            assert read_all(client)
    assert not path.exists()


def test_a_storm_of_signals_leaves_it_serving() -> None:
    """After two thousand signals of all kinds except the stops, it serves, its figures add up, and it stops with 0."""
    with serving() as daemon:
        kinds = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD)
        for turn in range(2000):
            daemon.send(kinds[turn % len(kinds)])
        assert fetch(daemon.port())
        assert daemon.statistics(accepted=1)["served"] == 1


def sleeps_without_timeout(pid: int) -> bool:
    """Return whether a process waits without a timeout: the third argument of rt_sigtimedwait(2) is null."""
    return Path(f"/proc/{pid}/syscall").read_text().split()[3:4] == ["0x0"]


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_an_idle_daemon_makes_no_system_call(tmp_path: Path) -> None:
    """Master and workers sleep for ten seconds: strace of all of them shows no call."""
    trace = tmp_path / "trace"
    with serving("-l", "tcp://127.0.0.1:0", "-l", "udp://127.0.0.1:0") as daemon:
        fetch(daemon.port())
        master = daemon.process.pid
        # after a client it watches its workers for a moment; then it sleeps in rt_sigtimedwait without a timeout
        wait_until(lambda: sleeps_without_timeout(master), "the master sleeps without a timeout")
        pids = [argument for pid in (master, *daemon.live_workers()) for argument in ("-p", str(pid))]
        done = subprocess.run(
            ["timeout", "--signal=INT", "10", "strace", "-f", "-qq", "-o", str(trace), *pids],
            capture_output=True, text=True, check=False, timeout=DEADLINE_S,
        )  # fmt: skip
        if "Operation not permitted" in done.stderr:
            pytest.skip("strace may not attach here")
        # strace shows the call that each process waits in as unfinished; any other call is a wake-up
        calls = [
            line for line in trace.read_text().splitlines() if "detached" not in line and "<unfinished" not in line
        ]
        begun = [line for line in trace.read_text().splitlines() if "<unfinished" in line or "detached" in line]
        assert calls == []
        assert len(begun) <= 1 + len(daemon.live_workers())


def test_out_of_descriptors_a_worker_pauses_and_goes_on() -> None:
    """Without a descriptor for a client, a worker logs one warning and pauses; then it serves the waiting client."""
    with serving("-w", "1") as daemon:
        worker = daemon.live_workers()[0]
        fetch(daemon.port())
        limit = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (0, limit[1]))
        with socket.create_connection(("127.0.0.1", daemon.port()), timeout=DEADLINE_S) as waiting:
            paused = daemon.wait_event("accept_paused")
            assert (paused["level"], paused["error"]) == ("warning", "Too many open files")
            resource.prlimit(worker, resource.RLIMIT_NOFILE, limit)
            assert read_all(waiting)
        # the next client makes the worker log the end of the pause, whether or not the waiting one met the limit
        assert fetch(daemon.port())
        daemon.wait_event("accept_resumed")
        assert len(daemon.find("accept_paused")) == 1
        assert daemon.live_workers() == [worker]


def test_with_16_descriptors_a_flood_is_served() -> None:
    """With an RLIMIT_NOFILE of 16, four hundred clients that connect at once get their replies."""
    limit = ["prlimit", "--nofile=16:16"]
    with serving(prefix=limit) as daemon:
        clients = [socket.create_connection(("127.0.0.1", daemon.port()), timeout=DEADLINE_S) for _ in range(400)]
        for client in clients:
            with client:
                assert read_all(client)
        assert daemon.statistics(accepted=400)["served"] == 400


def as_user(number: int) -> list[str]:
    """Return the prefix that runs a command as another user, who may read the interpreter wherever it is."""
    return [
        "setpriv", f"--reuid={number}", f"--regid={number}", "--clear-groups",
        "--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--bounding-set=-all,+dac_override",
    ]  # fmt: skip


def limit_processes(pid: int, soft: str) -> None:
    """Set RLIMIT_NPROC of a process of that user, as that user: root without CAP_SYS_RESOURCE cannot."""
    command = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", "prlimit", f"--pid={pid}"]
    subprocess.run([*command, f"--nproc={soft}:"], check=True, capture_output=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_when_fork_fails_the_workers_that_are_left_serve_on() -> None:
    """At the process limit, the master logs that it cannot replace a killed worker, and retries until it can."""
    with serving("-w", "2", prefix=as_user(54321)) as daemon:
        fetch(daemon.port())
        master = daemon.process.pid
        limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
        limit_processes(master, "1")
        victim, survivor = daemon.live_workers()
        os.kill(victim, signal.SIGKILL)
        failed = daemon.wait_event("worker_exited", pid=None)
        assert failed["how"] == "could not be forked: Resource temporarily unavailable"
        assert failed["level"] == "warning"
        daemon.wait_events("worker_exited", 3, pid=None)
        assert fetch(daemon.port())
        assert survivor in daemon.live_workers()
        limit_processes(master, "unlimited" if limit == resource.RLIM_INFINITY else str(limit))
        daemon.wait_events("worker_started", 3)


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_when_fork_fails_a_reload_is_rejected(tmp_path: Path) -> None:
    """At the process limit, the master does not ask name servers itself; the next reload succeeds."""
    config = tmp_path / "daytimed.toml"
    config.write_text('workers = 1\n[[listener]]\naddress = "127.0.0.1:0"\n')
    with name_server(tmp_path) as names, serving(config=config, prefix=[*names.prefix, *as_user(54321)]) as daemon:
        limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
        limit_processes(daemon.process.pid, "1")
        config.write_text(f'workers = 1\n[[listener]]\naddress = "127.0.0.1:0"\n[[listener]]\naddress = "{HOST}:0"\n')
        daemon.send(signal.SIGHUP)
        rejected = daemon.wait_event("reload_rejected")
        assert rejected["error"] == "the configuration cannot be loaded: Resource temporarily unavailable"
        limit_processes(daemon.process.pid, "unlimited" if limit == resource.RLIM_INFINITY else str(limit))
        names.answer()
        daemon.send(signal.SIGHUP)
        daemon.wait_event("daemon_reloaded")


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_a_daemon_that_can_fork_nothing_gives_up_with_70() -> None:
    """A start that cannot even fork a process that loads the configuration states the reason and exits with 70."""
    with Daemon("-l", "127.0.0.1:0", prefix=[*as_user(54322), "prlimit", "--nproc=1:1"], expect_exit=70) as daemon:
        assert daemon.wait() == 70
        assert daemon.lines[-1] == "daytimed: the configuration cannot be loaded: Resource temporarily unavailable"


def test_a_daemon_that_can_fork_no_worker_gives_up_with_70() -> None:
    """A start without a single worker logs the reason and exits with 70."""
    script = (
        "import errno, os, sys\n"
        "from daytimed import cli\n"
        "real, forked = os.fork, []\n"
        "def fork():\n"
        "    if forked: raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))\n"
        "    forked.append(True)\n"
        "    return real()\n"
        "os.fork = fork\n"
        "sys.exit(cli.main())\n"
    )
    with Daemon("-l", "127.0.0.1:0", program=[sys.executable, "-c", script], expect_exit=70) as daemon:
        assert daemon.wait() == 70
        assert daemon.lines[-1] == "daytimed: no worker of daytime can be started: 6 tries failed; the log says why"
        assert len(daemon.find("worker_exited", pid=None)) == 6


def test_somebody_making_the_shared_socket_non_blocking_does_not_make_it_spin() -> None:
    """The first worker that meets O_NONBLOCK, set through another copy of the socket, clears it."""
    inherited = socket.create_server(("127.0.0.1", 0))
    inherited.close()
    with serving("-w", "1") as daemon:
        pidfd = os.pidfd_open(daemon.process.pid)
        try:
            copy = next(found for number in range(3, 32) if (found := duplicate(pidfd, number)) is not None)
        except PermissionError:
            pytest.skip("pidfd_getfd is not allowed here")
        finally:
            os.close(pidfd)
        os.set_blocking(copy, False)
        assert fetch(daemon.port())
        assert fetch(daemon.port())
        wait_until(lambda: os.get_blocking(copy), "the socket blocks again")
        os.close(copy)
        assert daemon.live_workers() == daemon.worker_pids()


def duplicate(pidfd: int, number: int) -> int | None:
    """Return a copy of another process's descriptor if it is a listening socket, pidfd_getfd(2)."""
    import ctypes

    copy = ctypes.CDLL(None, use_errno=True).syscall(438, pidfd, number, 0)
    if copy < 0:
        if ctypes.get_errno() == 1:
            raise PermissionError
        return None
    try:
        probe = socket.socket(fileno=os.dup(copy))
        with probe:
            if probe.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                return int(copy)
    except OSError:
        pass
    os.close(copy)
    return None


def test_closed_standard_descriptors_are_not_taken_for_clients() -> None:
    """With descriptors 0, 1 and 2 closed at the start, it serves, and no log line reaches a client."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    process = subprocess.Popen(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *DAYTIMED, "-l", f"127.0.0.1:{port}"], env=clean_environment()
    )
    try:
        wait_until(lambda: connects(port), "it listens")
        for _ in range(20):
            assert fetch(port).startswith(b"The Date Time is: ")
            assert fetch(port).count(b"\n") == 1
    finally:
        process.terminate()
        assert process.wait(DEADLINE_S) == 0


def connects(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_a_foreign_child_is_not_taken_for_a_worker() -> None:
    """The master reaps a child that an earlier program in its process left behind; nothing else changes."""
    script = 'sh -c "exit 3" & exec "$@"'
    with serving(prefix=["sh", "-c", script, "sh"]) as daemon:
        assert fetch(daemon.port())
        assert daemon.live_workers() == daemon.worker_pids()
        wait_until(lambda: not zombies(daemon.process.pid), "the master has reaped it")


def test_a_pipe_that_ends_states_that_nobody_holds_it() -> None:
    """After the stop, no process holds a descriptor that the daemon inherited."""
    reading, writing = os.pipe()
    with serving(pass_fds=[writing], check_descriptors=False):
        os.close(writing)
        assert select.select([reading], [], [], 0)[0] == []
    assert os.read(reading, 1) == b""
    os.close(reading)


@needs("strace")
def test_worker_ends_with_a_master_that_died_during_the_fork() -> None:
    """A worker whose master is killed before the worker has asked for its parent does not outlive the master."""
    # strace ends as its program does
    slow = [program("strace"), "-f", "-o", "/dev/null", "-e", "inject=getppid:delay_enter=1s"]
    code = -signal.SIGKILL
    with Daemon("-l", "127.0.0.1:0", "-w", "4", prefix=slow, env=UNTRACED, expect_exit=code) as daemon:
        pids = [event["pid"] for event in daemon.wait_events("worker_started", 4)]
        os.kill(daemon.wait_event("daemon_starting")["pid"], signal.SIGKILL)
        wait_until(lambda: all(process_state(pid) in ("", "Z") for pid in pids), "every worker has ended")
