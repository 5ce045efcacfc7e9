"""The benchmark, in small: what it prints can be believed, and it touches nothing."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from harness import UNTRACED, clean_environment, needs, run

PROJECT = Path(__file__).parents[2]
BENCH = PROJECT / "tests/bench/bench.py"
#: What a whole run writes.
WRITTEN = [PROJECT / "README.md", *(PROJECT / f"tests/bench/speed-{name}.svg" for name in ("light", "dark"))]

#: A daytimed that says what it likes, to the address that it is given.
LIAR = """\
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[-1].rpartition(":")[2]))) as server:
    while True:
        with server.accept()[0] as client:
            client.sendall(b"The Date Time is: LIE\\r\\n")
"""

pytestmark = needs("cc")


def bench(*arguments: str) -> tuple[int, str]:
    """Run a small part of it and hold that it leaves the documents alone; return the exit code and the output."""
    before = [path.read_bytes() if path.exists() else None for path in WRITTEN]
    command = [sys.executable, str(BENCH), "--rounds", "1", "--replies", "100", *arguments]
    done = run(*command, env=clean_environment(UNTRACED))
    told = done.stdout.decode()
    print(told, done.stderr.decode())
    assert "README.md is as it was" in told
    assert before == [path.read_bytes() if path.exists() else None for path in WRITTEN]
    return done.returncode, told


def row(told: str, name: str) -> list[str]:
    """Return the figures of a server in the first table."""
    first = told.partition("\n\n")[0].splitlines()
    (line,) = [line for line in first if re.match(rf"{re.escape(name)}  ", line)]
    return re.split(r" {2,}", line.removeprefix(name).strip())


def test_every_server_has_its_figures() -> None:
    """Daytimed and its peers in C: CPU, replies, latencies and memory above nothing, no errors, starts, targets."""
    code, told = bench("--only", "cost", "--only", "start", "--peer", "C prefork")
    assert code == 0
    for name in ("daytimed", "C prefork", "C prefork, one segment", "C prefork, one segment, input thrown away"):
        *figures, errors = row(told, name)
        assert errors == "0"
        # the ratio is of others only
        cpu, *_, per_second, p50, p99, p999, pss = figures
        assert len(figures) == 6 + (name != "daytimed")
        assert min(float(each.split()[0].replace(",", "")) for each in (cpu, per_second, p50, p99, p999, pss)) > 0
    assert re.search(r"^daytimed +[\d,]+ \([\d,]+-[\d,]+\) +[\d,]+ \([\d,]+-[\d,]+\)$", told, re.MULTILINE)
    assert re.search(r"^CPU a reply / C prefork +≤ 1.00 .* (met|missed)$", told, re.MULTILINE)
    assert re.search(r"^CPU a reply / xinetd .* not measured$", told, re.MULTILINE)
    for clients in (2, 16, 64):
        best = rf"^p99, {clients} clients / the best"
        assert re.search(rf"{best} server: C prefork +≤ 1.10 .* (met|missed)$", told, re.MULTILINE)
        assert re.search(rf"{best} floor: C prefork, one segment.* ≤ 1.10 .* (met|missed)$", told, re.MULTILINE)
    # what the kernel does for the peers' TCP is in their figures
    control = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    assert re.search(rf"^[\d-]+, Linux [\d.]+, \d+ CPUs, TCP {control}, ", told, re.MULTILINE)


def test_what_it_writes(tmp_path: Path) -> None:
    """With --readme the figures stand between the marks, those before are gone, all else is as it was; and pictures."""
    for name in ("daytimed", "tests/bench"):
        shutil.copytree(PROJECT / name, tmp_path / name)
    begin, end = "<!-- figures: made by make bench -->", "<!-- end of the figures -->"
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    command = [sys.executable, str(tmp_path / "tests/bench/bench.py"), "--rounds", "1", "--replies", "100"]
    run(*command, "--only", "cost", "--peer", "one segment", "--readme", env=clean_environment(UNTRACED))
    before, _, rest = readme.read_text().partition(begin)
    figures, _, after = rest.partition(end)
    assert ("before\n", "\nafter\n") == (before, after)
    assert "\nold\n" not in figures
    assert re.search(r"^\| daytimed \| [\d.]+ \(", figures, re.MULTILINE)
    for place in re.findall(r'src(?:set)?="([^"]+)"', figures):
        texts = [each.text for each in ElementTree.parse(tmp_path / place).iter() if each.text]
        assert {"daytimed", "C prefork, one segment"} <= set(texts)
    assert 2 == len(list(tmp_path.glob("tests/bench/*.svg")))


@pytest.mark.parametrize("lie", ["soon", "1970-01-01 61:61:61.5 +0000 UTC"])
def test_every_reply_is_checked(tmp_path: Path, lie: str) -> None:
    """A server whose replies are none, or never true, has as many errors as clients, and daytimed beside it none."""
    (tmp_path / "daytimed").mkdir()
    (tmp_path / "daytimed/__init__.py").touch()
    (tmp_path / "daytimed/__main__.py").write_text(LIAR.replace("LIE", lie))
    code, told = bench("--against", str(tmp_path))
    assert code == 0
    # half as many with 2 and with 64 clients as with 16, and a tenth before all of them
    assert row(told, str(tmp_path))[-1] == "210 wrong reply"
    assert row(told, "daytimed")[-1] == "0"
