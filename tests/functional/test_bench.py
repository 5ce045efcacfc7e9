"""The benchmark in small: its figures are credible, it judges itself, and a partial run changes no document."""

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
#: A whole run writes these.
WRITTEN = [PROJECT / name for name in ("README.md", *(f"tests/bench/{each}" for each in (
    "README.md", "speed-light.svg", "speed-dark.svg")))]  # fmt: skip

#: A daytimed whose reply is LIE, on the last address of its command line.
LIAR = """\
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[-1].rpartition(":")[2]))) as server:
    while True:
        with server.accept()[0] as client:
            client.sendall(b"The Date Time is: LIE\\r\\n")
"""

pytestmark = needs("cc")


def bench(*arguments: str) -> tuple[int, str]:
    """Run a small part and check that no document changes; return the exit code and the output."""
    before = [path.read_bytes() for path in WRITTEN]
    command = [sys.executable, str(BENCH), "--rounds", "1", "--replies", "100", *arguments]
    done = run(*command, env=clean_environment(UNTRACED))
    printed = done.stdout.decode()
    print(printed, done.stderr.decode())
    assert "No document is changed" in printed
    assert before == [path.read_bytes() for path in WRITTEN]
    return done.returncode, printed


def row(printed: str, name: str) -> list[str]:
    """Return the figures of a server in the first table."""
    first = printed.partition("\n\n")[0].splitlines()
    (line,) = [line for line in first if re.match(rf"{re.escape(name)}  ", line)]
    return re.split(r" {2,}", line.removeprefix(name).strip())


def test_every_server_has_its_figures() -> None:
    """daytimed, twice, and its peers in C: positive figures, no errors; starts; a verdict on each target."""
    code, printed = bench("--only", "cost", "--only", "start", "--peer", "C prefork")
    assert code == 0
    peers = ("C prefork", "C prefork, one segment", "C prefork, one segment, input thrown away")
    for name in ("daytimed", *peers, "daytimed, again"):
        *figures, errors = row(printed, name)
        assert errors == "0"
        # daytimed has no ratio to itself
        cpu, *_, per_second, p50, p99, p999, pss = figures
        assert len(figures) == 6 + (name != "daytimed")
        assert min(float(each.split()[0].replace(",", "")) for each in (cpu, per_second, p50, p99, p999, pss)) > 0
    assert re.search(r"^daytimed +[\d,]+ \[[\d,]+-[\d,]+\] +[\d,]+ \[[\d,]+-[\d,]+\]$", printed, re.MULTILINE)
    assert re.search(r"^CPU a reply / xinetd .* not measured$", printed, re.MULTILINE)
    targets = ["CPU a reply / C prefork", "exec to READY, ms"]
    for clients in (2, 16, 64):
        best = f"p99, {clients} clients / the best"
        targets += [f"{best} server: C prefork", f"{best} floor: C prefork, one segment"]
    for target in targets:
        assert re.search(rf"^{target}.* at (most|least) .* not decided$", printed, re.MULTILINE)
    # the kernel's TCP settings are in the peers' figures
    control = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    assert re.search(rf"^[\d-]+, Linux [\d.]+, \d+ CPUs, TCP {control}, ", printed, re.MULTILINE)


def test_it_judges_itself(tmp_path: Path) -> None:
    """A run states A/A, load and steal time. One round decides nothing, neither about peers nor about another tree."""
    shutil.copytree(PROJECT / "daytimed", tmp_path / "daytimed")
    code, printed = bench("--against", str(tmp_path))
    assert code == 0
    assert re.search(
        r"load average [\d.]+ before, [\d.]+ after, steal time [\d.]+ %, 1 round\.$", printed, re.MULTILINE
    )
    ratio = row(printed, "daytimed, again")[1].split()[0]
    (stated,) = re.findall(r"^A/A .*: ([\d.]+) \[[\d.]+-[\d.]+\], noise unknown\.$", printed, re.MULTILINE)
    assert float(ratio) == pytest.approx(float(stated), abs=0.006)
    assert re.search(r"^This run decides no target: fewer than 6 rounds ", printed, re.MULTILINE)
    target = rf"^CPU a reply / {re.escape(str(tmp_path))} +at most 1.03 +[\d.]+ \[[\d.]+-[\d.]+\] +not decided$"
    assert re.search(target, printed, re.MULTILINE)


def test_six_rounds_decide(tmp_path: Path) -> None:
    """Six rounds have intervals and a noise, and a verdict that follows from them."""
    shutil.copytree(PROJECT / "daytimed", tmp_path / "daytimed")
    _, printed = bench("--against", str(tmp_path), "--rounds", "6")
    (low, high) = re.findall(r"^A/A .*: [\d.]+ \(([\d.]+)-([\d.]+)\), noise [\d.]+ %\.$", printed, re.MULTILINE)[0]
    target = r"^CPU a reply / .* at most 1.03 +[\d.]+ \(([\d.]+)-([\d.]+)\) +(met|missed|not decided)$"
    (least, greatest, verdict) = re.findall(target, printed, re.MULTILINE)[0]
    if "This run decides no target" in printed:
        assert verdict == "not decided"
    else:
        assert float(low) <= 1 <= float(high)
        expected = "met" if float(greatest) <= 1.03 else "missed" if float(least) > 1.03 else "not decided"
        # printed with two digits
        assert expected == verdict or 1.03 in (float(least), float(greatest))


def test_what_it_writes(tmp_path: Path) -> None:
    """--readme replaces the lines between the marks of both documents and nothing else, and draws both pictures."""
    for name in ("daytimed", "tests/bench"):
        shutil.copytree(PROJECT / name, tmp_path / name)
    begin, end = "<!-- figures: made by make bench -->", "<!-- end of the figures -->"
    documents = [tmp_path / "README.md", tmp_path / "tests/bench/README.md"]
    for document in documents:
        document.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    for picture in tmp_path.glob("tests/bench/*.svg"):
        picture.unlink()
    command = [sys.executable, str(tmp_path / "tests/bench/bench.py"), "--rounds", "1", "--replies", "100"]
    run(*command, "--only", "cost", "--peer", "C prefork", "--readme", env=clean_environment(UNTRACED))
    found = []
    for document in documents:
        before, _, rest = document.read_text().partition(begin)
        figures, _, after = rest.partition(end)
        assert ("before\n", "\nafter\n") == (before, after)
        assert "\nold\n" not in figures
        pictures = [document.parent / place for place in re.findall(r'src(?:set)?="([^"]+)"', figures)]
        assert [tmp_path / f"tests/bench/speed-{name}.svg" for name in ("dark", "light")] == pictures
        found.append(figures)
    summary, whole = found
    # the first row is the header
    rows = re.findall(r"^\| ([^|]+) \|", summary, re.MULTILINE)
    assert ["server", "daytimed", "C prefork"] == rows
    assert "](tests/bench/README.md)" in summary
    assert {"daytimed, again", "C prefork, one segment"} <= set(re.findall(r"^\| ([^|]+) \|", whole, re.MULTILINE))
    for words in ("load average", "A/A (", "## Targets", "not decided"):
        assert words in whole
        assert words not in summary
    for picture in pictures:
        texts = {each.text for each in ElementTree.parse(picture).iter() if each.text}
        assert {"daytimed", "C prefork, one segment"} <= texts


@pytest.mark.parametrize("lie", ["soon", "1970-01-01 61:61:61.5 +0000 UTC"])
def test_every_reply_is_checked(tmp_path: Path, lie: str) -> None:
    """A server that sends no time, or a wrong one, has an error for each client; daytimed beside it has none."""
    (tmp_path / "daytimed").mkdir()
    (tmp_path / "daytimed/__init__.py").touch()
    (tmp_path / "daytimed/__main__.py").write_text(LIAR.replace("LIE", lie))
    code, printed = bench("--against", str(tmp_path))
    assert code == 0
    # 100 with 16 clients, 50 each with 2 and 64, and 10 to warm up
    assert row(printed, str(tmp_path))[-1] == "210 wrong reply"
    assert row(printed, "daytimed")[-1] == "0"
