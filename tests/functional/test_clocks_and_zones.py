"""A daemon with a stepped, frozen or years-old clock, and with time zones that change while it runs."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aftermath import unharmed
from clocks import LIBFAKETIME, forget_shift, needs_faketime
from harness import UNTRACED, Daemon, fetch, needs, run, serving, wait_until
from managers import Manager

HOUR_S = 3600


# -- the clock -------------------------------------------------------------------------------------------------------


class Clock:
    """The realtime clock of a daemon; libfaketime rereads it from a file at each call."""

    def __init__(self, folder: Path) -> None:
        self._file, self._new = folder / "clock", folder / "clock.new"
        self.set("+0")
        self.env = {
            "LD_PRELOAD": str(LIBFAKETIME), "FAKETIME_TIMESTAMP_FILE": str(self._file), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }  # fmt: skip

    def set(self, text: str) -> None:
        """Set the clock: `+SECONDS` and `-SECONDS` shift it, an instant without a sign freezes it."""
        self._new.write_text(text + "\n")
        self._new.rename(self._file)


@contextlib.contextmanager
def clocked(clock: Clock, config: Path, **options: str) -> Iterator[Daemon]:
    """Start a daemon with this clock and yield it when it is ready."""
    daemon = Daemon(config=config, env={**UNTRACED, **clock.env, **options})
    try:
        with daemon:
            yield daemon.ready()
    finally:
        for pid in [daemon.process.pid, *daemon.worker_pids()]:
            forget_shift(pid)


def told_s(daemon: Daemon) -> int:
    """Return the seconds of its reply."""
    return int(fetch(daemon.port()))


UNIX = 'format = "unix"\nworkers = 2\n[[listener]]\naddress = "127.0.0.1:0"\n'


@needs_faketime
def test_a_clock_that_is_stepped_or_stands_still_is_told_at_once_and_troubles_nobody(tmp_path: Path) -> None:
    """After steps of hours, to 1970 and to 2100, and while frozen: the next reply is right, and no worker is stuck."""
    config, clock = tmp_path / "daytimed.toml", Clock(tmp_path)
    config.write_text(UNIX)
    begun = time.monotonic()
    manager = Manager(tmp_path)
    watched = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "200000"}
    with manager.socket, clocked(clock, config, **watched) as daemon:
        with unharmed(daemon):
            for shift_s in (5 * HOUR_S, -7 * HOUR_S, 0, 24 * HOUR_S, -24 * HOUR_S):
                clock.set(f"{shift_s:+}")
                before = int(time.time())
                told = told_s(daemon)
                assert before + shift_s <= told <= time.time() + shift_s
            for instant, epoch_s in (("1970-01-02 00:00:00", 86400), ("2100-01-01 00:00:00", 4102444800)):
                clock.set(instant)
                assert told_s(daemon) == epoch_s
                # watchdog, reload and respawn with a frozen clock
                manager.forget()
                manager.wait("WATCHDOG=1")
                generation = len(daemon.find("daemon_reloaded"))
                daemon.send(signal.SIGHUP)
                daemon.wait_events("daemon_reloaded", generation + 1)
                victim = daemon.live_workers()[0]
                os.kill(victim, signal.SIGKILL)
                daemon.wait_event("worker_exited", pid=victim)
                wait_until(lambda: len(daemon.live_workers()) == 2, "it is replaced")
                assert told_s(daemon) == epoch_s
            clock.set("+0")
            assert abs(told_s(daemon) - time.time()) < HOUR_S
            assert not daemon.find("worker_stuck")
            assert {event["how"] for event in daemon.find("worker_exited")} == {
                "stopped as asked",
                "was killed by SIGKILL",
            }
        daemon.send(signal.SIGTERM)
        assert daemon.wait() == 0
        assert daemon.wait_event("daemon_stopped")["uptime_s"] <= round(time.monotonic() - begun, 1)


@needs_faketime
def test_limits_do_not_follow_a_clock_that_is_stepped(tmp_path: Path) -> None:
    """Steps of hours, forward or back, do not change what a source, or the log, has left of its rate."""
    config, clock = tmp_path / "daytimed.toml", Clock(tmp_path)
    config.write_text(UNIX + "[access]\nrate = 0.001\nburst = 5\n[log]\nclient_rate = 0.001\nclient_burst = 3\n")
    with clocked(clock, config) as daemon:
        assert [bool(fetch(daemon.port())) for _ in range(6)] == [True] * 5 + [False]
        for shift_s in (5 * HOUR_S, -5 * HOUR_S, 0):
            clock.set(f"{shift_s:+}")
            assert [bool(fetch(daemon.port())) for _ in range(3)] == [False] * 3
        figures = daemon.statistics(accepted=15)
        assert (figures["served"], figures["rate"]) == (5, 10)
        daemon.send(signal.SIGTERM)
        assert daemon.wait() == 0
        assert len(daemon.find("client_served") + daemon.find("client_dropped")) == 3


@pytest.mark.parametrize("years", [8, 100])
@needs("unshare")
def test_a_machine_that_has_run_for_years_is_served_as_on_the_first_day(years: int, tmp_path: Path) -> None:
    """In a time namespace years ahead, limits, reload and respawn work, and the uptime is that of the daemon."""
    offset_s = years * 365 * 86400
    prefix = ["unshare", "--time", f"--monotonic={offset_s}", f"--boottime={offset_s}"]
    script = "import time; print(int(time.monotonic()))"
    done = run(*prefix, "python3", "-c", script)
    if done.returncode != 0 or int(done.stdout) < offset_s:
        pytest.skip("time namespaces are not available here")
    config = tmp_path / "daytimed.toml"
    config.write_text(UNIX + '[access]\nrate = 0.001\nburst = 20\n[log]\nlevel = "info"\n')
    with serving(config=config, prefix=prefix, env=UNTRACED) as daemon:
        with unharmed(daemon):
            assert abs(told_s(daemon) - time.time()) < HOUR_S
            daemon.send(signal.SIGHUP)
            daemon.wait_event("daemon_reloaded")
            victim = daemon.live_workers()[0]
            os.kill(victim, signal.SIGKILL)
            daemon.wait_event("worker_exited", pid=victim)
        replies = [bool(fetch(daemon.port())) for _ in range(20)]
        # unharmed and told_s have used three of the twenty
        assert replies == [True] * 17 + [False] * 3
        daemon.send(signal.SIGTERM)
        assert daemon.wait() == 0
        assert daemon.wait_event("daemon_stopped")["uptime_s"] < HOUR_S


# -- zones -----------------------------------------------------------------------------------------------------------

KOLKATA, TOKYO = b"+05:30\r\n", b"+09:00\r\n"
ZONES = Path("/usr/share/zoneinfo")

needs_zones = pytest.mark.skipif(not (ZONES / "Asia/Tokyo").exists(), reason="tzdata is not installed")


class Database:
    """The time zone database of a daemon, with one zone."""

    def __init__(self, folder: Path) -> None:
        self.zone = folder / "Own" / "Zone"
        self.zone.parent.mkdir()
        self.env = {**UNTRACED, "PYTHONTZPATH": str(folder)}
        self.arguments = ("-f", "iso8601", "-z", "Own/Zone", "-w", "1")
        self.become("Asia/Kolkata")

    def become(self, name: str) -> None:
        """Replace the zone, as a package manager does, with another one of the system's database."""
        shutil.copy(ZONES / name, self.zone.with_name("new"))
        self.zone.with_name("new").rename(self.zone)

    def break_(self, how: str) -> None:
        """Corrupt or remove the file of the zone."""
        if how == "removed":
            self.zone.unlink()
        elif how == "cut short":
            self.zone.write_bytes(self.zone.read_bytes()[:60])
        else:
            self.zone.write_bytes({"garbage": b"\xff\x00no zone" * 100, "empty": b""}[how])


def replace_worker(daemon: Daemon) -> None:
    (victim,) = daemon.live_workers()
    os.kill(victim, signal.SIGKILL)
    daemon.wait_event("worker_exited", pid=victim)
    wait_until(lambda: len(daemon.live_workers()) == 1, "it is replaced")


@needs_zones
def test_a_zone_that_is_replaced_is_the_one_of_the_last_load_for_all_workers(tmp_path: Path) -> None:
    """After the file of a zone changes, old and new workers use the old zone until a reload, then the new one."""
    database = Database(tmp_path)
    with serving(*database.arguments, env=database.env) as daemon, unharmed(daemon):
        database.become("Asia/Tokyo")
        assert fetch(daemon.port()).endswith(KOLKATA)
        replace_worker(daemon)
        assert fetch(daemon.port()).endswith(KOLKATA)
        daemon.send(signal.SIGHUP)
        daemon.wait_event("daemon_reloaded")
        assert fetch(daemon.port()).endswith(TOKYO)


@needs_zones
@pytest.mark.parametrize("how", ["removed", "garbage", "empty", "cut short"])
def test_a_broken_zone_is_no_matter_until_it_is_loaded_and_rejected_then(tmp_path: Path, how: str) -> None:
    """Old and new workers keep the old zone; a reload is rejected and changes nothing."""
    database = Database(tmp_path)
    with serving(*database.arguments, env=database.env) as daemon, unharmed(daemon):
        database.break_(how)
        assert fetch(daemon.port()).endswith(KOLKATA)
        replace_worker(daemon)
        assert fetch(daemon.port()).endswith(KOLKATA)
        workers = daemon.live_workers()
        daemon.send(signal.SIGHUP)
        assert "'Own/Zone' is not a time zone on this system" in daemon.wait_event("reload_rejected")["error"]
        assert fetch(daemon.port()).endswith(KOLKATA)
        assert daemon.live_workers() == workers
        replace_worker(daemon)
        assert fetch(daemon.port()).endswith(KOLKATA)
        database.become("Asia/Tokyo")
        daemon.send(signal.SIGHUP)
        daemon.wait_event("daemon_reloaded")
        assert fetch(daemon.port()).endswith(TOKYO)


@needs_zones
def test_the_local_zone_is_that_of_the_last_load_too(tmp_path: Path) -> None:
    """Like a named zone: if its file is missing, or a reload is rejected, workers keep the old zone."""
    config, zone = tmp_path / "daytimed.toml", tmp_path / "localtime"
    text = 'format = "iso8601"\nworkers = 1\n[[listener]]\naddress = "127.0.0.1:0"\n'
    config.write_text(text)
    shutil.copy(ZONES / "Asia/Kolkata", zone)
    with serving(config=config, env={**UNTRACED, "TZ": f":{zone}"}) as daemon, unharmed(daemon):
        zone.unlink()
        replace_worker(daemon)
        assert fetch(daemon.port()).endswith(KOLKATA)
        shutil.copy(ZONES / "Asia/Tokyo", zone)
        taken = f'[[listener]]\naddress = "127.0.0.1:{daemon.port()}"\n'
        for count, wrong in enumerate(("[access]\nrate = -1\n", taken), 1):
            config.write_text(text + wrong)
            daemon.send(signal.SIGHUP)
            daemon.wait_events("reload_rejected", count)
            replace_worker(daemon)
            assert fetch(daemon.port()).endswith(KOLKATA)
