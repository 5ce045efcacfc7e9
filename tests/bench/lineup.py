"""The line-up: the servers of the comparison, their configuration and start, and why one is missing."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import journal
from builds import HERE, PEERS, ROOT, BuildError, build, go

HOST = "127.0.0.1"
WORKERS = 2
#: For daytimed; not the file that runs this, or PSS would count half of the memory that both share.
PYTHON = os.path.abspath(os.environ.get("BENCH_PYTHON", sys.executable))
#: A backlog that never limits a server.
BACKLOG = 65535
SENTENCE = "The Date Time is: #-#-# #:#:#. @ @\r\n"
OWN, AGAIN = "daytimed", "daytimed, again"
JUDGING = "daytimed, access and rate"
STRANGERS = "daytimed, access and rate, strangers"
LOGGING = "daytimed, every client in the journal"
PLAIN, FLOOR, FAIR_FLOOR = "C prefork", "C prefork, one segment", "C prefork, one segment, input thrown away"
NGINX, INETUTILS, OPENBSD, XINETD, GO = "nginx return", "inetutils inetd", "OpenBSD inetd", "xinetd", "the Go original"
GUNICORN, ASYNCIO, FORKING = "gunicorn, sync, HTTP", "asyncio, one process", "ForkingTCPServer"

#: A worker forgets each of them before it returns.
MANY_SOURCES = 65536
#: Checks every client and refuses none.
JUDGING_FILE = """\
[access]
allow = ["127.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"]
deny = ["198.51.100.0/24", "203.0.113.0/24"]
rate = 1000000
burst = 1000000
"""
LOGGING_FILE = """\
[log]
format = "journal"
client_rate = 0
"""
NGINX_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
NGINX_FILE = f"""\
load_module {NGINX_MODULE};
daemon off;
pid @folder@/pid;
worker_processes {WORKERS};
events {{ worker_connections 4096; }}
stream {{
    server {{
        listen {HOST}:@port@ backlog={BACKLOG};
        return "The Date Time is: $time_iso8601\\r\\n";
    }}
}}
"""
XINETD_FILE = f"""\
service daytime
{{
    type = INTERNAL UNLISTED
    socket_type = stream
    protocol = tcp
    port = @port@
    bind = {HOST}
    wait = no
    instances = UNLIMITED
    per_source = UNLIMITED
    cps = 1000000 1
}}
"""
#: An inetd finds its internal services and their ports in /etc/services; what it writes to /run disappears.
_OWN_SERVICES = "mount --bind @folder@/services /etc/services && mount -t tmpfs none /run && exec env"
SERVICES_FILE = "daytime @port@/tcp\n"


@dataclass(frozen=True, eq=False)
class Server:
    """
    One server of the comparison.

    In its command, files and environment, `@folder@` stands for its own folder and `@port@` for its port; an argument
    of the command that contains a port is repeated for each port.
    """

    name: str
    command: Sequence[str]
    reply: str = SENTENCE
    """A template of tests/bench/load.c."""
    request: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    cwd: Path = ROOT
    ours: bool = False
    """daytimed of this source tree, which must not fail a client."""
    is_baseline: bool = False
    """daytimed of another source tree."""
    sources: int = 64
    """Addresses of its clients."""
    share: int = 1
    """The divisor of the number of replies, for a slow server."""
    journal: bool = False
    """Whether it gets a journal of its own."""
    pid_file: str = ""
    """Of a server that detaches."""
    version: str = ""
    note: str = ""
    """An explanation of its figures: a sentence without its subject."""


class MissingError(Exception):
    """A server is missing here; the message is the reason."""


def own(
    name: str = OWN,
    *,
    tree: Path | None = None,
    workers: int = WORKERS,
    listen: bool = True,
    settings: str | None = None,
) -> Server:
    """Return a daytimed with these settings only; -m takes it from the working directory."""
    config = os.devnull if settings is None else "@folder@/daytimed.toml"
    command = [PYTHON, "-m", "daytimed", "-c", config, "-w", str(workers)]
    files = {} if settings is None else {"daytimed.toml": settings}
    listening = [f"-ltcp4://{HOST}:@port@"] if listen else []
    return Server(
        name, [*command, *listening], files=files, cwd=tree or ROOT, ours=tree is None, is_baseline=tree is not None,
        journal=settings == LOGGING_FILE,
    )  # fmt: skip


def prefork(name: str, *options: str, workers: int = WORKERS) -> Server:
    """Return the peer in C."""
    return Server(name, [str(_built("prefork.c")), *options, str(workers), "@port@"])


def list_servers(against: Sequence[Path]) -> tuple[list[Server], dict[str, str]]:
    """Return the servers, daytimed first and again last, and why others are missing."""
    if against:
        return [own(), *(own(str(tree), tree=tree) for tree in against), own(AGAIN)], {}
    makers: dict[str, Callable[[str], Server]] = {
        OWN: own,
        JUDGING: lambda name: own(name, settings=JUDGING_FILE),
        STRANGERS: lambda name: replace(own(name, settings=JUDGING_FILE), sources=MANY_SOURCES),
        LOGGING: _logging,
        PLAIN: prefork,
        FLOOR: lambda name: prefork(name, "-1"),
        FAIR_FLOOR: lambda name: prefork(name, "-2"),
        NGINX: _nginx,
        INETUTILS: _inetutils,
        OPENBSD: _openbsd,
        XINETD: _xinetd,
        GO: _go_original,
        GUNICORN: gunicorn,
        ASYNCIO: lambda name: _python_peer(name, "asyncio"),
        FORKING: lambda name: _python_peer(name, "forking"),
        # as far from the first as any peer, so that the noise includes what changes within a round
        AGAIN: own,
    }
    servers, missing = [], {}
    for name, make in makers.items():
        try:
            servers.append(make(name))
        except MissingError as error:
            missing[name] = str(error)
    return servers, missing


def _go_original(name: str) -> Server:
    """Return the server of the Go tutorial."""
    compiler = go()
    version = (compiler.resolve().parents[1] / "VERSION").read_text().split()[0] if compiler else ""
    return Server(
        name, [str(_built("daytime.go")), f"{HOST}:@port@"], "The Date Time is: #-#-# #:#:#. @ @ m=+#.", version=version
    )


def gunicorn(name: str = GUNICORN, *, listen: bool = True) -> Server:
    """Return the usual server of Python shops; its package needs the distribution's Python."""
    root, python = PEERS / "gunicorn", shutil.which("python3", path="/usr/bin")
    if not root.exists() or python is None:
        raise MissingError("not unpacked; `tests/programs --unpack gunicorn` fetches it")
    modules = root / "usr/lib/python3/dist-packages"
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        # an installed package would be compiled
        subprocess.run([python, "-m", "compileall", "-q", str(modules)], check=True, capture_output=True)
    command = [python, "-m", "gunicorn", "--chdir", str(HERE), "--workers", str(WORKERS), "--backlog", str(BACKLOG)]
    # a worker that starts ignores a request to stop
    command += ["--graceful-timeout", "1", "--log-level", "error"]
    command += [*(["--bind", f"{HOST}:@port@"] if listen else []), "peers:application"]
    reply, request = f"HTTP/1. 200 OK\r\n*\r\n\r\n{SENTENCE}", f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
    return Server(
        name, command, reply, request, environment={"PYTHONPATH": str(modules)}, share=10, version=_version("gunicorn")
    )


def _logging(name: str) -> Server:
    if why := journal.why_missing():
        raise MissingError(why)
    return own(name, settings=LOGGING_FILE)


def _nginx(name: str) -> Server:
    if not NGINX_MODULE.exists():
        raise MissingError("libnginx-mod-stream is not installed")
    command = [_installed("nginx"), "-p", "@folder@", "-e", "@folder@/errors", "-c", "@folder@/nginx.conf"]
    reply = "The Date Time is: #-#-@:#:@:#\r\n"
    return Server(name, command, reply, files={"nginx.conf": NGINX_FILE}, version=_version("nginx"))


def _xinetd(name: str) -> Server:
    command = [_installed("xinetd"), "-dontfork", "-f", "@folder@/xinetd.conf", "-pidfile", "@folder@/pid"]
    files = {"xinetd.conf": XINETD_FILE}
    return Server(name, command, "# @ # #:#:# @\r\n", files=files, version=_version("xinetd"))


def _openbsd(name: str) -> Server:
    # -R 0: no limit to the rate
    return _inetd(name, "openbsd-inetd", "-i", "-R", "0", "@folder@/inetd.conf")


def _inetutils(name: str) -> Server:
    # in the foreground it would log every client
    server = _inetd(name, "inetutils-inetd", "-R", str(10**9), "--pidfile=@folder@/pid", "@folder@/inetd.conf")
    note = "has a backlog of ten: a client that finds it full waits a second longer, or gets no reply"
    return replace(server, pid_file="pid", share=4, note=note)


def _inetd(name: str, package: str, *arguments: str) -> Server:
    if os.geteuid() != 0:
        raise MissingError("needs root")
    root = PEERS / package
    if not root.exists():
        raise MissingError(f"not unpacked; `tests/programs --unpack {package}` fetches it")
    program = next(each for each in root.glob("usr/sbin/*inetd") if each.name != "update-inetd")
    libraries = ":".join(str(each) for each in (*root.glob("usr/lib/*-linux-*"), *root.glob("lib/*-linux-*")))
    command = ["unshare", "--mount", "sh", "-c", f'{_OWN_SERVICES} "$@"', "sh", f"LD_LIBRARY_PATH={libraries}"]
    files = {"services": SERVICES_FILE, "inetd.conf": f"{HOST}:daytime stream tcp nowait root internal\n"}
    return Server(
        name, [*command, str(program), *arguments], "@ @ # #:#:# #\r\n", files=files,
        version=_version(package),
    )  # fmt: skip


def _python_peer(name: str, kind: str) -> Server:
    return Server(name, [PYTHON, str(HERE / "peers.py"), kind, "@port@"], share=10)


def _built(source: str) -> Path:
    try:
        return build(source)
    except BuildError as error:
        raise MissingError(str(error)) from error


def _installed(program: str) -> str:
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        raise MissingError(f"{program} is not installed")
    return path


def _version(package: str) -> str:
    """Return a package's version, from dpkg or from the changelog of an unpacked one."""
    unpacked = PEERS / package / "usr/share/doc" / package / "changelog.Debian.gz"
    if unpacked.exists():
        with gzip.open(unpacked, "rt") as changes:
            return changes.readline().partition("(")[2].partition(")")[0]
    command = ["dpkg-query", "-W", "-f", "${Version}", package]
    with contextlib.suppress(OSError):
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return ""


def versions(servers: Sequence[Server]) -> list[str]:
    """Return the names and versions of the peers."""
    return [f"{each.name.partition(',')[0]} {each.version}" for each in servers if each.version]
