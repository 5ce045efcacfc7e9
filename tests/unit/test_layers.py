"""The layers of the package, checked in its source: imports point only downwards, and few modules end a process."""

from __future__ import annotations

import ast
import graphlib
import io
import socket
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest
from unit_help import stream_server

import daytimed

PACKAGE = Path(daytimed.__file__).parent

#: From the lowest to the highest. A folder is in the layer of its name.
LAYERS = {
    "pure": "errors reasons addresses charset nearest tz clock formats config respawn phases budget",
    "mechanisms": "systemd socketfile peers listeners datagram signals counters networks sample rates gate log pidfile "
    "privileges deferral cpus loader",
    "serving": "ring session backlog worker",
    "supervision": "team generation sockets children reporter lookout master",
    "process": "arguments respite inetd daemonize cli __main__",
}
HEIGHTS = {noun: height for height, nouns in enumerate(LAYERS.values()) for noun in nouns.split()}

#: The modules of the probe, from the lowest to the highest.
PROBE_ORDER = ["daytimed.probe"] + [
    f"daytimed.probe.{each}"
    for each in (
        "civil",
        "ranges",
        "zones",
        "families",
        "reading",
        "parsers",
        "offset",
        "client",
        "streams",
        "tally",
        "verdict",
        "survey",
        "report",
        "screen",
        "arguments",
        "cli",
        "__main__",
    )
]
#: The modules of the daemon that the probe may import.
PROBE_MAY_IMPORT = {"daytimed"} | {f"daytimed.{each}" for each in ("addresses", "charset", "formats", "nearest", "tz")}


def module_name(path: Path) -> str:
    """Return the dotted name of a file of the package, `daytimed` for its `__init__`."""
    parts = ["daytimed", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
DAEMON = [name for name in FILES if name != "daytimed" and not name.startswith("daytimed.probe")]
PROBE = [name for name in FILES if name.startswith("daytimed.probe")]


def imports_of(name: str) -> set[str]:
    """Return the modules that a module imports, at any place in it."""
    found = set()
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            assert node.module
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in FILES else node.module)
    return found


def calls_in(name: str) -> set[str]:
    """Return the functions that a module calls, as its source spells them."""
    tree = ast.parse(FILES[name].read_text())
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def noun_of(name: str) -> str:
    """Return the file or folder of the package that a module is."""
    return name.split(".")[1]


def test_every_module_has_its_layer() -> None:
    """A new file or folder needs a layer, and a layer names no other."""
    assert HEIGHTS.keys() == {noun_of(name) for name in DAEMON}


@pytest.mark.parametrize("name", DAEMON)
def test_imports_point_downwards(name: str) -> None:
    """A module imports only from its own layer and those below."""
    own = {each for each in imports_of(name) if each.startswith("daytimed.")}
    height = HEIGHTS[noun_of(name)]
    assert [] == sorted(each for each in own if HEIGHTS.get(noun_of(each), len(LAYERS)) > height)


def test_imports_make_no_circle() -> None:
    """Within a layer too, there is an order in which each module imports only those before it."""
    graphlib.TopologicalSorter({name: imports_of(name) & {*DAEMON} for name in DAEMON}).prepare()


@pytest.mark.parametrize("name", FILES)
def test_files_are_short(name: str) -> None:
    """A file has at most 350 lines."""
    assert len(FILES[name].read_text().splitlines()) <= 350


def test_core_is_short() -> None:
    """Master, worker and session have at most 560 lines of code together, without comments and docstrings."""
    assert sum(map(code_lines, ("daytimed.master", "daytimed.worker", "daytimed.session"))) <= 560


def code_lines(name: str) -> int:
    """Return the number of lines with code."""
    text = FILES[name].read_text()
    found = {
        line
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type not in (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
        for line in range(token.start[0], token.end[0] + 1)
        if token.string
    }
    for node in ast.walk(ast.parse(text)):
        # a string that is a statement is a docstring
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found -= {*range(node.lineno, (node.end_lineno or node.lineno) + 1)}
    return len(found)


@pytest.mark.parametrize("name", PROBE)
def test_probe_knows_nothing_of_the_daemon(name: str) -> None:
    """The probe imports only addresses, charset, formats, nearest and tz of the daemon, and the standard library."""
    found = {each for each in imports_of(name) if not each.startswith("daytimed.probe")}
    foreign = {each for each in found if each.partition(".")[0] not in sys.stdlib_module_names}
    assert [] == sorted(foreign - PROBE_MAY_IMPORT)


@pytest.mark.parametrize("name", PROBE)
def test_layers_of_the_probe(name: str) -> None:
    """Imports point downwards within the probe too."""
    height = PROBE_ORDER.index(name)
    own = {each for each in imports_of(name) if each.startswith("daytimed.probe.")}
    assert [] == sorted(own - set(PROBE_ORDER[:height]))


def test_only_command_lines_exit() -> None:
    """Only the command lines call sys.exit() or raise SystemExit."""
    exits = {"sys.exit", "exit", "quit", "SystemExit"}
    allowed = {"daytimed.cli", "daytimed.__main__", "daytimed.probe.cli", "daytimed.probe.__main__"}
    found = {name for name in FILES if calls_in(name) & exits}
    assert [] == sorted(found - allowed)
    assert {"daytimed.__main__", "daytimed.probe.__main__"} <= found


def test_only_children_end_at_once() -> None:
    """Only the modules that fork, and the probe after a crash, call os._exit()."""
    forking = {"daytimed.children", "daytimed.daemonize", "daytimed.loader"}
    assert forking | {"daytimed.probe.__main__"} == {name for name in FILES if "os._exit" in calls_in(name)}
    assert forking == {name for name in FILES if "os.fork" in calls_in(name)}


def test_core_is_pure() -> None:
    """The lowest layer uses neither sockets nor processes."""
    effects = {"socket", "_socket", "signal", "subprocess", "select", "threading", "structlog", "logging"}
    pure = [name for name in DAEMON if noun_of(name) in LAYERS["pure"].split()]
    assert {} == {name: found for name in pure if (found := imports_of(name) & effects)}


@pytest.mark.parametrize("name", DAEMON)
def test_nobody_starts_a_thread(name: str) -> None:
    """The daemon forks, so it has no threads."""
    assert set() == imports_of(name) & {"threading", "_thread", "concurrent.futures", "asyncio", "multiprocessing"}


def modules_after(imports: str) -> set[str]:
    """Return the modules of a new interpreter after some imports, without `site` and the environment."""
    script = f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); {imports}; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True)
    return set(ended.stdout.split())


def test_probe_loads_nothing_that_it_does_not_need() -> None:
    """The probe loads its own modules, those that socket and argparse need, and built-in ones."""
    # `from __future__ import annotations` loads __future__
    needed = modules_after("import __future__, argparse, socket")
    more = modules_after("import daytimed.probe.cli") - needed
    foreign = {each for each in more if each.partition(".")[0] != "daytimed" and each not in sys.builtin_module_names}
    assert [] == sorted(foreign)
    assert {"daytimed.addresses", "daytimed.probe.client"} <= more


#: The modules that every run needs.
ALWAYS = {
    "cli",
    "arguments",
    "survey",
    "tally",
    "verdict",
    "client",
    "streams",
    "offset",
    "parsers",
    "reading",
    "families",
    "civil",
    "zones",
}


@pytest.mark.parametrize(
    ("arguments", "more"),
    [
        ([], {"screen"}),
        (["-q"], set()),
        (["-o", "raw"], set()),
        (["-o", "json"], {"report", "json"}),
        (["-o", "prometheus"], {"report", "ranges"}),
        (["-o", "nagios"], {"report", "ranges"}),
        (["-q", "-w", "99"], {"ranges"}),
        (["-q", "-z", "UTC"], set()),
        (["-q", "-z", "Europe/Berlin"], {"zoneinfo"}),
    ],
)
def test_run_loads_only_what_it_uses(arguments: list[str], more: set[str]) -> None:
    """A run loads only the modules that its options need, of the probe and of the standard library."""
    sock = socket.create_server(("127.0.0.1", 0))
    with stream_server(sock, lambda client: client.sendall(b"1795348800")):
        words = [*arguments, f"127.0.0.1:{sock.getsockname()[1]}"]
        script = f"out = os.dup(1); os.dup2(os.open('/dev/null', 1), 1); cli.main({words}); os.dup2(out, 1)"
        loaded = modules_after(f"import os; from daytimed.probe import cli; {script}")
    rare = {"json", "zoneinfo", "threading", "queue", "struct", "ipaddress", "datetime", "typing", "shutil"}
    rare |= {"dataclasses", "inspect", "_colorize"}
    own = {each.removeprefix("daytimed.probe.") for each in loaded if each.startswith("daytimed.probe.")}
    if "zoneinfo" in more:
        # zoneinfo imports these
        loaded -= rare - {"zoneinfo"}
    assert (own - ALWAYS) | (loaded & rare) == more
    assert own >= ALWAYS


@pytest.mark.parametrize(
    "module",
    [
        "typing",
        "dataclasses",
        "json",
        "ipaddress",
        "structlog",
        "ctypes",
        "threading",
        "datetime",
        "daytimed.config.settings",
    ],
)
def test_probe_leaves_out_what_is_slow(module: str) -> None:
    """The probe does not load modules that are slow to load."""
    assert module not in modules_after("import daytimed.probe.cli")


def test_modes_of_the_daemon_load_only_what_they_need() -> None:
    """A module that only one mode needs is loaded only in that mode."""
    script = "import sys, daytimed.cli; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert set() == {"daytimed.inetd", "daytimed.daemonize", "daemon"} & set(ended.stdout.split())
