"""The service under a booted systemd, installed by its package, tested with systemctl and journalctl."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from address_pairs import PAIRS, askable, fill_in, listeners
from clients import CLIENTS, THREADS, assert_nobody_lost, begin_load, none_is_lost, outcomes
from container import Container

#: Reported losses; SIGUSR1 logs an event, and so makes the daemon try the journal again.
LOSSES = "journalctl -u daytimed DAYTIMED_EVENT=log_lost --no-pager -q"
ASK_FOR_LOSSES = "systemctl kill -s USR1 --kill-whom=main daytimed"
DROP_IN = "/etc/systemd/system/{unit}.d/{name}.conf"


@pytest.fixture(autouse=True)
def fresh(container: Container) -> Iterator[None]:
    """Start each test with the units stopped and no failed unit."""
    container.run(
        "systemctl stop daytimed.socket daytimed.service daytimed-inetd.socket; systemctl reset-failed || true"
    )
    yield


@contextlib.contextmanager
def drop_in(container: Container, unit: str, name: str, text: str | None = None) -> Iterator[None]:
    """Use a drop-in: one of the examples, or a text."""
    path = DROP_IN.format(unit=unit, name=name)
    if text is None:
        text = (Path(__file__).parents[2] / "systemd/examples" / f"{name}.conf").read_text()
    container.run(f"mkdir -p {Path(path).parent} && cat >{path} <<'EOT'\n{text}\nEOT\nsystemctl daemon-reload")
    try:
        yield
    finally:
        container.run(f"systemctl stop {unit}; rm {path}; systemctl daemon-reload; systemctl reset-failed || true")


@contextlib.contextmanager
def configuration(container: Container, text: str) -> Iterator[None]:
    """Replace the configuration of the package."""
    file = "/etc/daytimed/daytimed.toml"
    container.run(f"cp {file} {file}.kept; cat >{file} <<'EOT'\n{text}\nEOT")
    try:
        yield
    finally:
        container.run(f"mv {file}.kept {file}")


def main_pid(container: Container) -> int:
    return int(container.run("systemctl show -P MainPID daytimed"))


def status(container: Container) -> str:
    return container.run("systemctl show -P StatusText daytimed").strip()


def test_start_serves_on_port_6000(container: Container) -> None:
    """After `systemctl start daytimed` on a fresh install, the service is active and replies over IPv4 and IPv6."""
    container.run("systemctl start daytimed")
    assert container.run("systemctl is-active daytimed daytimed.socket").split() == ["active", "active"]
    for family in ("-4", "-6"):
        assert container.run(f"daytime-get {family}").startswith("The Date Time is: ")
    assert re.fullmatch(r"Serving 1 listener with \d+ workers?; \d+ repl(y|ies), up \d+ seconds?", status(container))


def test_the_journal_has_the_fields(container: Container) -> None:
    """Each client has an entry with message, priority, id and every field, and the catalog explains it."""
    container.run("systemctl start daytimed && daytime-get -4")
    query = "journalctl -u daytimed DAYTIMED_EVENT=client_served --no-pager -n 1"
    printed = container.until(f"{query} -o json | grep .", "the entry is there")
    entry = json.loads(printed)
    assert entry["MESSAGE"] == f"Served {entry['DAYTIMED_BYTES']} bytes to 127.0.0.1."
    assert (entry["PRIORITY"], entry["SYSLOG_IDENTIFIER"]) == ("6", "daytimed")
    assert (entry["DAYTIMED_CLIENT"], entry["DAYTIMED_LISTENER"]) == ("127.0.0.1", "daytime")
    assert re.fullmatch("[0-9a-f]{32}", entry["MESSAGE_ID"])
    assert entry["DAYTIMED_PORT"].isdigit()
    assert int(entry["_PID"]) != main_pid(container), "a worker wrote it, and the journal knows which"
    explained = container.run(f"{query} -x")
    assert f"127.0.0.1 port {entry['DAYTIMED_PORT']} got {entry['DAYTIMED_BYTES']} bytes from daytime." in explained


def test_the_zone_of_the_host_is_followed(container: Container) -> None:
    """After `timedatectl set-timezone` the service answers in the new zone within a second, without a reload."""
    # the zone that the service reads is in its own mount namespace; `date` reads that of the host
    container.run("systemctl start daytimed")
    for zone in ("Asia/Tokyo", "Asia/Kolkata", "UTC"):
        offset = container.run(f"timedatectl set-timezone {zone} && date +%z").strip()
        container.run("sleep 1")
        assert f" {offset} " in container.run("daytime-get -o raw")
    assert container.run("systemctl show -P NRestarts daytimed").strip() == "0"


def test_restarts_under_load_lose_nobody(container: Container) -> None:
    """Twenty restarts with the socket unit refuse, reset or lose no client."""
    container.run("systemctl start daytimed")
    with none_is_lost(container):
        container.run("for i in $(seq 20); do systemctl restart daytimed || exit 1; done")


def test_reloads_under_load_lose_nobody(container: Container) -> None:
    """Twenty reloads, each one complete, lose no client and keep the process."""
    container.run("systemctl start daytimed")
    pid = main_pid(container)
    with none_is_lost(container):
        container.run("for i in $(seq 20); do systemctl reload daytimed || exit 1; done")
    assert main_pid(container) == pid


def test_the_next_client_starts_it_again(container: Container) -> None:
    """After `systemctl stop daytimed` the socket stays, and the next client starts the service."""
    container.run("systemctl start daytimed; systemctl stop daytimed.service 2>/dev/null")
    assert container.fails("systemctl is-active daytimed").strip() == "inactive"
    assert container.run("daytime-get").startswith("The Date Time is: ")
    # a worker may reply before the master has notified systemd
    container.until("systemctl is-active daytimed", "it is active")


def test_stops_under_load_lose_nobody(container: Container) -> None:
    """Five stops under load: each completes before a client starts the service again, and all clients are served."""
    container.run("systemctl start daytimed")
    load = begin_load(container)
    # do not count a stop that a start by a client cancels
    container.run("n=0; until [ $n = 5 ]; do systemctl stop daytimed.service 2>/dev/null && n=$((n + 1)); done")
    assert_nobody_lost(outcomes(load))


@pytest.mark.parametrize("who", ["master", "worker"])
def test_kill_9_under_load(container: Container, who: str) -> None:
    """After SIGKILL of the master or a worker, the service recovers; it loses only clients accepted by the killed."""
    container.run("systemctl start daytimed")
    load = begin_load(container)
    pid = main_pid(container)
    workers = container.run(f"cat /proc/{pid}/task/{pid}/children").split()
    container.run(f"kill -9 {pid if who == 'master' else workers[0]}")
    ended = outcomes(load)
    del ended["longest_s"], ended["seconds"]
    assert sum(ended.values()) == THREADS * CLIENTS
    assert THREADS * CLIENTS - ended["whole"] <= (len(workers) if who == "master" else 1)
    assert container.run("systemctl is-active daytimed").strip() == "active"


def test_own_sockets_without_the_socket_unit(container: Container) -> None:
    """With the descriptor store, twenty restarts and reloads under load lose no client either."""
    container.run("systemctl mask --runtime daytimed.socket")
    try:
        with drop_in(container, "daytimed.service", "own-sockets"):
            container.run("systemctl start daytimed")
            both = "systemctl restart daytimed && systemctl reload daytimed"
            with none_is_lost(container):
                container.run(f"for i in $(seq 20); do {both} || exit 1; done")
    finally:
        container.run("systemctl unmask --runtime daytimed.socket")


def test_own_sockets_follow_every_change_of_the_addresses(container: Container) -> None:
    """After a restart the new addresses are served, whatever the old ones were; systemd has removed the paths."""
    runtime = "[Service]\nRuntimeDirectory=daytimed"
    container.run("systemctl mask --runtime daytimed.socket")
    try:
        with (
            drop_in(container, "daytimed.service", "own-sockets"),
            drop_in(container, "daytimed.service", "folder", runtime),
        ):
            for pair, both in PAIRS.items():
                for addresses in (fill_in(each, 6000, "/run/daytimed") for each in both):
                    with configuration(container, listeners(addresses)):
                        questions = "; ".join(f"daytime-get {shlex.quote(askable(each))}" for each in addresses)
                        container.run(f"set -e; systemctl restart daytimed; {questions}")
                        assert container.run("systemctl show -P NRestarts daytimed").strip() == "0", pair
    finally:
        container.run("systemctl unmask --runtime daytimed.socket")


def test_the_watchdog_restarts_a_frozen_master(container: Container) -> None:
    """After SIGSTOP of the master, systemd misses its pings and starts another; clients wait in the socket."""
    with drop_in(container, "daytimed.service", "watchdog", "[Service]\nWatchdogSec=1s\nTimeoutAbortSec=2s"):
        container.run("systemctl start daytimed")
        pid = main_pid(container)
        container.run(f"kill -STOP {pid}")
        container.until(
            f'p=$(systemctl show -P MainPID daytimed); [ "$p" != 0 ] && [ "$p" != {pid} ]', "another master runs"
        )
        assert container.run("daytime-get").startswith("The Date Time is: ")


def test_a_frozen_worker_is_replaced(container: Container) -> None:
    """After SIGSTOP of a worker, the master logs, kills and replaces it."""
    container.run("systemctl start daytimed")
    pid = main_pid(container)
    worker = container.run(f"cat /proc/{pid}/task/{pid}/children").split()[0]
    container.run(f"kill -STOP {worker}")
    stuck = f"journalctl -u daytimed DAYTIMED_EVENT=worker_stuck DAYTIMED_PID={worker} --no-pager -q | grep ."
    container.until(stuck, "it is stuck")
    container.until(f"! [ -e /proc/{worker} ]", "it is gone")
    assert main_pid(container) == pid


def test_a_stopped_journal_holds_nobody_up_and_the_loss_is_reported(container: Container) -> None:
    """While SIGSTOP suspends journald, clients are served; afterwards log_lost counts the missing events."""
    with drop_in(container, "daytimed.service", "all", "[Service]\nEnvironment=DAYTIMED_LOG_CLIENT_RATE=0"):
        container.run("systemctl start daytimed")
        journald = int(container.run("systemctl show -P MainPID systemd-journald"))
        container.run(f"kill -STOP {journald}")
        try:
            frozen = outcomes(begin_load(container, 500))
        finally:
            container.run(f"kill -CONT {journald}")
        lively = outcomes(begin_load(container, 500))
        # every client is logged; a journal that accepts nothing makes that cheaper, never dearer
        print(f"clients took {frozen['seconds']} s with the journal frozen, and {lively['seconds']} s without")
        assert frozen["seconds"] < 4 * lively["seconds"]
        assert_nobody_lost(frozen, 500)
        assert_nobody_lost(lively, 500)
        container.until(f"{ASK_FOR_LOSSES}; {LOSSES} | grep 'could not be logged'", "the loss is logged")


def test_a_journal_that_is_gone_holds_nobody_up_and_the_loss_is_reported(container: Container) -> None:
    """While journald and its sockets are stopped, clients are served; afterwards log_lost counts the missing events."""
    with drop_in(container, "daytimed.service", "all", "[Service]\nEnvironment=DAYTIMED_LOG_CLIENT_RATE=0"):
        container.run("systemctl start daytimed")
        told_before = int(container.run(f"{LOSSES} | wc -l"))
        units = "systemd-journald.service systemd-journald.socket systemd-journald-dev-log.socket"
        container.run(
            f"systemctl stop {units} systemd-journald-audit.socket 2>/dev/null; ! systemctl is-active {units}"
        )
        try:
            assert_nobody_lost(outcomes(begin_load(container, 500)), 500)
        finally:
            container.run(f"systemctl start {units}")
        container.run("daytime-get")
        container.until(f'{ASK_FOR_LOSSES}; [ "$({LOSSES} | wc -l)" -gt {told_before} ]', "the loss is logged")


def test_the_sockets_are_stopped_with_the_service_on_them(container: Container) -> None:
    """`systemctl stop daytimed.socket` closes the port and stops the service; a restart uses a changed socket unit."""
    container.run("systemctl start daytimed && systemctl stop daytimed.socket")
    assert container.fails("systemctl is-active daytimed daytimed.socket").split() == ["inactive", "inactive"]
    assert "connection refused" in container.fails("daytime-get")
    container.run("systemctl start daytimed")
    with drop_in(container, "daytimed.socket", "port-13"):
        container.run("systemctl restart daytimed.socket")
        container.until("daytime-get localhost:13", "the other port is served")
        assert "connection refused" in container.fails("daytime-get")


def test_port_13_needs_no_privilege(container: Container) -> None:
    """With the example drop-in, systemd binds port 13, and the service has no capability."""
    with drop_in(container, "daytimed.socket", "port-13"):
        container.run("systemctl start daytimed")
        assert container.run("daytime-get localhost:13").startswith("The Date Time is: ")
        container.fails("daytime-get localhost:6000")
        caps = container.run(f"grep -E '^Cap(Prm|Eff|Bnd|Amb)' /proc/{main_pid(container)}/status").split()[1::2]
        assert set(caps) == {"0" * 16}
        interfaces = container.run(f"nsenter -t {main_pid(container)} -n ls /proc/sys/net/ipv4/conf").split()
        assert set(interfaces) - {"all", "default"} <= {"lo"}, "its network has no other interface"


def test_udp_and_ipv4_only(container: Container) -> None:
    """The example drop-ins for UDP and for IPv4 only work."""
    with drop_in(container, "daytimed.socket", "udp"):
        container.run("systemctl start daytimed")
        assert container.run("daytime-get udp://localhost:6000").startswith("The Date Time is: ")
    with drop_in(container, "daytimed.socket", "ipv4-only"):
        container.run("systemctl start daytimed")
        container.run("daytime-get -4")
        container.fails("daytime-get -6")


def test_client_networks(container: Container) -> None:
    """With IPAddressAllow= on the socket, allowed clients are served, and others get no answer."""
    text = "[Socket]\nIPAddressDeny=any\nIPAddressAllow=127.0.0.0/8\n"
    with drop_in(container, "daytimed.socket", "client-networks", text):
        container.run("systemctl start daytimed")
        assert container.run("daytime-get -4").startswith("The Date Time is: ")
        assert "no connection within 1 s" in container.fails("daytime-get -6 -t 1")


def test_nist_reads_the_kernel_clock_where_it_may(container: Container) -> None:
    """The shipped sandbox gives health 3; with the example, the reply has the state of the kernel clock."""
    environment = "[Service]\nEnvironment=DAYTIMED_FORMAT=nist"
    with drop_in(container, "daytimed.service", "format", environment):
        container.run("systemctl start daytimed")
        told = container.fails("daytime-get")
        assert " 0 3 0.0 UTC(daytimed) *" in told
        assert "the error of its clock is unknown" in told
        with drop_in(container, "daytimed.service", "nist"):
            container.run("systemctl start daytimed")
            asked = "import sys; sys.path.append('/usr/lib/python3/dist-packages'); from daytimed import clock;"
            expected = container.run(f'python3 -c "{asked} print(*clock.read_kernel_clock())"').strip()
            assert f" {expected} 0.0 UTC(daytimed) *" in container.run("daytime-get --any")


def test_socket_activate(container: Container) -> None:
    """With systemd-socket-activate, the name selects the listener, and the first client starts the daemon."""
    command = "exec systemd-socket-activate -l 7000 --fdname=seconds daytimed -f unix --log-level=warning"
    activate = container.popen(command)
    try:
        container.until("ss -Hltn 'sport = :7000' | grep .", "it listens")
        assert container.run("daytime-get localhost:7000").strip().isdigit()
    finally:
        container.run("pkill -x daytimed || pkill -f /usr/bin/daytimed", check=False)
        activate.communicate(timeout=60)


def test_several_sockets(container: Container) -> None:
    """Two named sockets have their own formats; a UDP and a unix socket without settings have the default."""
    config = (
        'format = "rfc867"\n[[listener]]\nname = "seconds"\naddress = ":1"\nformat = "unix"\n'
        '[[listener]]\nname = "iso"\naddress = ":2"\nformat = "iso8601"\n'
    )
    sockets = {"seconds": "Stream=7001", "iso": "Stream=7002", "other": "Datagram=7003", "local": "Stream=/run/dt.sock"}
    units = ""
    for name, listen in sockets.items():
        text = f"[Socket]\nListen{listen}\nFileDescriptorName={name}\nService=daytimed.service\n"
        units += f"cat >/run/systemd/system/dt-{name}.socket <<'EOT'\n{text}EOT\n"
    names = " ".join(f"dt-{name}.socket" for name in sockets)
    container.run(units)
    sockets_of_ours = f"[Service]\nSockets={names}"
    with configuration(container, config), drop_in(container, "daytimed.service", "sockets", sockets_of_ours):
        try:
            container.run(f"systemctl mask --runtime daytimed.socket; systemctl start {names} daytimed.service")
            assert container.run("daytime-get localhost:7001").strip().isdigit()
            assert "T" in container.run("daytime-get localhost:7002")
            for address in ("udp://localhost:7003", "unix:///run/dt.sock"):
                assert re.search(r", \d{4} ", container.run(f"daytime-get {address}"))
        finally:
            container.run(f"systemctl stop {names} daytimed; systemctl unmask --runtime daytimed.socket")
            container.run("rm -r /run/systemd/system/dt-*")


def test_a_second_listener(container: Container) -> None:
    """The example, enabled under load, serves a second port beside the first, and stops with it."""
    examples = "/usr/share/doc/daytimed/examples/second-listener"
    lines = container.run(f"cat {examples}/README")
    setup, removal = ("\n".join(re.findall("^    (.*)", part, re.MULTILINE)) for part in lines.split("To remove it"))
    kept = container.run("cat /etc/daytimed/daytimed.toml")
    with configuration(container, kept):
        container.run("systemctl start daytimed")
        with none_is_lost(container):
            container.run(f"set -e; cd {examples}; {setup}")
        both = "daytime-get localhost:6000 && daytime-get -o raw localhost:37 | wc -c"
        assert re.fullmatch(r"The Date Time is: .*\n4\n", container.run(both))
        assert container.run("systemctl is-enabled daytimed-time.socket").strip() == "enabled"
        # as after a boot: a client of either port starts the service with both sockets
        container.run("systemctl stop daytimed.service 2>/dev/null; daytime-get localhost:37")
        assert re.fullmatch(r"The Date Time is: .*\n4\n", container.run(both))
        container.run("systemctl stop daytimed.socket daytimed.service")
        assert container.run("ss -Hltn 'sport = :37 or sport = :6000'") == ""
        container.run("systemctl start daytimed")
        assert re.fullmatch(r"The Date Time is: .*\n4\n", container.run(both))
    with none_is_lost(container):
        container.run(f"set -e; {removal}; rm /etc/systemd/system/daytimed-time.socket; systemctl daemon-reload")
    container.fails("daytime-get localhost:37")


def test_one_process_a_client(container: Container) -> None:
    """The pair of Accept=yes units serves each client by its own process."""
    container.run("systemctl start daytimed-inetd.socket")
    for _ in range(3):
        assert container.run("daytime-get").startswith("The Date Time is: ")
    query = "journalctl -t daytimed DAYTIMED_EVENT=client_served --no-pager -q -n 1 -o json"
    assert json.loads(container.until(f"{query} | grep inetd@", "it is logged"))["DAYTIMED_CLIENT"]
    container.run("systemctl stop daytimed-inetd.socket")


#: Connects as often as the first word says, from another address than the test, and ends each connection at once.
FLOOD = """
import socket, struct, sys
for _ in range(int(sys.argv[1])):
    with socket.socket() as client:
        if sys.argv[2] == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.bind(("127.0.0.2", 0))
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", 6000))
"""


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("count", [400, 4000])
def test_a_flood_from_one_source_costs_others_little(container: Container, count: int, how: str) -> None:
    """After any number of connects that end at once, the inetd socket is active, and another source is answered."""
    container.run(f"cat >/srv/flood.py <<'EOT'{FLOOD}EOT\nsystemctl start daytimed-inetd.socket")
    container.run(f"python3 /srv/flood.py {count} {how}")
    begun = time.monotonic()
    assert container.run("daytime-get -t 10 127.0.0.1").startswith("The Date Time is: ")
    seconds = time.monotonic() - begun
    print(f"answered {seconds:.2f} s after {count} connects; load {os.getloadavg()[0]}")
    # a second on an idle machine, more where others use it; with neither limit nor short queue, over ten
    assert seconds < 1 + os.getloadavg()[0] / 4
    assert container.run("systemctl is-active daytimed-inetd.socket").strip() == "active"
    refused = (
        "journalctl -q --no-pager -u daytimed-inetd.socket | grep -c 'Too many incoming connections .* from source'"
    )
    print("refused and logged:", container.run(refused, check=False))
    container.run("systemctl stop daytimed-inetd.socket")


def test_the_health_check_shows_a_failure(container: Container) -> None:
    """daytime-get.service succeeds while the service runs, and is in `systemctl --failed` when it does not."""
    container.run("systemctl start daytimed && systemctl start daytime-get.service")
    container.run("systemctl stop daytimed.socket daytimed.service")
    container.fails("systemctl start daytime-get.service")
    assert "daytime-get.service" in container.run("systemctl --failed --no-legend --plain")


def test_a_port_in_use_is_reported(container: Container) -> None:
    """When own sockets need a port in use, the status reports the reason and the error number."""
    container.run("systemctl mask --runtime daytimed.socket")
    taken = container.popen("exec python3 -c 'import socket; s = socket.create_server((\"\", 6000)); s.accept()'")
    try:
        with drop_in(container, "daytimed.service", "own-sockets"):
            container.until("ss -Hltn 'sport = :6000' | grep .", "the port is taken")
            container.fails("systemctl start daytimed")
            assert "cannot listen: Address already in use" in status(container)
            assert container.run("systemctl show -P StatusErrno daytimed").strip() == "98"
            container.run(
                "systemctl stop daytimed; python3 -c 'import socket; socket.create_connection((\"localhost\", 6000))'"
            )
    finally:
        taken.kill()
        taken.communicate()
        container.run("systemctl unmask --runtime daytimed.socket")


def test_a_wrong_configuration_is_78_and_not_tried_again(container: Container) -> None:
    """A configuration error ends the start with 78 and without a retry; the journal has the error."""
    with configuration(container, "worker = 1"):
        container.fails("systemctl start daytimed.service")
        shown = container.run("systemctl show -p ExecMainStatus,NRestarts daytimed").split()
        assert sorted(shown) == ["ExecMainStatus=78", "NRestarts=0"]
        assert "worker: unknown key; did you mean workers?" in status(container)
        fault = "Cannot start: /etc/daytimed/daytimed.toml: worker: unknown key; did you mean workers?"
        container.until(f"journalctl -u daytimed --no-pager -q | grep -F '{fault}'", "the error is in the journal")


def test_a_reload_of_a_wrong_configuration_changes_nothing(container: Container) -> None:
    """`systemctl reload` returns, the status reports the error, and clients are served as before."""
    container.run("systemctl start daytimed")
    with configuration(container, "worker = 1"):
        container.run("systemctl reload daytimed")
        container.until(
            "systemctl show -P StatusText daytimed | grep 'The last reload was rejected: .*worker: unknown key'",
            "the status has the reason",
        )
        assert container.run("systemctl is-active daytimed").strip() == "active"
        assert container.run("daytime-get").startswith("The Date Time is: ")


def test_the_units_are_right_and_the_service_is_hardened(container: Container) -> None:
    """systemd-analyze verifies the units, and rates the exposure 0.2 or less."""
    units = "/usr/lib/systemd/system/daytim*"
    container.run(f"systemd-analyze verify --man=no {units}")
    unit = "/usr/lib/systemd/system/daytimed.service"
    printed = container.run(f"systemd-analyze security --no-pager --offline=true --threshold=5 {unit}")
    exposure = float(re.search(r"Overall exposure level for daytimed.service: ([0-9.]+)", printed)[1])  # type: ignore[index]
    print("exposure:", exposure)
    assert exposure <= 0.2


EXAMPLES = "/usr/share/doc/daytimed/examples/monitoring"


def test_the_timer_checks_and_reports(container: Container) -> None:
    """The timer runs the check in its sandbox: a success is silent, a failure is visible and raises the alert."""
    faster = "[Timer]\nOnActiveSec=\nOnUnitActiveSec=\nOnActiveSec=100ms\nOnUnitActiveSec=100ms\nAccuracySec=1ms"
    # at this rate, systemd would soon refuse to start the alert
    telling = container.run(f"cat {EXAMPLES}/systemd/on-failure.conf") + "[Unit]\nStartLimitIntervalSec=0\n"
    finished = "journalctl -q --no-pager -u daytime-get -o cat | grep -c '^Finished '"
    before = int(container.run(finished, check=False))
    container.run(f"cp {EXAMPLES}/systemd/daytime-alert@.service /etc/systemd/system/")
    with (
        drop_in(container, "daytime-get.service", "on-failure", telling),
        drop_in(container, "daytime-get.timer", "faster", faster),
    ):
        container.run("systemctl start daytimed daytime-get.timer")
        container.until(f"[ $({finished}) -ge {before + 3} ]", "three good checks")
        container.fails("systemctl is-failed daytime-get.service")
        container.run("systemctl stop daytimed.socket daytimed.service")
        container.until(
            "journalctl -q --no-pager -t daytime-alert -o cat | grep -q '^daytime-get.service failed on '", "an alert"
        )
        assert "connection refused" in container.run("journalctl -q --no-pager -u daytime-get -o cat")
        container.run("systemctl stop daytime-get.timer")
        container.until("systemctl --failed --plain | grep -q ^daytime-get.service", "the failure is visible")


def test_figures_for_prometheus_are_written(container: Container) -> None:
    """The example for node_exporter's textfile collector writes metrics in its sandbox, with the server up or down."""
    figures = "/var/lib/prometheus/node-exporter/daytime.prom"
    container.run(
        f"mkdir -p $(dirname {figures}); cp {EXAMPLES}/prometheus/daytime-textfile.* /etc/systemd/system/;"
        f" install -m 755 {EXAMPLES}/prometheus/daytime-textfile /usr/local/bin/; systemctl daemon-reload"
    )
    for command, up in (("systemctl start daytimed", 1), ("systemctl stop daytimed.socket daytimed.service", 0)):
        container.run(f"{command}; systemctl start daytime-textfile.service")
        assert f'daytime_up{{address="tcp://localhost:6000"}} {up}\n' in container.run(f"cat {figures}")
    assert container.run(f"ls $(dirname {figures})") == "daytime.prom\n"
