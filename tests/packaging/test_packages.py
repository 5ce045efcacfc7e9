"""The installed files and the metadata of the packages match the project."""

from __future__ import annotations

import argparse
import importlib.util
import re
import tomllib
from pathlib import Path

from daytimed import __version__

PROJECT = Path(__file__).parents[2]
PACKAGING = PROJECT / "packaging"
#: Scripts that make the packages, or files for them.
SOURCES = {"install.py", "deb", "rpm-build", "completions/generate.py"}
DEPENDENCIES = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dependencies"]


def test_every_file_is_installed() -> None:
    """Every file in systemd/ and packaging/ is installed or makes the packages; README.md and SECURITY.md are too."""
    spec = importlib.util.spec_from_file_location("install", PACKAGING / "install.py")
    assert spec
    assert spec.loader
    install = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(install)
    options = argparse.Namespace(prefix="/usr", destdir="", zshdir=None)
    installed = {(Path(path).name, content) for path, (content, _) in install.Installation(options).data().items()}
    expected = {PROJECT / "README.md", PROJECT / "SECURITY.md"}
    for folder in (PROJECT / "systemd", PACKAGING):
        expected |= {path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    expected -= {PACKAGING / source for source in SOURCES}
    expected = {
        path
        for path in expected
        if path.relative_to(PROJECT).parts[:2] not in {("packaging", "debian"), ("packaging", "rpm")}
    }
    assert installed == {(path.name, path.read_bytes()) for path in expected}


def test_the_versions_are_one() -> None:
    """The newest changelog entries of both packages have the version of the program."""
    newest = (PACKAGING / "debian/changelog").read_text().partition("\n")[0]
    assert newest.startswith(f"daytimed ({__version__}-")
    spec = (PACKAGING / "rpm/daytimed.spec").read_text()
    assert re.findall(r"^Version: +(\S+)$", spec, re.MULTILINE) == [__version__]
    assert re.findall(r"^%changelog\n\*.* - (\S+)-1$", spec, re.MULTILINE) == [__version__]


def test_the_debian_package_needs_what_the_project_needs() -> None:
    """The package declares each dependency with its oldest version, for the build and for use."""
    source, _, binary = (PACKAGING / "debian/control").read_text().partition("\nPackage: ")
    for dependency in DEPENDENCIES:
        name, version = dependency.split(">=")
        wanted = f"python3-{name.removeprefix('python-')} (>= {version})"
        assert wanted in source
        assert wanted in binary


def test_the_links_of_the_documents_lead_somewhere() -> None:
    """Each link leads to a heading of the same document or to a file."""
    for document in PROJECT.glob("*.md"):
        text = document.read_text()
        headings = {
            re.sub(r"[^\w -]", "", each).strip().lower().replace(" ", "-")
            for each in re.findall(r"^#+ (.*)", text, re.MULTILINE)
        }
        for link in re.findall(r"\]\(([^)]+)\)", text):
            if link.startswith("#"):
                assert link[1:] in headings, f"{document.name}: {link}"
            elif "://" not in link:
                assert (PROJECT / link).exists(), f"{document.name}: {link}"
