"""Errors that a person can cause: one clear line, the documented exit code, and no traceback."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from harness import DAYTIMED, DEADLINE_S, clean_environment, run


def fail(*arguments: str, **options: object) -> tuple[int, list[str]]:
    """Run the daemon, which must fail; return its exit code and the lines of standard error."""
    done = run(*DAYTIMED, *arguments, **options)
    assert done.stdout == b""
    return done.returncode, done.stderr.decode().splitlines()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--nosuch"], "daytimed: unrecognized arguments: --nosuch; see daytimed --help"),
        (["-f"], "daytimed: argument -f/--format: expected one argument; see daytimed --help"),
        (
            ["-w", "many"],
            'daytimed: argument -w/--workers: "many" is not a whole number from 0 to 1024; see daytimed --help',
        ),
        (
            ["-l", "ftp://:21"],
            "daytimed: argument -l/--listen: 'ftp://:21' has the unknown scheme 'ftp'; use one of "
            "tcp tcp4 tcp6 udp udp4 udp6 unix; see daytimed --help",
        ),
        (
            ["-l", "udp:6000"],
            "daytimed: argument -l/--listen: 'udp:6000' has no // after the scheme; did you mean udp://:6000? For a "
            "host named udp, write tcp://udp:6000; see daytimed --help",
        ),
        (
            ["-l", "tcp://[::ffff:127.0.0.1]:0"],
            "daytimed: argument -l/--listen: 'tcp://[::ffff:127.0.0.1]:0' is an IPv4 address in IPv6 notation; write tcp://127.0.0.1:0"
            "; see daytimed --help",
        ),
        (
            ["--check", "--inetd"],
            "daytimed: argument --inetd: not allowed with argument --check; see daytimed --help",
        ),
        (["--user", "nobody"], "daytimed: argument --user: only valid with --daemon; see daytimed --help"),
        (
            ["--inetd"],
            "daytimed: --inetd: standard input is not a socket; run it from an inetd, or from a systemd socket with "
            "Accept=yes",
        ),
        (["--daemon", "--user", "nosuch"], "daytimed: argument --user: this system has no user 'nosuch'"),
    ],
)
def test_a_wrong_command_line_is_2(arguments: list[str], line: str) -> None:
    """Each usage error is one line, with exit code 2."""
    assert (2, [line]) == fail(*arguments)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--chek"], "; did you mean --check?"),
        (["--Check"], "; did you mean --check?"),
        (["-check"], "; did you mean --check?"),
        (["check"], "; did you mean --check?"),
        (["-listen=:6000"], "; did you mean --listen?"),
        (["-format", "nist"], "; did you mean --format?"),
        (["--config-file=x"], "; did you mean --config?"),
        (["--log=debug"], "; did you mean --log-level?"),
        (["-W", "3"], "; did you mean -w?"),
        (["-p", "6000"], "; use -l PORT"),
        (["-p6000"], "; use -l PORT"),
        (["--port=6000"], "; use -l PORT"),
        (["-pidfile", "x"], "; did you mean --pidfile?"),
        (["--listen-address", ":6000"], "; use -l ADDRESS"),
        (["-d"], "; use --log-level debug"),
        (["--foreground"], "; use no flag: without --daemon, daytimed stays in the foreground"),
        (["-V"], "; use --version"),
        (["udp://:6000"], "; did you mean -l udp://:6000?"),
        (["--check", "x.toml"], "; did you mean -c x.toml?"),
        (["start"], ""),
    ],
)
def test_a_wrong_flag_is_answered_with_the_right_one(arguments: list[str], hint: str) -> None:
    """The error names the flag that looks like an unknown argument, or does what that does in other daemons."""
    code, lines = fail(*arguments)
    assert (2, 1) == (code, len(lines))
    assert re.fullmatch(rf"daytimed: unrecognized arguments: [^;]*{re.escape(hint)}; see daytimed --help", lines[0])


def test_a_port_in_use_is_69() -> None:
    """The error states the address, the reason, and how to find the program."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, lines = fail("-l", f"127.0.0.1:{port}")
    assert code == 69
    assert lines == [
        f"daytimed: tcp://127.0.0.1:{port}: cannot listen: Address already in use; stop the program that uses it "
        f"(find it with: ss -lnp 'sport = :{port}') or choose another address"
    ]


def test_an_address_of_another_machine_is_69() -> None:
    """An address that this machine does not have (here TEST-NET) is one line, with exit code 69."""
    code, lines = fail("-l", "192.0.2.1:0")
    assert code == 69
    assert lines == [
        "daytimed: tcp://192.0.2.1:0: cannot listen: Cannot assign requested address; "
        "this machine has no such address (see: ip address)"
    ]


def test_a_host_that_does_not_resolve_is_69() -> None:
    """The error states the name and the reason of the resolver."""
    code, lines = fail("-l", "host.invalid:0")
    assert code == 69
    assert len(lines) == 1
    assert lines[0].startswith("daytimed: tcp://host.invalid:0: cannot resolve: ")


def test_a_unix_socket_that_is_served_is_69(tmp_path: Path) -> None:
    """The path of a live listener is not removed."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(path))
        alive.listen()
        code, lines = fail("-l", f"unix://{path}")
    assert code == 69
    assert "Address already in use" in lines[0]
    assert path.exists()


def test_a_path_that_is_no_socket_is_69_and_stays(tmp_path: Path) -> None:
    """A file at the path of the socket is not removed."""
    path = tmp_path / "file"
    path.write_text("precious")
    code, lines = fail("-l", f"unix://{path}")
    assert (code, len(lines)) == (69, 1)
    assert path.read_text() == "precious"


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_a_port_below_1024_without_permission_is_77() -> None:
    """The error states how to get the permission."""
    command = [
        "setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", "--inh-caps=+dac_override",
        "--ambient-caps=+dac_override", "--bounding-set=-all,+dac_override",
    ]  # fmt: skip
    # in a new network namespace: in this one, net.ipv4.ip_unprivileged_port_start may be lower
    done = run("unshare", "--net", *command, *DAYTIMED, "-l", "0.0.0.0:13")
    assert done.returncode == 77, done.stderr
    assert done.stderr.decode().splitlines() == [
        "daytimed: tcp://0.0.0.0:13: cannot listen: Permission denied; "
        "use the socket unit or CAP_NET_BIND_SERVICE for a port below 1024"
    ]


@pytest.mark.parametrize("mode", [[], ["--check"], ["--print-config"]])
def test_a_bad_file_is_78_with_every_fault_by_its_key_path(tmp_path: Path, mode: list[str]) -> None:
    """The daemon, --check and --print-config each report all errors of a file at once."""
    path = tmp_path / "bad.toml"
    path.write_text(
        'worker = 2\nformat = "nosuch"\ntimezone = "Mars/Olympus"\n'
        '[[listener]]\naddress = "::1:6000"\n[[listener]]\nadress = ":1"\naddress = ":7"\nworkers = 9999\n'
        '[access]\nallow = ["10.0.0.1/8"]\nrate = -1\n[log]\nlevel = "loud"\nformat = 3\n[logs]\n'
    )
    code, lines = fail("-c", str(path), *mode)
    where = f"daytimed: {path}: "
    assert code == 78
    assert lines == [
        f"{where}worker: unknown key; did you mean workers?",
        f"{where}format: 'nosuch' is not a format; use one of sentence rfc867 smtp ctime xinetd iso8601 unix rfc868"
        " nist or strftime:PATTERN",
        f"{where}timezone: 'Mars/Olympus' is not a time zone on this system; use local, UTC or an IANA name such as "
        "Europe/Berlin (package tzdata)",
        f"{where}listener[0].address: '::1:6000' has an IPv6 address without brackets; write [::1]:6000",
        f"{where}listener[1].adress: unknown key; did you mean address?",
        f"{where}listener[1].workers: 9999 is not a whole number from 0 to 1024",
        f'{where}access.allow: "10.0.0.1/8" is not a network; write an address, or address/prefix with no bit set '
        "after the prefix",
        f"{where}access.rate: -1 is neither 0 nor a number from 0.001 to 1000000",
        f'{where}log.level: "loud" is not one of debug, info, warning, error, critical',
        f"{where}log.format: 3 is not one of auto, console, json, journal",
        f"{where}logs: unknown section; did you mean [log]?",
    ]


def test_one_fault_is_one_line_that_controls_no_terminal(tmp_path: Path) -> None:
    """Line ends and control sequences in values, keys, variables and arguments are escaped."""
    path = tmp_path / "bad.toml"
    path.write_text('"a\\u001b[31mb\\nc" = 1\n[log]\nlevel = "x\\u001b[31m\\nzzz"\n[""]\nworkers = 3\n')
    code, lines = fail("-c", str(path), env=clean_environment({"DAYTIMED_LOG_LEVEL": "loud\x1b[31m\n2"}))
    assert code == 78
    assert len(lines) == 4
    assert all(line.isprintable() for line in lines)
    code, lines = fail("--foo\nbar\x1b[31m")
    assert (code, len(lines)) == (2, 1)
    assert lines[0].isprintable()


def test_a_file_without_end_is_78() -> None:
    """A device is not read."""
    assert fail("-c", "/dev/zero", "--check") == (
        78,
        ["daytimed: /dev/zero: it is a device, which a reload cannot read again; use a file"],
    )


def test_every_bad_network_of_a_list_is_reported(tmp_path: Path) -> None:
    """The error lists every invalid network, not only the first."""
    path = tmp_path / "bad.toml"
    path.write_text('[access]\nallow = ["10.0.0.0/8", 5, "10.0.0.1/8"]\n')
    _, lines = fail("-c", str(path))
    assert len(lines) == 1
    assert "5 is not a network" in lines[0]
    assert '"10.0.0.1/8" is not a network' in lines[0]


def test_a_folder_that_is_gone_is_no_traceback(tmp_path: Path) -> None:
    """A relative path in a deleted directory is a usage error."""
    script = f'mkdir {tmp_path}/gone; cd {tmp_path}/gone; rmdir {tmp_path}/gone; exec "$@"'
    done = run(
        "sh", "-c", script, "sh", *DAYTIMED, "-c", "x.toml", env=clean_environment({"PYTHONPATH": str(Path.cwd())})
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_a_file_that_is_missing_is_78() -> None:
    """A file given with -c must exist."""
    assert fail("-c", "/nonexistent/daytimed.toml") == (
        78,
        ["daytimed: /nonexistent/daytimed.toml: No such file or directory; pass the path of the file with -c"],
    )


def test_a_bad_environment_variable_is_78() -> None:
    """The error names the variable."""
    code, lines = fail("--check", env=clean_environment({"DAYTIMED_LOG_LEVEL": "loud", "DAYTIMED_LISTEN": ":1 x"}))
    assert code == 78
    assert lines == [
        'daytimed: DAYTIMED_LOG_LEVEL: "loud" is not one of debug, info, warning, error, critical',
        "daytimed: DAYTIMED_LISTEN: 'x' has no port; write HOST:PORT, for example x:6000",
    ]


@pytest.mark.parametrize("mode", [["-l", "127.0.0.1:0"], ["--check"], ["--print-config"], ["--inetd"]])
def test_a_tz_that_names_no_zone_is_78(mode: list[str]) -> None:
    """The C library would take it for UTC; where it is not used, it is no error."""
    env = clean_environment({"TZ": "Europe/Berlln"})
    code, lines = fail(*mode, env=env)
    expected = (
        "daytimed: TZ: 'Europe/Berlln' is not a time zone on this system; use an IANA name such as Europe/Berlin "
        "(package tzdata), UTC, or a rule such as CET-1CEST,M3.5.0,M10.5.0/3"
    )
    assert (code, lines) == (78, [expected])
    assert run(*DAYTIMED, "--check", "-z", "UTC", env=env).returncode == 0


@pytest.mark.parametrize("mode", ["start", "--check"])
@pytest.mark.parametrize("file", ["daytimed.toml", "Europe/Berlin", "Europe/Paris"])
def test_a_lack_of_descriptors_is_70_whatever_file_is_read(file: str, mode: str, tmp_path: Path) -> None:
    """A file that cannot be opened for now is no error of the configuration: systemd starts the service again."""
    path = tmp_path / "daytimed.toml"
    path.write_text('[[listener]]\naddress = "127.0.0.1:0"\n[[listener]]\ntimezone = "Europe/Berlin"\n')
    script = (
        "import builtins, errno, os, sys\n"
        "from daytimed import cli\n"
        "real, file = open, sys.argv.pop()\n"
        "def lack(path, *arguments, **options):\n"
        "    if str(path).endswith(file): raise OSError(errno.ENFILE, os.strerror(errno.ENFILE))\n"
        "    return real(path, *arguments, **options)\n"
        "builtins.open = lack\n"
        "sys.exit(cli.main())\n"
    )
    words = [sys.executable, "-c", script, "-c", str(path), *(["--check"] if mode == "--check" else []), file]
    done = run(*words, env=clean_environment({"TZ": "Europe/Paris"}))
    reason = "cannot start: [Errno 23]" if mode == "--check" else "the configuration cannot be loaded:"
    assert done.stderr.decode() == f"daytimed: {reason} Too many open files in system\n"
    assert done.returncode == 70


def test_a_listener_without_an_address_is_right_in_the_file_and_an_error_without_its_socket(tmp_path: Path) -> None:
    """`--check` accepts a listener for a passed socket; a start to which none is passed ends with 78."""
    path = tmp_path / "daytimed.toml"
    path.write_text('[[listener]]\nname = "metrics"\nformat = "unix"\n')
    assert run(*DAYTIMED, "--check", "-c", str(path)).stdout == f"{path}: ok\n".encode()
    code, lines = fail("-c", str(path))
    assert (code, len(lines)) == (78, 1)
    assert "metrics" in lines[0]


def test_check_says_ok(tmp_path: Path) -> None:
    """`--check` prints FILE: ok and exits with 0."""
    path = tmp_path / "good.toml"
    path.write_text("workers = 3\n")
    done = run(*DAYTIMED, "--check", "-c", str(path))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{path}: ok\n".encode(), b"")


def test_print_config_can_be_loaded_again(tmp_path: Path) -> None:
    """The output of --print-config, merged from file, environment and flags, loads to the same configuration."""
    path = tmp_path / "first.toml"
    path.write_text('workers = 3\nformat = "ctime"\n[log]\nquiet = ["10.0.0.0/8", "::1"]\n')
    env = clean_environment({"DAYTIMED_FORMAT": "unix", "DAYTIMED_ACCESS_DENY": "192.0.2.0/24, 2001:db8::/32"})
    first = run(
        *DAYTIMED, "--print-config", "-c", str(path), "-w", "5", "-l", "unix:///run/t", "-l", "[::1]:13", env=env
    )
    again = tmp_path / "again.toml"
    again.write_bytes(first.stdout)
    second = run(*DAYTIMED, "--print-config", "-c", str(again))
    assert first.returncode == 0
    assert first.stdout == second.stdout
    assert b'workers = 5\ntimezone = "local"\nformat = "unix"\n' in first.stdout
    assert b'address = "tcp://[::1]:13"' in first.stdout


def test_help_and_version_are_0() -> None:
    """--help lists every flag on standard output; --version prints the version."""
    done = run(*DAYTIMED, "--help")
    assert done.returncode == 0
    flags = "-c -l -f -z -w --log-level --log-format --check --print-config --inetd --daemon --pidfile --user --group"
    for flag in (*flags.split(), "--version", "--help"):
        assert f"{flag}".encode() in done.stdout
    assert run(*DAYTIMED, "--version").stdout.startswith(b"daytimed 0.")


def test_a_full_standard_output_is_reported() -> None:
    """--print-config to a full disk fails with one line."""
    with Path("/dev/full").open("wb") as full:
        done = run(*DAYTIMED, "--print-config", stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 70
    assert done.stderr == b"daytimed: standard output: cannot write: No space left on device\n"


def test_an_unknown_variable_is_reported_and_not_refused() -> None:
    """Unknown DAYTIMED_* variables do not prevent a start; the first event lists them."""
    process = subprocess.Popen(
        [*DAYTIMED, "-l", "127.0.0.1:0", "--log-format", "json"],
        env=clean_environment({"DAYTIMED_HOME": "/x"}), stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr
    try:
        assert b'"ignored_variables": "DAYTIMED_HOME"' in process.stderr.readline()
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
