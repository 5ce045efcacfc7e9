"""The variable TZ."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daytimed import tz

ZONEINFO = Path("/usr/share/zoneinfo")

#: The offsets from UTC in January and July 2026 that the C library makes of a right value, in seconds.
RIGHT = {
    "": (0, 0),
    ":": (0, 0),
    "UTC": (0, 0),
    "UTC0": (0, 0),
    "GMT0": (0, 0),
    "Europe/Berlin": (3600, 7200),
    ":Europe/Berlin": (3600, 7200),
    "/usr/share/zoneinfo/Europe/Berlin": (3600, 7200),
    ":/usr/share/zoneinfo/Europe/Berlin": (3600, 7200),
    "../zoneinfo/Europe/Berlin": (3600, 7200),
    "Etc/GMT+5": (-18000, -18000),
    "CET-1CEST,M3.5.0,M10.5.0/3": (3600, 7200),
    "CET-1:00:00CEST-2,M3.5.0/02:00:00,M10.5.0/+3": (3600, 7200),
    "<+0530>-5:30": (19800, 19800),
    "<-02>2<-01>,M3.5.0/-1,M10.5.0/0": (-7200, -3600),
    "NZST-12NZDT,J274,J91": (46800, 43200),
    "EST5EDT,59,365/167": (-18000, -14400),
    "EST5": (-18000, -18000),
}

WRONG = [
    *("Europe/Berlln", "Europe", "europe", "Europe/", " Europe/Berlin", "Europe/Berlin ", "Berlin", "CEST", "X"),
    *("/", "/etc/passwd", "zone.tab", "../../../etc/passwd", "/dev/null", "/nonexistent", "a\nb", "\udcff", "a" * 5000),
    *("CET-1CEST,M3.5.0", "CET-1CEST,M13.5.0,M10.5.0", "CET-1CEST,M3.6.0,M10.5.0", "CET-1CEST,M3.5.7,M10.5.0"),
    *("CET-25", "CET-1:60", "ET-1", "<+0530>", "<+0530-5:30", "+05:30", "UTC+5:30 ", "CET-1CEST,J0,J90", "CET-1,"),
]


@pytest.mark.parametrize(("value", "offsets"), RIGHT.items())
def test_right_values(value: str, offsets: tuple[int, int]) -> None:
    """A value that the C library understands is right: a file of the database, any file like it, or a rule."""
    tz.check(value)
    script = "import time; print(*(time.localtime(at).tm_gmtoff for at in (1768478400, 1784116800)))"
    done = subprocess.run([sys.executable, "-c", script], env={"TZ": value}, capture_output=True, text=True, check=True)
    assert offsets == tuple(map(int, done.stdout.split()))


def test_unset() -> None:
    """Without TZ, /etc/localtime is the zone."""
    tz.check(None)


@pytest.mark.parametrize("value", WRONG, ids=lambda value: ascii(value)[:30])
def test_wrong_values(value: str) -> None:
    """A value that names no zone is an error of one printable line."""
    with pytest.raises(ValueError, match=r"is not a time zone on this system; use ") as caught:
        tz.check(value)
    assert str(caught.value).startswith(repr(value))
    assert str(caught.value).isprintable()


def test_every_zone_of_the_system() -> None:
    """Every name of the database is right."""
    names = re.findall(r"^[A-Z,]+\t\S+\t(\S+)", (ZONEINFO / "zone1970.tab").read_text(), re.MULTILINE)
    assert len(names) > 300
    for name in names:
        tz.check(name)


def test_folder_of_zones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TZDIR is the folder of zones, as for the C library; without the database, its names are wrong."""
    (tmp_path / "Mine").write_bytes((ZONEINFO / "Asia/Kolkata").read_bytes())
    monkeypatch.setenv("TZDIR", str(tmp_path))
    tz.check("Mine")
    with pytest.raises(ValueError, match="package tzdata"):
        tz.check("Asia/Kolkata")


@given(length=st.integers(0, 10_000))
def test_truncated_zone(length: int) -> None:
    """A file that ends early is no zone."""
    content = (ZONEINFO / "Europe/Berlin").read_bytes()
    whole = content.rindex(b"\n", 0, -1)
    assert tz._is_zone(content[:length]) == (length >= whole)


def test_pipe(tmp_path: Path) -> None:
    """A named pipe is no zone, and is not waited for."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="is not a time zone"):
        tz.check(str(tmp_path / "pipe"))
