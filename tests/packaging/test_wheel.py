"""The wheel and the sdist, built from a copy of the tree; the installed programs run without the tree."""

from __future__ import annotations

import email
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest
from harness import clean_environment, run, serving

from daytimed import __version__

PROJECT = Path(__file__).parents[2]
PIP_S = 180.0


class Built(NamedTuple):
    """A tree and its files, the wheel and sdist built from it, and an environment with only the wheel."""

    tree: Path
    files: list[str]
    wheel: Path
    sdist: Path
    environment: Path


def python(*arguments: str | Path) -> None:
    """Run Python without coverage, and with time to download packages."""
    done = subprocess.run(
        [sys.executable, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=False, env=clean_environment({"COVERAGE_PROCESS_CONFIG": ""}), timeout=PIP_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    listed = run("git", "-C", str(PROJECT), "ls-files")
    if listed.returncode != 0:
        pytest.skip("only a git clone knows the files of the tree")
    files = listed.stdout.decode().splitlines()
    folder = tmp_path_factory.mktemp("wheel")
    tree, dist, backend, environment = (folder / name for name in ("tree", "dist", "backend", "environment"))
    for name in files:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, tree / name)
    # untracked files that git ignores
    (tree / "daytimed/__pycache__").mkdir()
    (tree / "daytimed/__pycache__/old.pyc").touch()
    (tree / ".venv").mkdir()
    (tree / ".venv/file").touch()
    python("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", backend, "hatchling")
    script = (
        f"import os, sys; sys.path.append({str(backend)!r}); os.chdir({str(tree)!r}); from hatchling import build;"
        f" build.build_sdist({str(dist)!r}); build.build_wheel({str(dist)!r})"
    )
    python("-c", script)
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    python("-m", "venv", "--without-pip", environment)
    pip = ("-m", "pip", "--python", environment, "install", "--quiet", "--disable-pip-version-check")
    python(*pip, wheel)
    return Built(tree, files, wheel, sdist, environment)


def test_the_wheel_has_the_modules_and_nothing_else(built: Built) -> None:
    """The wheel contains every module, py.typed, the licence and the metadata, and nothing else."""
    about = f"daytimed-{__version__}.dist-info/"
    modules = {name for name in built.files if name.startswith("daytimed/")}
    notes = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
    with zipfile.ZipFile(built.wheel) as wheel:
        assert set(wheel.namelist()) == modules | {about + each for each in notes}
    assert built.wheel.name == f"daytimed-{__version__}-py3-none-any.whl"


def test_the_wheel_says_what_it_is_and_needs(built: Built) -> None:
    """Its metadata states version, Python, the runtime dependencies only, the README, and both programs."""
    about = f"daytimed-{__version__}.dist-info"
    with zipfile.ZipFile(built.wheel) as wheel:
        metadata = email.message_from_bytes(wheel.read(f"{about}/METADATA"))
        programs = wheel.read(f"{about}/entry_points.txt").decode()
    assert (metadata["Name"], metadata["Version"], metadata["Requires-Python"]) == ("daytimed", __version__, ">=3.11")
    needed = {each for each in metadata.get_all("Requires-Dist", []) if "extra ==" not in each}
    assert needed == {"structlog>=22.3", "python-daemon>=2.3"}
    assert metadata.get_payload(decode=True) == (PROJECT / "README.md").read_bytes()
    assert programs.split() == [
        "[console_scripts]",
        *("daytime-get", "=", "daytimed.probe.__main__:main"),
        *("daytimed", "=", "daytimed.__main__:main"),
    ]


def test_the_sdist_is_the_tree(built: Built) -> None:
    """The sdist contains every tracked file, and no other."""
    with tarfile.open(built.sdist) as sdist:
        names = [name.partition("/")[2] for name in sdist.getnames()]
    assert sorted(names) == sorted(["PKG-INFO", *built.files])


def test_what_is_installed_runs_without_the_tree(built: Built) -> None:
    """With only the environment, both programs print their version, serve, query and find python-daemon."""
    built.tree.rename(built.tree.with_name("elsewhere"))
    for name in ("daytimed", "daytime-get"):
        assert run(str(built.environment / "bin" / name), "--version").stdout.decode() == f"{name} {__version__}\n"
    with serving(program=[str(built.environment / "bin/daytimed")], cwd="/") as daemon:
        told = run(str(built.environment / "bin/daytime-get"), f"127.0.0.1:{daemon.port()}", cwd="/")
        assert told.stdout.startswith(b"The Date Time is: ")
    place = "import daytimed, daemon, structlog; print(daytimed.__file__)"
    found = run(str(built.environment / "bin/python"), "-c", place, cwd="/").stdout.decode()
    assert found.startswith(os.fspath(built.environment))
