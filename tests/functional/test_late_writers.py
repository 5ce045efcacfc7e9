"""Clients that write before, while and after they read the reply: nobody is reset."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import DEADLINE_S, UNTRACED, Daemon, clean_environment, needs, program, run, running, serving, wait_until
from loads import load, outcomes

#: Clients write, wait for two milliseconds and write again; then they read to the end of file.
ASYNCIO = """\
import asyncio, collections, json, sys
async def ask(port):
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"x" * 100)
        await writer.drain()
        await asyncio.sleep(0.002)
        writer.write(b"y" * 100)
        await writer.drain()
        reply = await reader.read(-1)
        writer.close()
        await writer.wait_closed()
    except OSError as error:
        return type(error).__name__
    return "whole" if reply.startswith(b"The Date Time is: ") and reply.endswith(b"\\r\\n") else "short"
async def main(port, clients):
    print(json.dumps(collections.Counter(await asyncio.gather(*(ask(port) for _ in range(clients))))))
asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
"""
NODE = """\
const net = require('net');
const [port, clients] = process.argv.slice(-2).map(Number);
const outcomes = {};
let left = clients;
const end = (what) => {
  outcomes[what] = (outcomes[what] || 0) + 1;
  if (--left === 0) console.log(JSON.stringify(outcomes));
};
for (let i = 0; i < clients; i++) {
  let reply = '', over = false;
  const once = (what) => { if (!over) { over = true; end(what); } };
  const client = net.connect({port, host: '127.0.0.1', allowHalfOpen: true}, () => {
    client.write('x'.repeat(100));
    setTimeout(() => client.write('y'.repeat(100)), 2);
  });
  client.on('data', (part) => { reply += part; });
  client.on('end', () => setTimeout(() => {
    client.end(() => once(/^The Date Time is: .*\\r\\n$/.test(reply) ? 'whole' : 'short'));
  }, 4));
  client.on('error', (error) => once(error.code));
}
"""
#: Sends 1 MiB in pieces of 4 KiB, then reads to the end of file; prints what failed, or the longest send in ms.
C = """\
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}
int main(int argc, char **argv)
{
    static char piece[4096], reply[4096];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    int s = socket(AF_INET, SOCK_STREAM, 0), size = argc > 2 ? atoi(argv[2]) : 0;
    double longest = 0;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (size)
        setsockopt(s, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    if (connect(s, (struct sockaddr *)&at, sizeof at))
        return puts("connect"), 1;
    for (int left = 1 << 20; left > 0; left -= sizeof piece) {
        double begun = now_ms();
        if (send(s, piece, sizeof piece, MSG_NOSIGNAL) != sizeof piece)
            return printf("send, with %d left: %s\\n", left, strerror(errno)), 1;
        if (now_ms() - begun > longest)
            longest = now_ms() - begun;
    }
    size_t length = 0;
    ssize_t got;
    while ((got = recv(s, reply + length, sizeof reply - length, 0)) > 0)
        length += got;
    if (got < 0 || strncmp(reply, "The Date Time is: ", 18) || reply[length - 1] != '\\n')
        return printf("reply: %s\\n", got < 0 ? strerror(errno) : "short"), 1;
    return printf("%.0f\\n", longest), 0;
}
"""


@pytest.fixture(name="daemon", scope="module")
def _daemon() -> Iterator[Daemon]:
    with serving("-w", "2", env={**UNTRACED, "DAYTIMED_LOG_CLIENTS": "dropped"}) as daemon:
        yield daemon


@pytest.fixture(name="writer", scope="module")
def _writer(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("writer")
    (folder / "writer.c").write_text(C)
    assert run(program("cc"), "-O2", "-o", str(folder / "writer"), str(folder / "writer.c")).returncode == 0
    return str(folder / "writer")


def counted(*command: str) -> Counter[str]:
    """Run clients; return the number of each outcome."""
    done = run(*command, env=clean_environment(UNTRACED))
    print(done.stdout.decode(), done.stderr.decode())
    return Counter(json.loads(done.stdout))


def test_asyncio_clients_that_write_twice(daemon: Daemon) -> None:
    """200 asyncio clients that write, wait for 2 ms and write again: each reads the whole reply and end of file."""
    assert counted(sys.executable, "-c", ASYNCIO, str(daemon.port()), "200") == {"whole": 200}


@needs("node")
def test_node_clients_that_write_twice(daemon: Daemon) -> None:
    """100 node clients that write twice: each reads the whole reply and end of file."""
    assert counted(program("node"), "-e", NODE, str(daemon.port()), "100") == {"whole": 100}


@needs("cc")
@pytest.mark.parametrize("buffer", [0, 16384])
def test_writers_of_a_mebibyte(daemon: Daemon, writer: str, buffer: int) -> None:
    """100 C clients that send 1 MiB in pieces: no send fails, and each reads the whole reply and end of file."""
    command = [writer, str(daemon.port()), *([str(buffer)] if buffer else [])]
    clients = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(100)]
    said = [client.communicate(timeout=DEADLINE_S)[0].strip() for client in clients]
    assert [text for text in said if not text.isdigit()] == []


@needs("cc")
@pytest.mark.parametrize("buffer", [0, 16384])
def test_writer_of_a_mebibyte_does_not_wait(daemon: Daemon, writer: str, buffer: int) -> None:
    """On an idle daemon, no send of a client that writes 1 MiB takes longer than half a second."""
    done = run(writer, str(daemon.port()), *([str(buffer)] if buffer else []))
    assert int(done.stdout) <= 500


def test_endless_writer_ends(daemon: Daemon) -> None:
    """A client that never stops writing is disconnected within three seconds."""
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", daemon.port())) as client:
        client.settimeout(DEADLINE_S)
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            while True:
                client.send(b"x" * 65536)
    assert 1.9 <= time.monotonic() - begun <= 3.0


@needs("stunnel", "openssl")
def test_stunnel_with_the_proxy_protocol(daemon: Daemon, tmp_path: Path) -> None:
    """Behind stunnel with `protocol = proxy`, which writes a header first, clients read the whole reply."""
    key = tmp_path / "key.pem"
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    assert run(program("openssl"), *made, "-keyout", str(key), "-out", str(tmp_path / "cert.pem")).returncode == 0
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    config = tmp_path / "stunnel.conf"
    config.write_text(
        f"foreground = yes\npid =\n[daytime]\naccept = 127.0.0.1:{port}\nconnect = 127.0.0.1:{daemon.port()}\n"
        f"protocol = proxy\ncert = {tmp_path}/cert.pem\nkey = {key}\n"
    )
    with running(program("stunnel"), str(config)) as stunnel:
        stunnel.wait_for("Configuration successful")
        for _ in range(20):
            done = run(program("openssl"), "s_client", "-quiet", "-connect", f"127.0.0.1:{port}")
            assert done.stdout.startswith(b"The Date Time is: ")
            assert done.stdout.endswith(b"\r\n")


def test_late_writers_beside_a_full_load(daemon: Daemon) -> None:
    """Beside 16 other clients at full load, asyncio clients that write twice read the whole reply; resets are rare."""
    flood = load(daemon.port(), 16, None)
    try:
        found = counted(sys.executable, "-c", ASYNCIO, str(daemon.port()), "200")
    finally:
        others = outcomes(flood)
    print(f"of 200 late writers beside {sum(others.values())} clients, {200 - found['whole']} had no whole reply")
    assert others == {"whole": sum(others.values())}
    assert found["whole"] >= 190


#: Writes to this many connections for as long as each takes it; then prints `full`, and continues until its input ends.
WRITERS = """\
import select, socket, sys, threading
port, count = int(sys.argv[1]), int(sys.argv[2])
def connect():
    client = socket.create_connection(("127.0.0.1", port))
    client.setblocking(False)
    return client
clients = [connect() for _ in range(count)]
rounds = 0
while not select.select([sys.stdin], (), (), 0)[0]:
    for at, client in enumerate(clients):
        try:
            while client.send(bytes(65536)): pass
        except BlockingIOError: pass
        except OSError:
            client.close()
            clients[at] = connect()
    rounds += 1
    if rounds == 2: print("full", flush=True)
"""


def receive_memory(port: int) -> list[int]:
    """Return the bytes of kernel memory that unread input holds, by connection: the `r` of ss(8)'s skmem."""
    listed = run(program("ss"), "-Htamn", "sport", "=", f":{port}").stdout.decode()
    return [int(part.split(",")[0].removeprefix("(r")) for part in listed.split("skmem:")[1:]]


@needs("ss")
def test_memory_of_unread_input_is_bounded(daemon: Daemon) -> None:
    """Endless writers on every place of two workers, beside a full load, hold at most 16 MiB of memory a worker."""
    flood = load(daemon.port(), 16, None)
    command = [sys.executable, "-c", WRITERS, str(daemon.port()), "600"]
    found: list[list[int]] = []
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=clean_environment(UNTRACED)
    ) as writers:
        assert writers.stdin
        assert writers.stdout
        assert writers.stdout.readline() == b"full\n"
        for _ in range(20):
            found.append(receive_memory(daemon.port()))
        writers.stdin.close()
    outcomes(flood)
    most = max(found, key=sum)
    print(f"{sum(most) / 2**20:.1f} MiB of unread input at most, {max(most)} bytes in one of {len(most)} connections")
    assert sum(most) > 2**20, "the writers hold nothing"
    assert sum(most) <= 2 * 16 * 2**20


@needs("strace")
def test_idle_daemon_is_silent_once_the_ring_is_empty(daemon: Daemon) -> None:
    """When the ring has closed the last client, which did not close, no process of the daemon makes a system call."""
    with socket.create_connection(("127.0.0.1", daemon.port())) as client:
        assert client.recv(100)
        daemon.rest()
        pids = [f"--attach={pid}" for pid in (daemon.process.pid, *daemon.live_workers())]
        wait_until(lambda: is_silent(pids), "the daemon makes no system call in a second")


def is_silent(pids: list[str]) -> bool:
    """Trace the daemon for a second."""
    traced = run("timeout", "1", program("strace"), "--quiet=all", "--follow-forks", *pids)
    text = traced.stderr.decode()
    if "ptrace(" in text:
        pytest.skip("strace may not attach here")
    assert traced.returncode == 124, "strace has ended before its second"
    # a process that makes no call stays in the one that it was in
    return " = " not in text and "resumed" not in text
