"""The init script for sysvinit, on a Debian that boots without systemd, with its system log and its console."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import pytest
from container import Container, make_root
from package import NEXT_VERSION, SUITES, Host

SUITE = SUITES[-1]
PACKAGES = "sysvinit-core,python3,python3-structlog,python3-daemon,iproute2,procps,tzdata,inetutils-syslogd"
#: The inittab entry after the scripts of the runlevel: its program reports that all of them have ended.
HOOKS = (
    r"--customize-hook=sed -i /getty/d $1/etc/inittab && echo dt:2345:once:/srv/booted >>$1/etc/inittab",
    r"--customize-hook=mkdir -p $1/srv && install -m 755 /dev/null $1/srv/booted",
)
BOOTED = """#!/usr/bin/python3
import socket
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", "/srv/notify")
"""
SCRIPT = "/etc/init.d/daytimed"
CONFIG = "/etc/daytimed/daytimed.toml"
PIDFILE = "/run/daytimed.pid"
LOCK = f"{PIDFILE}.lock"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Install the package and reboot."""
    root = tmp_path_factory.mktemp("sysvinit") / SUITE
    subprocess.run(["cp", "-ax", make_root(SUITE, "sysvinit", PACKAGES, HOOKS), root], check=True)
    (root / "srv/booted").write_text(BOOTED)
    with Host(SUITE, "sysvinit", root=root, init="sysvinit") as booted:
        booted.install()
        assert booted.run("daytime-get").startswith("The Date Time is: ")
        booted.reboot()
        yield booted


@pytest.fixture(autouse=True)
def shown(host: Container) -> Iterator[None]:
    yield
    print(host.console(), host.run(f"cat /var/log/syslog; ls -l {PIDFILE} {LOCK}; ps ax", check=False), sep="\n")


def does(host: Container, action: str, expected: int = 0, before: str = "") -> str:
    """Run an action, check its exit status, and return its output."""
    return host.run(f"{before} {SCRIPT} {action}; [ $? = {expected} ] && exit; echo status $?; exit 1")


def pid(host: Container) -> str:
    return host.run(f"cat {PIDFILE}").strip()


def log(host: Container, pattern: str) -> str:
    return host.until(f"grep -E '{pattern}' /var/log/syslog", f"{pattern} is in the system log")


def test_after_the_boot_it_serves(host: Container) -> None:
    """The runlevel starts the daemon as nobody; it logs to the system log, and not to the console."""
    assert host.run("cat /proc/1/comm").strip() == "init"
    assert host.run("daytime-get").startswith("The Date Time is: ")
    assert does(host, "status") == f"daytimed: running with pid {pid(host)}\n"
    assert host.run(f"ps -o user= -p {pid(host)}").strip() == "nobody"
    log(host, "daytimed.*event=daemon_ready")
    log(host, "daytimed.*event=client_served")
    console = host.console()
    assert "daytimed: started" in console
    assert "daemon_ready" not in console
    assert host.run(f"readlink /proc/{pid(host)}/fd/2").strip() == "/dev/null"


def test_start_and_stop_can_be_repeated(host: Container) -> None:
    """A second start changes nothing; stop closes the port and removes the pid file, and a second stop succeeds."""
    before = pid(host)
    assert does(host, "start") == "daytimed: already running\n"
    assert pid(host) == before
    assert does(host, "stop") == "daytimed: stopped\n"
    assert host.run(f"ls {PIDFILE} 2>/dev/null; ss -Hltn 'sport = 6000'; pgrep -x daytimed", check=False) == ""
    assert does(host, "status", 3) == "daytimed: not running\n"
    assert does(host, "stop") == "daytimed: not running\n"
    does(host, "try-restart")
    assert does(host, "reload", 7) == "daytimed: not running\n"
    does(host, "status", 3)
    does(host, "start")
    assert host.run("daytime-get").startswith("The Date Time is: ")


def test_a_reload_is_the_same_process(host: Container) -> None:
    """A reload applies the file in the same process; the output of an action ends, so it can be captured."""
    before = pid(host)
    try:
        host.run(f"echo 'format = \"unix\"' >{CONFIG}")
        assert host.run(f"said=$({SCRIPT} reload 2>&1) && echo done$said") == "done\n"
        host.until("daytime-get | grep -x '[0-9]*'", "the other format is served")
        assert host.run(f"said=$({SCRIPT} restart 2>&1) && echo $said") == "daytimed: stopped daytimed: started\n"
        assert pid(host) != before
        assert host.run("daytime-get").strip().isdigit()
    finally:
        host.run(f"echo '# the defaults' >{CONFIG}")
        does(host, "force-reload")


@pytest.mark.parametrize("action", ["reload", "force-reload", "restart", "try-restart"])
@pytest.mark.parametrize("wrong", [f"echo worker = 1 >{CONFIG}", f"chmod 600 {CONFIG}"], ids=["fault", "unreadable"])
def test_a_wrong_configuration_stops_nothing(host: Container, action: str, wrong: str) -> None:
    """A configuration error, or a file that its user cannot read, is reported, and the daemon runs on."""
    before = pid(host)
    try:
        host.run(wrong)
        told = does(host, action, 6)
        assert ("unknown key" if "echo" in wrong else "Permission denied") in told
        assert CONFIG in told
        assert pid(host) == before
        assert host.run("daytime-get").startswith("The Date Time is: ")
    finally:
        host.run(f"echo '# the defaults' >{CONFIG}; chmod 644 {CONFIG}")


def test_killed_it_is_dead_and_starts_again(host: Container) -> None:
    """The status of a killed daemon is 1, and its pid file does not block a start."""
    host.run(f"kill -9 {pid(host)}")
    host.until("! pgrep -x daytimed", "its workers have ended with it")
    assert does(host, "status", 1) == f"daytimed: dead, but {PIDFILE} exists\n"
    does(host, "reload", 7)
    does(host, "start")
    assert host.run("daytime-get").startswith("The Date Time is: ")


def test_nobody_else_is_killed(host: Container) -> None:
    """No other process gets a signal: neither one with the pid of a killed daemon, nor one named in the pid file."""
    other = host.popen("echo $$; exec sleep 1000")
    assert other.stdout
    number = other.stdout.readline().strip()
    ours = pid(host)
    try:
        host.run(f"echo {number} >{PIDFILE}")
        assert does(host, "status") == f"daytimed: running with pid {ours}\n"
        does(host, "reload")
        # its pid in the lock file too, as if it had the pid of a killed daemon: the start time differs
        host.run(f"kill -9 {ours}; sed -i s/{ours}/{number}/ {LOCK}")
        host.until("! pgrep -x daytimed", "its workers have ended with it")
        does(host, "status", 1)
        does(host, "reload", 7)
        assert does(host, "stop") == "daytimed: not running\n"
        does(host, "status", 3)
        assert other.poll() is None
    finally:
        host.run(f"kill {number}")
        other.communicate(timeout=60)
    does(host, "start")


def test_nobody_keeps_it_from_starting(host: Container) -> None:
    """
    No other user decides over a start, a restart or a stop: not by a lock on a file, nor by a process of its name.

    The user is that of the daemon, which the daemon's files must not belong to either.
    """
    files = f"{PIDFILE} {LOCK}"
    attack = host.popen(
        f"cp /usr/bin/sleep /srv/daytimed; for file in {files}; do runuser -u nobody -- flock $file sleep 1000 & done;"
        "runuser -u nobody -- /srv/daytimed 1000 & wait"
    )
    try:
        host.until("pgrep -x sleep && pgrep -f '^/srv/daytimed'", "it has locked what it can open")
        impostor = host.run("pgrep -f '^/srv/daytimed'").strip()
        before = pid(host)
        does(host, "restart")
        assert pid(host) != before
        host.run(f"kill -9 {pid(host)}")
        host.until(f"! pgrep -x daytimed | grep -vx {impostor}", "its workers have ended with it")
        # to this user, the impostor may look like the daemon; to root, it does not
        host.run(f"echo {impostor} >{PIDFILE}; sed -i 's/^[0-9]*/{impostor}/' {LOCK}")
        assert does(host, "start") == "daytimed: started\n"
        assert host.run("daytime-get").startswith("The Date Time is: ")
        does(host, "stop")
        assert host.run(f"kill -0 {impostor}") == ""
    finally:
        host.run("pkill -x sleep; pkill -f '^/srv/daytimed'", check=False)
        attack.communicate(timeout=60)
    does(host, "start")


def test_asking_for_the_status_disturbs_no_start(host: Container) -> None:
    """While root and others ask for the status again and again, every start succeeds: the script takes no lock."""
    ask = f"until [ -e /srv/enough ]; do {SCRIPT} status; $AS {SCRIPT} status; done >/dev/null"
    asking = host.popen(f"AS='runuser -u nobody --'; {ask} & {ask} & wait")
    try:
        for _ in range(10):
            assert does(host, "restart") == "daytimed: stopped\ndaytimed: started\n"
    finally:
        host.run("touch /srv/enough")
        asking.communicate(timeout=60)
        host.run("rm /srv/enough")


def test_one_that_was_stopped_by_its_pid_does_not_run(host: Container) -> None:
    """A daemon stopped by its pid leaves an empty pid file: the status is 3, not 1 (dead)."""
    host.run(f"kill {pid(host)}")
    host.until(f"flock -n {LOCK} true", "it has ended")
    does(host, "status", 3)
    does(host, "start")


def test_a_restart_finds_a_daemon_of_a_version_before(host: Container) -> None:
    """A daemon without a lock file, which an upgrade finds running, is found by its pid file and its name."""
    before = pid(host)
    host.run(f"rm {LOCK}")
    assert does(host, "status") == f"daytimed: running with pid {before}\n"
    assert does(host, "restart") == "daytimed: stopped\ndaytimed: started\n"
    assert pid(host) != before
    assert host.run("daytime-get").startswith("The Date Time is: ")


def test_one_that_hangs_is_killed(host: Container) -> None:
    """A stop kills a master that takes no signal."""
    host.run(f"sed 's/^STOP_S=.*/STOP_S=1/' {SCRIPT} >/srv/impatient; chmod 755 /srv/impatient")
    host.run(f"kill -STOP {pid(host)}")
    assert host.run("/srv/impatient stop") == "daytimed: stopped\n"
    does(host, "status", 3)
    host.until("! pgrep -x daytimed", "its workers have ended with it")
    does(host, "start")


def test_what_else_can_be_wrong(host: Container) -> None:
    """The script reports a port in use, wrong arguments, a missing right and a missing program."""
    does(host, "stop")
    assert "Usage: " in does(host, "", 2)
    assert "Usage: " in does(host, "nonsense", 2)
    as_nobody = "setpriv --reuid=65534 --clear-groups"
    assert does(host, "start", 4, as_nobody) == "daytimed: only root can start the daemon\n"
    does(host, "status", 3, as_nobody)
    taken = host.popen("exec python3 -c 'import socket; s = socket.create_server((\"\", 6000)); s.accept()'")
    host.until("ss -Hltn 'sport = :6000' | grep .", "the port is taken")
    told = does(host, "start", 1)
    assert told.startswith("daytimed: tcp://:6000: cannot listen: Address already in use; ")
    host.run("python3 -c 'import socket; socket.create_connection((\"localhost\", 6000))'")
    taken.communicate(timeout=60)
    host.run("mv /usr/bin/daytimed /usr/bin/daytimed.gone")
    assert does(host, "start", 5) == "daytimed: /usr/bin/daytimed is not installed\n"
    host.run("mv /usr/bin/daytimed.gone /usr/bin/daytimed")
    does(host, "start", before="umask 077;")
    does(host, "status", 0, as_nobody)


def test_the_defaults_file_says_who_and_what_else(host: Container) -> None:
    """DAYTIMED_USER and DAYTIMED_OPTS apply at a restart, even if the daemon runs as another user."""
    try:
        host.run("printf 'DAYTIMED_USER=daemon\\nDAYTIMED_OPTS=\"-f unix -l :13\"\\n' >/etc/default/daytimed")
        does(host, "restart")
        assert host.run("daytime-get localhost:13").strip().isdigit()
        assert host.run(f"ps -o user= -p {pid(host)}").strip() == "daemon"
        does(host, "reload")
    finally:
        host.run("rm /etc/default/daytimed")
    does(host, "restart")
    assert host.run("daytime-get").startswith("The Date Time is: ")


def test_an_upgrade_with_a_wrong_file_says_what_is_wrong(host: Host) -> None:
    """An upgrade with a wrong configuration is complete and reports the error, and the daemon runs on."""
    before = pid(host)
    try:
        host.run(f"echo worker = 1 >{CONFIG}")
        told = host.install(NEXT_VERSION)
        assert f"daytimed: {CONFIG}: worker: unknown key" in told
        assert host.run("dpkg-query -W -f '${Status}' daytimed") == "install ok installed"
        assert pid(host) == before
        assert host.run("daytime-get").startswith("The Date Time is: ")
    finally:
        host.run(f"echo '# the defaults' >{CONFIG}")
    does(host, "restart")
    assert NEXT_VERSION in host.run("daytimed --version")


def test_the_shutdown_stops_it_and_its_last_words_are_in_the_log(host: Container) -> None:
    """The shutdown stops every worker in order, before the system log, which has the last events."""
    host.run("echo '*.* /dev/console' >>/etc/syslog.conf; pkill -HUP syslogd; daytime-get")
    console = host.shut_down()
    # the scripts write at once, the system log with a delay
    logged = re.findall(r"event=(worker_exited|daemon_stopped)", console)
    said = re.findall(r"daytimed: (stopped)|(Stopping system log)", console)
    workers = logged.count("worker_exited")
    assert workers >= 1
    assert logged == [*["worker_exited"] * workers, "daemon_stopped"]
    assert said[-2:] == [("stopped", ""), ("", "Stopping system log")]
    assert console.count('how="stopped as asked"') == workers
