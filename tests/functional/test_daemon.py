"""--daemon: it detaches, reports failures in its exit status, tolerates stale pid files, and stops cleanly."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from aftermath import children
from harness import DAYTIMED, DEADLINE_S, clean_environment, fetch, free_port, process_state, run, wait_until

#: Without coverage: another user could not write the data file.
UNTRACEABLE = clean_environment({"COVERAGE_PROCESS_CONFIG": ""})


@contextlib.contextmanager
def detached(
    pidfile: Path, *arguments: str, expect_gone: bool = True, prefix: Sequence[str] = (), **options: object
) -> Iterator[int]:
    """Start a detached daemon, yield its pid, and stop it by the pid in its file."""
    log = pidfile.with_suffix(".log")
    with log.open("ab") as stderr:
        done = run(
            *prefix, *DAYTIMED, "--daemon", "--pidfile", str(pidfile), *arguments,
            stdout=subprocess.DEVNULL, stderr=stderr, **options,
        )  # fmt: skip
    print(log.read_text())
    assert done.returncode == 0
    pid = int(pidfile.read_text())
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: process_state(pid) in ("", "Z"), "the daemon has ended")
    if expect_gone:
        assert not pidfile.exists()


def test_it_detaches_serves_and_stops_on_its_pid(tmp_path: Path) -> None:
    """The command returns 0 once the daemon serves; the daemon has its own session and runs in /."""
    port = free_port()
    with detached(tmp_path / "pid", "-l", f"127.0.0.1:{port}") as pid:
        # no wait here: the command has returned, so the daemon serves
        assert fetch(port).startswith(b"The Date Time is: ")
        assert os.getsid(pid) != os.getsid(0)
        assert os.getsid(pid) != pid, "a session leader could get a terminal again"
        assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")
        assert re.search(r"^Umask:\s+0022$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        links = [str(Path(f"/proc/{pid}/fd/{each}").readlink()) for each in (0, 1, 2)]
        assert links == ["/dev/null", "/dev/null", str(tmp_path / "pid.log")]


def test_the_log_goes_on_in_the_file_it_was_given(tmp_path: Path) -> None:
    """Standard error that is a file is kept: it gets the events of start, clients and stop."""
    port = free_port()
    with detached(tmp_path / "pid", "-l", f"127.0.0.1:{port}"):
        fetch(port)
    log = (tmp_path / "pid.log").read_text()
    for name in ("daemon_starting", "daemon_ready", "client_served", "daemon_stopped"):
        assert f'"event": "{name}"' in log


def test_it_keeps_only_what_it_needs(tmp_path: Path) -> None:
    """The daemon closes inherited descriptors; a worker has none that belong to the master."""
    reading, writing = os.pipe()
    port = free_port()
    with detached(tmp_path / "pid", "-l", f"127.0.0.1:{port}", pass_fds=[writing]) as pid:
        os.close(writing)
        assert os.read(reading, 1) == b"", "the daemon still has the pipe"
        worker = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
        kinds = [str(each.readlink()) for each in Path(f"/proc/{worker}/fd").iterdir()]
        assert not [kind for kind in kinds if kind.endswith(("/pid", "/pid.lock"))]
        assert len([kind for kind in kinds if kind.startswith("socket:")]) == 1
    os.close(reading)


def test_a_second_one_is_reported_of_the_first(tmp_path: Path) -> None:
    """A second start exits with 69, reports the pid of the running daemon, and does not disturb it."""
    port, pidfile = free_port(), tmp_path / "pid"
    with detached(pidfile, "-l", f"127.0.0.1:{port}") as pid:
        done = run(*DAYTIMED, "--daemon", "--pidfile", str(pidfile), "-l", "127.0.0.1:0")
        assert done.returncode == 69
        assert done.stderr.decode() == (
            f"daytimed: {pidfile}: daytimed is already running with pid {pid}; stop it first\n"
        )
        assert int(pidfile.read_text()) == pid
        assert fetch(port)


def test_a_stale_pid_file_blocks_nothing(tmp_path: Path) -> None:
    """After kill -9, the pid file stays, and the next start takes it over."""
    port, pidfile = free_port(), tmp_path / "pid"
    with detached(pidfile, "-l", f"127.0.0.1:{port}", expect_gone=False) as pid:
        workers = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        os.kill(pid, signal.SIGKILL)
    assert pidfile.read_text() == f"{pid}\n"
    wait_until(lambda: all(process_state(each) in ("", "Z") for each in workers), "the workers have ended")
    with detached(pidfile, "-l", f"127.0.0.1:{port}") as second:
        assert second != pid
        assert fetch(port)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-l", "127.0.0.1:PORT"], 69, "Address already in use"),
        (["-c", "/nonexistent/file"], 78, "No such file or directory"),
        (["--pidfile", "/nonexistent/pid"], 69, "cannot write the pid file"),
    ],
)
def test_a_failed_start_is_reported_where_it_was_started(
    tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    """The command exits with the code of the daemon and one line with the reason; no pid file is left."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        arguments = [each.replace("PORT", str(taken.getsockname()[1])) for each in arguments]
        done = run(*DAYTIMED, "--daemon", "--pidfile", str(tmp_path / "pid"), *arguments)
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr.decode()
    assert not (tmp_path / "pid").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_a_failed_detaching_is_reported_where_it_was_started(tmp_path: Path) -> None:
    """If the process limit prevents the second fork, the command prints one line and exits with 70."""
    folder = tmp_path / "own"
    folder.mkdir()
    os.chown(folder, 54323, 54323)
    tmp_path.chmod(0o755)
    done = run(
        "setpriv", "--reuid=54323", "--regid=54323", "--clear-groups", "--inh-caps=+dac_override",
        "--ambient-caps=+dac_override", "--bounding-set=-all,+dac_override", "prlimit", "--nproc=2:2",
        *DAYTIMED, "--daemon", "--pidfile", str(folder / "pid"), "-l", "127.0.0.1:0",
    )  # fmt: skip
    assert done.returncode == 70, done.stderr
    assert done.stderr.decode() == (
        "daytimed: --daemon: cannot detach: Failed first fork: [11] Resource temporarily unavailable\n"
    )
    assert not (folder / "pid").exists()


def test_workers_that_cannot_start_are_reported_where_it_was_started(tmp_path: Path) -> None:
    """A failure after detaching still reaches the foreground, with exit code 70."""
    script = (
        "import sys\nfrom daytimed import cli, worker\nworker.main = lambda *a: sys.exit(1)\nsys.exit(cli.main())\n"
    )
    done = run(sys.executable, "-c", script, "--daemon", "--pidfile", str(tmp_path / "pid"), "-l", "127.0.0.1:0")
    assert done.returncode == 70
    # the daemon wants two workers, so the last two starts can fail together
    line = rb"daytimed: no worker of daytime can be started: [67] tries failed; the log says why"
    assert re.fullmatch(line, done.stderr.splitlines()[-1])
    assert not (tmp_path / "pid").exists()


def credentials(process: str) -> dict[str, str]:
    """Return the fields of proc_pid_status(5) that say what a process may do."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    names = ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")
    return {name: fields[name].strip().replace("\t", " ") for name in names}


NOBODY = "65534 65534 65534 65534"
NO_CAPABILITY = dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), "0" * 16)


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
@pytest.mark.parametrize(
    ("arguments", "uid", "gid", "groups"),
    [
        (["--user", "nobody", "--group", "nogroup"], NOBODY, NOBODY, "65534"),
        (["--user", "nobody"], NOBODY, NOBODY, "65534"),
        (["--user", "65534"], NOBODY, NOBODY, "65534"),
        (["--user", "nobody", "--group", "daemon"], NOBODY, "1 1 1 1", "1"),
        (["--group", "nogroup"], "0 0 0 0", NOBODY, "65534"),
        (["--group", "65534"], "0 0 0 0", NOBODY, "65534"),
    ],
)
def test_it_becomes_the_user_and_group_asked_for(
    tmp_path: Path, arguments: list[str], uid: str, gid: str, groups: str
) -> None:
    """
    Every privilege of its start is dropped, in all processes: user, group, supplementary groups, capabilities.

    It is started with what a shell of root may have: groups, inheritable capabilities, and securebits that keep
    capabilities when the user changes. Without --user it stays root.
    """
    port, pidfile = free_port(), tmp_path / "pid"
    start = ["setpriv", "--groups=4,24,27", "--inh-caps=+net_raw", "--securebits=+no_setuid_fixup"]
    with detached(
        pidfile, "-l", f"127.0.0.1:{port}", *arguments, prefix=start, expect_gone=uid != NOBODY, env=UNTRACEABLE
    ) as pid:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for process in (str(pid), *children):
            left = credentials(process)
            assert (left["Uid"], left["Gid"], left["Groups"]) == (uid, gid, groups)
            if uid == NOBODY:
                assert left == {"Uid": uid, "Gid": gid, "Groups": groups, "NoNewPrivs": "1", **NO_CAPABILITY}
        assert fetch(port)
    # only root can write the directory: the file stays behind, empty, and blocks nothing
    assert not pidfile.exists() or pidfile.read_text() == ""


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--user", "nosuch"], 2, "argument --user: this system has no user 'nosuch'"),
        (["--user", "4294967295"], 2, "argument --user: this system has no user '4294967295'"),
        (["--group", ""], 2, "argument --group: this system has no group ''"),
        (["--group", "99999999999"], 2, "argument --group: this system has no group '99999999999'"),
        (["--group", "root"], 77, "--user and --group: only root can change user or group; start daytimed as root"),
        (["--user", "root"], 77, "--user and --group: only root can change user or group; start daytimed as root"),
    ],
)
def test_an_owner_it_cannot_have_is_reported(tmp_path: Path, arguments: list[str], code: int, message: str) -> None:
    """An unknown user or group, and any other one for a user who is not root, is one line before the start."""
    prefix = ["setpriv", "--reuid=54323", "--regid=54323", "--clear-groups"] if os.geteuid() == 0 else []
    done = run(
        *prefix, *DAYTIMED, "--daemon", "--pidfile", str(tmp_path / "pid"), "-l", "127.0.0.1:0", *arguments,
        env=UNTRACEABLE,
    )  # fmt: skip
    assert (done.returncode, done.stderr.decode()) == (code, f"daytimed: {message}\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_a_root_that_cannot_become_a_user_is_reported(tmp_path: Path) -> None:
    """In a container whose root lacks CAP_SETUID, the start fails with 77 and one line, and serves nobody as root."""
    done = run(
        "setpriv", "--bounding-set=-setuid", *DAYTIMED, "--daemon", "--pidfile", str(tmp_path / "pid"),
        "-l", "127.0.0.1:0", "--user", "nobody", env=UNTRACEABLE,
    )  # fmt: skip
    assert (done.returncode, done.stderr.decode()) == (
        77,
        "daytimed: --daemon: cannot become user 65534 and group 65534: Operation not permitted;"
        " root needs the capabilities CAP_SETUID and CAP_SETGID\n",
    )
    assert not (tmp_path / "pid").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_its_own_user_cannot_keep_it_from_starting(tmp_path: Path) -> None:
    """While another process of its user holds a lock on the pid file, a restart succeeds."""
    tmp_path.chmod(0o755)
    pidfile = tmp_path / "pid"
    script = "exec 8<pid && flock -n 8 && echo locked && exec cat"
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    start = partial(detached, pidfile, "-l", "127.0.0.1:0", "--user", "nobody", expect_gone=False, env=UNTRACEABLE)
    with start():
        pass
    with subprocess.Popen(
        [*become, "sh", "-c", script], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as attack:
        assert attack.stdout
        assert attack.stdout.readline() == b"locked\n"
        with start():
            pass
        attack.kill()


def test_a_file_that_is_no_pid_file_is_not_touched(tmp_path: Path) -> None:
    """A wrong --pidfile destroys no file."""
    precious = tmp_path / "precious"
    precious.write_text("DATA\n")
    done = run(*DAYTIMED, "--daemon", "--pidfile", str(precious), "-l", "127.0.0.1:0")
    assert done.returncode == 69
    assert done.stderr.decode() == f"daytimed: {precious}: not a pid file; choose another path with --pidfile\n"
    assert precious.read_text() == "DATA\n"


def test_the_variables_of_a_parent_do_not_matter(tmp_path: Path) -> None:
    """A LISTEN_PID that names another process, as in a shell under socket activation, is no service manager."""
    env = clean_environment({"LISTEN_PID": "1", "LISTEN_FDS": "1"})
    with detached(tmp_path / "pid", "-l", "127.0.0.1:0", env=env):
        pass
    script = ["sh", "-c", 'LISTEN_PID=$$ LISTEN_FDS=1; export LISTEN_PID LISTEN_FDS; exec "$@"', "sh"]
    done = run(*script, *DAYTIMED, "--daemon", "--pidfile", str(tmp_path / "pid"))
    assert (done.returncode, done.stderr) == (
        2, b"daytimed: --daemon: a service manager runs this process (LISTEN_PID is set); remove --daemon\n",
    )  # fmt: skip


def test_under_a_manager_it_is_refused(tmp_path: Path) -> None:
    """--daemon is rejected if NOTIFY_SOCKET is set: a service manager expects its own child to serve."""
    done = run(
        *DAYTIMED, "--daemon", "--pidfile", str(tmp_path / "pid"),
        env=clean_environment({"NOTIFY_SOCKET": "/run/nobody"}),
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == (
        b"daytimed: --daemon: a service manager runs this process (NOTIFY_SOCKET is set); remove --daemon\n"
    )


def test_with_all_standard_descriptors_closed(tmp_path: Path) -> None:
    """Started with descriptors 0, 1 and 2 closed, it detaches and serves."""
    port, pidfile = free_port(), tmp_path / "pid"
    command = [*DAYTIMED, "--daemon", "--pidfile", str(pidfile), "-l", f"127.0.0.1:{port}"]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command], env=clean_environment(), timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 0
    pid = int(pidfile.read_text())
    try:
        assert fetch(port).startswith(b"The Date Time is: ")
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: process_state(pid) in ("", "Z"), "the daemon has ended")


def test_started_from_a_terminal_it_lets_go_of_it(tmp_path: Path) -> None:
    """It releases its terminal: the other end reads an end of file, and the daemon continues to serve."""
    port, pidfile = free_port(), tmp_path / "pid"
    child, controller = pty.fork()
    if child == 0:
        os.execvpe(
            sys.executable,
            [*DAYTIMED, "--daemon", "--pidfile", str(pidfile), "-l", f"127.0.0.1:{port}"],
            clean_environment(),
        )
    shown = b""
    with contextlib.suppress(OSError):
        # EIO: no process has the terminal open any more
        while part := os.read(controller, 4096):
            shown += part
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, shown
    os.close(controller)
    pid = int(pidfile.read_text())
    try:
        assert shown == b""
        assert fetch(port)
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: process_state(pid) in ("", "Z"), "the daemon has ended")


def test_whoever_captures_what_it_says_does_not_wait_for_its_end(tmp_path: Path) -> None:
    """`$(daytimed --daemon 2>&1)` returns: the daemon keeps no pipe on standard error open, and continues to serve."""
    port, pidfile = free_port(), tmp_path / "pid"
    done = run(*DAYTIMED, "--daemon", "--pidfile", str(pidfile), "-l", f"127.0.0.1:{port}")
    pid = int(pidfile.read_text())
    try:
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert fetch(port)
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: process_state(pid) in ("", "Z"), "the daemon has ended")


def test_a_daemon_that_is_killed_while_it_starts_is_reported(tmp_path: Path) -> None:
    """If the daemon is killed before its report, the command does not hang: it prints one line and exits with 70."""
    script = (
        "import os, signal, sys\n"
        "from daytimed import cli, master\n"
        "master.Master.run = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\n"
        "sys.exit(cli.main())\n"
    )
    done = run(sys.executable, "-c", script, "--daemon", "--pidfile", str(tmp_path / "pid"), "-l", "127.0.0.1:0")
    assert done.returncode == 70
    assert done.stderr == b"daytimed: --daemon: the daemon was killed before it was ready\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_a_unix_socket_in_a_folder_of_root_does_not_disturb_the_stop(tmp_path: Path) -> None:
    """A daemon that cannot remove the path that it created as root still reloads and stops."""
    config, pidfile, port = tmp_path / "daytimed.toml", tmp_path / "pid", free_port()
    tmp_path.chmod(0o755)
    both = f'[[listener]]\naddress = "127.0.0.1:{port}"\n'
    config.write_text(f'{both}[[listener]]\naddress = "unix://{tmp_path}/socket"\n')
    log = tmp_path / "pid.log"
    with detached(pidfile, "-c", str(config), "--user", "nobody", expect_gone=False, env=UNTRACEABLE) as pid:
        config.write_text(both)
        os.kill(pid, signal.SIGHUP)
        wait_until(lambda: '"daemon_reloaded"' in log.read_text() or "rejected" in log.read_text(), "it has reloaded")
        assert fetch(port)
    text = log.read_text()
    assert "Traceback" not in text
    assert '"event": "daemon_stopped"' in text


def test_waiting_for_it_can_be_interrupted(tmp_path: Path) -> None:
    """Ctrl-C ends the foreground command while it waits for the workers."""
    forked = tmp_path / "forked"
    os.mkfifo(forked)
    script = (
        "import sys, time\n"
        "from daytimed import cli, worker\n"
        f"worker.main = lambda *a: (open({str(forked)!r}, 'w').close(), time.sleep(60))\n"
        "sys.exit(cli.main())\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, "--daemon", "--pidfile", str(tmp_path / "pid"), "-l", "127.0.0.1:0", "-w", "1"],
        stdin=subprocess.DEVNULL, env=clean_environment(),
    )  # fmt: skip
    forked.read_bytes()
    process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE_S) == -signal.SIGINT
    pid = int((tmp_path / "pid").read_text())
    # the worker is a sleep of this test: it does not end with its master
    for each in (*children(pid), pid):
        os.kill(each, signal.SIGKILL)
    wait_until(lambda: process_state(pid) in ("", "Z"), "the daemon has ended")
