"""
The RPM: built by Debian's rpm, compared with the Debian package, installed and removed by rpm itself.

No host here uses RPMs for its own packages. A program that records its arguments stands in for systemd.
"""

from __future__ import annotations

import functools
import gzip
import re
import tempfile
import tomllib
from pathlib import Path

import pytest
from container import PROJECT
from package import SUITES, copy_tree, in_builder, package

from daytimed import __version__

SUITE = "trixie"
pytestmark = pytest.mark.skipif(SUITE not in SUITES, reason="the rpm of Debian 12 builds it, but compresses no manuals")
SPEC = PROJECT / "packaging/rpm/daytimed.spec"
#: Files that have different names in the two packages.
NAMES = (
    (r"^usr/lib/python3/dist-packages/", "modules/"),
    (r"^usr/lib/python3\.\d+/site-packages/", "modules/"),
    (r"^usr/share/zsh/vendor-completions/", "usr/share/zsh/site-functions/"),
    (r"^usr/share/doc/daytimed/changelog$", "usr/share/doc/daytimed/CHANGELOG.md"),
)
#: Files of the Debian package only, and why.
DEBIAN = {
    "etc/init.d/daytimed": "hosts with RPMs have systemd",
    "etc/ufw/applications.d/daytimed": "and another firewall",
    "usr/share/doc/daytimed/changelog.Debian": "the changelog of the package",
    "usr/share/doc/daytimed/copyright": "RPMs have the licence elsewhere",
    f"modules/daytimed-{__version__}.dist-info/INSTALLER": "names Debian; Fedora writes its own",
    "usr/share/lintian/overrides/daytimed": "for Debian's own checks",
}
#: Files of the RPM only, and why.
RPM = {
    "usr/share/licenses/daytimed/LICENSE": "RPMs have the licence here",
    f"modules/daytimed-{__version__}.dist-info/RECORD": "Debian removes it; so does Fedora",
    f"modules/daytimed-{__version__}.dist-info/licenses/LICENSE": "Debian removes it",
}
#: Macros of Fedora and RHEL, which the spec uses there.
MACROS = """
    _journalcatalogdir _systemdgeneratordir _unitdir bash_completions_dir fish_completions_dir zsh_completions_dir
    pyproject_buildrequires pyproject_install pyproject_wheel python3 python3_sitelib
    systemd_post systemd_postun systemd_postun_with_restart systemd_preun
"""
#: Install one release of the package, upgrade it to the next, and remove it; print what the test checks.
LIFE = """
set -eu
printf '#!/bin/sh\\necho "$*" >>/run/asked\\n' >/usr/lib/systemd/systemd-update-helper
chmod +x /usr/lib/systemd/systemd-update-helper
rpm="rpm --nodeps"
$rpm --install dist/daytimed-*-1.noarch.rpm
$rpm --verify daytimed
owned=$(rpm --query --list daytimed)
# Debian's Python does not search this folder
export PYTHONPATH=$(echo "$owned" | sed -n 's,/daytimed/__init__.py$,,p') PYTHONDONTWRITEBYTECODE=1
daytimed --check
mkfifo /run/log
exec 3<>/run/log
daytimed 2>&3 &
grep -q -m 1 daemon_ready <&3
daytime-get
kill $!
wait $!
echo '# mine' >>/etc/daytimed/daytimed.toml
$rpm --upgrade next/daytimed-*-1.next.noarch.rpm
tail -n 1 /etc/daytimed/daytimed.toml
$rpm --erase daytimed
for path in $owned; do
    case $path in /usr/lib/firewalld*) ;; *) [ ! -e $path ] || find $path ;; esac
done
cat /run/asked
"""


@functools.cache
def keep() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


@functools.cache
def build() -> Path:
    """Return a copy of the project after `make rpm`."""
    place = copy_tree(Path(keep().name) / "tree")
    in_builder(SUITE, "make rpm", place, "/srv/daytimed")
    return place


def ask(command: str) -> str:
    """Return the output of a command that finds the packages in dist/."""
    in_builder(SUITE, f"{{ {command}; }} >answer", build(), "/srv/daytimed")
    return (build() / "answer").read_text()


def contents(root: Path) -> dict[str, tuple[int, bytes]]:
    """Return mode and content of all files, under names common to both packages."""
    found = {}
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        name, content = str(path.relative_to(root)), path.read_bytes()
        if name.endswith(".gz"):
            name, content = name.removesuffix(".gz"), gzip.decompress(content)
        for pattern, replacement in NAMES:
            name = re.sub(pattern, replacement, name)
        # Debian writes a blank there
        found[name] = (path.stat().st_mode, content.replace(b"#! /", b"#!/"))
    return found


def test_rpmlint_says_nothing() -> None:
    """Rpmlint accepts the spec and both packages; its configuration explains each filter."""
    printed = ask("rpmlint --config packaging/rpm/rpmlint.toml packaging/rpm/daytimed.spec dist/*.rpm")
    print(printed)
    assert "2 packages and 1 specfiles checked; 0 errors, 0 warnings" in printed


def test_it_has_the_files_of_the_debian_package() -> None:
    """Both packages have the same names, modes and contents, except the files above and the probe's first line."""
    deb = package(SUITE)
    (build() / "debian.deb").write_bytes(deb.read_bytes())
    ask("dpkg-deb -x debian.deb debian; mkdir rpm; cd rpm; rpm2cpio ../dist/*.noarch.rpm | cpio -id --quiet")
    debian, rpm = contents(build() / "debian"), contents(build() / "rpm")
    assert set(debian) - set(rpm) == set(DEBIAN)
    assert set(rpm) - set(debian) == set(RPM)
    # only Debian's probe runs in Python's isolated mode; Fedora's macros choose the flags of the interpreter
    same = (set(debian) & set(rpm)) - {"usr/bin/daytime-get"}
    assert [name for name in sorted(same) if debian[name] != rpm[name]] == []
    print(len(same), "files are the same")


def test_its_directories_are_its_own() -> None:
    """The package owns the directories with its name, and those of firewalld, which may not be installed."""
    lines = [line.split() for line in ask("rpm -qp --list --verbose dist/*.noarch.rpm").splitlines()]
    paths = {line[-1]: line[0] for line in lines if line[-1].startswith("/")}
    above = {str(parent) for path in paths for parent in Path(path).parents}
    own = {path for path, mode in paths.items() if mode.startswith("d")}
    assert {path for path in above if "daytimed" in path} - own == set()
    assert {path for path in own if "daytimed" not in path} == {"/usr/lib/firewalld", "/usr/lib/firewalld/services"}
    assert set(paths.values()) == {"drwxr-xr-x", "-rwxr-xr-x", "-rw-r--r--"}


def test_it_needs_what_the_project_needs() -> None:
    """The package requires each dependency of the project by Fedora's name, and the Python of its build."""
    requires = ask("rpm -qp --requires dist/*.noarch.rpm")
    python = re.search(r"^python\(abi\) = (\S+)$", requires, re.MULTILINE)
    assert python
    for dependency in tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dependencies"]:
        name, version = dependency.split(">=")
        assert f"python{python[1]}dist({name}) >= {version}\n" in requires


def test_a_changed_configuration_is_kept() -> None:
    """Only the configuration is marked %config(noreplace)."""
    lines = ask("rpm -qp --queryformat '[%{FILEFLAGS:fflags} %{FILENAMES}\\n]' dist/*.noarch.rpm").splitlines()
    flags = {name: flag for flag, name in (line.split(" ") for line in lines)}
    assert {name: flag for name, flag in flags.items() if "c" in flag} == {"/etc/daytimed/daytimed.toml": "cn"}
    assert flags["/usr/share/licenses/daytimed/LICENSE"] == "l"


def test_it_is_installed_upgraded_and_removed() -> None:
    """
    Installation serves; an upgrade keeps the configuration; removal leaves only that.

    The scriptlets apply presets to each unit with [Install], restart only the service, and remove every unit. The
    second release is built from the source package.
    """
    again = "rpmbuild --rebuild --nodeps --without check --define 'dist .next' --define '_rpmdir next'"
    ask(f"{again} --define '_build_name_fmt %%{{NAME}}-%%{{VERSION}}-%%{{RELEASE}}.%%{{ARCH}}.rpm' dist/*.src.rpm")
    (build() / "life").write_text(LIFE)
    printed = ask("sh life")
    print(printed)
    units = {path.name for path in (PROJECT / "systemd").glob("*.*") if "\n[Install]\n" in path.read_text()}
    checked, reply, mine, *left, install, restart, remove = printed.splitlines()
    assert checked == "/etc/daytimed/daytimed.toml: ok"
    assert reply.startswith("The Date Time is: ")
    assert mine == "# mine"
    assert left == ["/etc/daytimed", "/etc/daytimed/daytimed.toml.rpmsave"]
    assert set(install.split()) == {"install-system-units", *units}
    assert restart == "mark-restart-system-units daytimed.service"
    assert set(remove.split()) == {"remove-system-units", *units}


def test_where_fedora_s_macros_are_they_are_used() -> None:
    """Parsed as on Fedora, the spec uses these macros and defines none of them."""
    parsed = ask("rpmspec --parse --define 'fedora 43' packaging/rpm/daytimed.spec").partition("%changelog")[0]
    used = set(re.findall(r"%\{?(\w*_\w+|python3)", parsed))
    assert used == {"generate_buildrequires", *MACROS.split()}
    assert "BuildRequires:  systemd-rpm-macros" in parsed
