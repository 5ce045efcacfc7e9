"""A daemon with a stepped, frozen or years-old clock, and with time zones that change while it runs."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aftermath import unharmed
from clocks import LIBFAKETIME, forget_shift, needs_faketime
from harness import (
    DEADLINE_S,
    UNTRACED,
    Daemon,
    fetch,
    needs,
    program,
    run,
    running,
    serving,
    skip_without_mounts,
    wait_until,
)
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
def test_a_clock_that_is_stepped_or_stands_still_is_reported_at_once_and_troubles_nobody(tmp_path: Path) -> None:
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
    """A file that TZ names is like a named zone: if it is missing, or a reload is rejected, the old zone stays."""
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


# -- the zone of the host --------------------------------------------------------------------------------------------


class Host:
    """A host with a folder /etc of its own, in a mount namespace, for programs without TZ."""

    def __init__(self, folder: Path) -> None:
        self.etc = folder / "etc"
        self.etc.mkdir()
        for name in ("passwd", "group", "ld.so.cache"):
            shutil.copy(Path("/etc", name), self.etc)
        self.localtime = self.etc / "localtime"
        self.prefix = [
            "unshare", "--mount", "--propagation", "private", "sh", "-c",
            f'mount --bind {self.etc} /etc; exec env -u TZ "$@"', "sh",
        ]  # fmt: skip

    def set_timezone(self, name: str) -> None:
        """Replace the link, as timedatectl(1) does."""
        new = self.etc / "new"
        new.symlink_to(ZONES / name)
        new.rename(self.localtime)

    def lead_to(self, path: Path) -> None:
        """Let the link lead to another file."""
        self.localtime.unlink()
        self.localtime.symlink_to(path)


def told_later(daemon: Daemon, listener: str = "daytime") -> bytes:
    """Return the first reply of the next second."""
    now = int(time.time())
    wait_until(lambda: int(time.time()) != now, "a second passes")
    return fetch(daemon.port(listener))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    skip_without_mounts("unshare", "--mount")
    return Host(tmp_path)


@needs_zones
@needs("unshare", "nsenter")
def test_a_changed_zone_of_the_host_is_followed_by_the_next_second(host: Host, tmp_path: Path) -> None:
    """Whatever changes /etc/localtime, the first reply of the next second is right, without a reload."""
    own = tmp_path / "zone"
    host.set_timezone("Asia/Kolkata")
    with serving("-f", "iso8601", "-w", "1", prefix=host.prefix) as daemon, unharmed(daemon):
        assert fetch(daemon.port()).endswith(KOLKATA)
        # timedatectl set-timezone
        host.set_timezone("Asia/Tokyo")
        assert told_later(daemon).endswith(TOKYO)
        # a link to another file, which a package replaces, which is then written to
        shutil.copy(ZONES / "Asia/Kolkata", own)
        host.lead_to(own)
        assert told_later(daemon).endswith(KOLKATA)
        shutil.copy(ZONES / "Asia/Tokyo", tmp_path / "new")
        (tmp_path / "new").rename(own)
        assert told_later(daemon).endswith(TOKYO)
        shutil.copy(ZONES / "Asia/Kolkata", own)
        assert told_later(daemon).endswith(KOLKATA)
        # no file, and none behind the link, which is UTC
        host.localtime.unlink()
        assert told_later(daemon).endswith(b"+00:00\r\n")
        host.set_timezone("Asia/Tokyo")
        assert told_later(daemon).endswith(TOKYO)
        host.lead_to(tmp_path / "nowhere")
        assert told_later(daemon).endswith(b"+00:00\r\n")
        # a copy instead of a link, and a file that is mounted over it
        host.localtime.unlink()
        shutil.copy(ZONES / "Asia/Tokyo", host.localtime)
        assert told_later(daemon).endswith(TOKYO)
        mount = ["mount", "--bind", str(ZONES / "Asia/Kolkata"), "/etc/localtime"]
        assert run("nsenter", f"--target={daemon.process.pid}", "--mount", *mount).returncode == 0
        assert told_later(daemon).endswith(KOLKATA)
        replace_worker(daemon)
        assert told_later(daemon).endswith(KOLKATA)


@needs_zones
@needs("unshare")
def test_every_format_and_transport_follows_the_zone_of_the_host(host: Host, tmp_path: Path) -> None:
    """All formats with a zone follow it, over UDP too; a listener with a zone of its own keeps that."""
    config = tmp_path / "daytimed.toml"
    formats = {"sentence": b" +0900 JST\r\n", "rfc867": b"-JST\r\n", "strftime:%z": b"+0900\r\n", "iso8601": TOKYO}
    tables = [f'[[listener]]\nname = "{name[:8]}"\nformat = "{name}"\naddress = "127.0.0.1:0"\n' for name in formats]
    tables.append('[[listener]]\nname = "own"\naddress = "127.0.0.1:0"\nformat = "iso8601"\ntimezone = "Asia/Dubai"\n')
    tables.append('[[listener]]\nname = "udp"\naddress = "udp://127.0.0.1:0"\nformat = "iso8601"\n')
    config.write_text("workers = 1\n" + "".join(tables))
    host.set_timezone("Asia/Kolkata")
    with serving(config=config, prefix=host.prefix) as daemon:
        before = {name: fetch(daemon.port(name[:8])) for name in formats}
        assert not [name for name in formats if before[name].endswith(formats[name])]
        host.set_timezone("Asia/Tokyo")
        after = {name: told_later(daemon, name[:8]) for name in formats}
        assert not [name for name in formats if not after[name].endswith(formats[name])]
        assert told_later(daemon, "own").endswith(b"+04:00\r\n")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(DEADLINE_S)
            client.sendto(b"", ("127.0.0.1", daemon.port("udp")))
            assert client.recv(2048).endswith(TOKYO)


@needs_zones
@needs("unshare", "strace")
@pytest.mark.parametrize("form", ["iso8601", "sentence", "nist"])
def test_the_zone_of_the_host_is_looked_at_once_a_second(host: Host, tmp_path: Path, form: str) -> None:
    """Under load, a worker looks at /etc/localtime at most once a second, and reads it only if it has changed."""
    host.set_timezone("Asia/Kolkata")
    calls = tmp_path / "calls"
    with serving("-f", form, "-w", "1", prefix=host.prefix, env=UNTRACED) as daemon:
        fetch(daemon.port())
        worker = daemon.live_workers()[0]
        tracer = [program("strace"), "-p", str(worker), "-o", str(calls), "-e", "trace=file"]
        with running(*tracer) as strace:
            strace.wait_for("attached")
            begun = int(time.time())
            for _ in range(1000):
                assert fetch(daemon.port())
            host.set_timezone("Asia/Tokyo")
            told_later(daemon)
            seconds = int(time.time()) - begun + 1
    lines = [line for line in calls.read_text().splitlines() if "/etc/localtime" in line]
    looks = [line for line in lines if "stat" in line and "AT_EMPTY_PATH" not in line]
    opened = [line for line in lines if "open" in line]
    assert 1 <= len(looks) <= seconds
    # once to see whether it can be read, once by the C library
    assert len(opened) == 2


@needs_zones
@needs("unshare")
def test_a_worker_without_descriptors_keeps_its_zone(host: Host) -> None:
    """While no file can be opened, it answers in the zone that it has; then it follows."""
    host.set_timezone("Asia/Kolkata")
    with serving("-f", "iso8601", "-w", "1", prefix=host.prefix) as daemon:
        assert fetch(daemon.port()).endswith(KOLKATA)
        daemon.rest()
        worker = daemon.live_workers()[0]
        open_now = {int(name) for name in os.listdir(f"/proc/{worker}/fd")}
        free = min({*range(len(open_now) + 1)} - open_now)
        limit = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (free + 1, limit[1]))
        host.set_timezone("Asia/Tokyo")
        assert told_later(daemon).endswith(KOLKATA)
        resource.prlimit(worker, resource.RLIMIT_NOFILE, limit)
        assert told_later(daemon).endswith(TOKYO)
