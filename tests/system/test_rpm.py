"""
The RPM: built by Debian's rpm, held against the Debian package, installed and removed by rpm itself.

There is no host here whose own packages are RPMs. Its systemd is stood in for by a program that notes what it is asked.
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
#: Where the two have the same file under different names: Debian's, and the RPM's.
NAMES = (
    (r"^usr/lib/python3/dist-packages/", "modules/"),
    (r"^usr/lib/python3\.\d+/site-packages/", "modules/"),
    (r"^usr/share/zsh/vendor-completions/", "usr/share/zsh/site-functions/"),
    (r"^usr/share/doc/daytimed/changelog$", "usr/share/doc/daytimed/CHANGELOG.md"),
)
#: What only Debian's has, and why.
DEBIAN = {
    "etc/init.d/daytimed": "hosts with RPMs have systemd",
    "etc/ufw/applications.d/daytimed": "and another firewall",
    "usr/share/doc/daytimed/changelog.Debian": "of the package",
    "usr/share/doc/daytimed/copyright": "the licence is elsewhere",
    f"modules/daytimed-{__version__}.dist-info/INSTALLER": "Debian's name; Fedora writes its own there",
    "usr/share/lintian/overrides/daytimed": "for Debian's own checks",
}
#: What only the RPM has, and why.
RPM = {
    "usr/share/licenses/daytimed/LICENSE": "where RPMs have it",
    f"modules/daytimed-{__version__}.dist-info/RECORD": "Debian removes it; so does Fedora",
    f"modules/daytimed-{__version__}.dist-info/licenses/LICENSE": "Debian removes it",
}
#: Macros that Fedora has, and RHEL: the spec takes theirs for granted.
MACROS = """
    _journalcatalogdir _systemdgeneratordir _unitdir bash_completions_dir fish_completions_dir zsh_completions_dir
    pyproject_buildrequires pyproject_install pyproject_wheel python3 python3_sitelib
    systemd_post systemd_postun systemd_postun_with_restart systemd_preun
"""
#: Installs two releases of the package one over the other, and removes it; prints what is not as it should be.
LIFE = """
set -eu
printf '#!/bin/sh\\necho "$*" >>/run/asked\\n' >/usr/lib/systemd/systemd-update-helper
chmod +x /usr/lib/systemd/systemd-update-helper
rpm="rpm --nodeps"
$rpm --install dist/daytimed-*-1.noarch.rpm
$rpm --verify daytimed
owned=$(rpm --query --list daytimed)
# where this Debian's Python does not look
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
    """Return a copy of the project in which `make rpm` was run."""
    place = copy_tree(Path(keep().name) / "tree")
    in_builder(SUITE, "make rpm", place, "/srv/daytimed")
    return place


def ask(command: str) -> str:
    """Return what a command says where the packages are in dist/."""
    in_builder(SUITE, f"{{ {command}; }} >answer", build(), "/srv/daytimed")
    return (build() / "answer").read_text()


def contents(root: Path) -> dict[str, tuple[int, bytes]]:
    """Return mode and content of all files, under names that both packages have."""
    found = {}
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        name, content = str(path.relative_to(root)), path.read_bytes()
        if name.endswith(".gz"):
            name, content = name.removesuffix(".gz"), gzip.decompress(content)
        for pattern, replacement in NAMES:
            name = re.sub(pattern, replacement, name)
        # Debian has a blank there
        found[name] = (path.stat().st_mode, content.replace(b"#! /", b"#!/"))
    return found


def test_rpmlint_says_nothing() -> None:
    """Neither of the spec nor of what was built; what is not asked is explained in its configuration."""
    printed = ask("rpmlint --config packaging/rpm/rpmlint.toml packaging/rpm/daytimed.spec dist/*.rpm")
    print(printed)
    assert "2 packages and 1 specfiles checked; 0 errors, 0 warnings" in printed


def test_it_has_the_files_of_the_debian_package() -> None:
    """The same names, modes and contents, but for what is named here."""
    deb = package(SUITE)
    (build() / "debian.deb").write_bytes(deb.read_bytes())
    ask("dpkg-deb -x debian.deb debian; mkdir rpm; cd rpm; rpm2cpio ../dist/*.noarch.rpm | cpio -id --quiet")
    debian, rpm = contents(build() / "debian"), contents(build() / "rpm")
    assert set(debian) - set(rpm) == set(DEBIAN)
    assert set(rpm) - set(debian) == set(RPM)
    same = set(debian) & set(rpm)
    assert [name for name in sorted(same) if debian[name] != rpm[name]] == []
    print(len(same), "files are the same")


def test_its_directories_are_its_own() -> None:
    """Those that have its name, and those of firewalld, which need not be installed."""
    lines = [line.split() for line in ask("rpm -qp --list --verbose dist/*.noarch.rpm").splitlines()]
    paths = {line[-1]: line[0] for line in lines if line[-1].startswith("/")}
    above = {str(parent) for path in paths for parent in Path(path).parents}
    own = {path for path, mode in paths.items() if mode.startswith("d")}
    assert {path for path in above if "daytimed" in path} - own == set()
    assert {path for path in own if "daytimed" not in path} == {"/usr/lib/firewalld", "/usr/lib/firewalld/services"}
    assert set(paths.values()) == {"drwxr-xr-x", "-rwxr-xr-x", "-rw-r--r--"}


def test_it_needs_what_the_project_needs() -> None:
    """Each dependency of the Python package, in the words of Fedora, and the Python that it was built for."""
    requires = ask("rpm -qp --requires dist/*.noarch.rpm")
    python = re.search(r"^python\(abi\) = (\S+)$", requires, re.MULTILINE)
    assert python
    for dependency in tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dependencies"]:
        name, version = dependency.split(">=")
        assert f"python{python[1]}dist({name}) >= {version}\n" in requires


def test_a_changed_configuration_is_kept() -> None:
    """The configuration is the only file that is marked so, and is not replaced when the package has a new one."""
    lines = ask("rpm -qp --queryformat '[%{FILEFLAGS:fflags} %{FILENAMES}\\n]' dist/*.noarch.rpm").splitlines()
    flags = {name: flag for flag, name in (line.split(" ") for line in lines)}
    assert {name: flag for name, flag in flags.items() if "c" in flag} == {"/etc/daytimed/daytimed.toml": "cn"}
    assert flags["/usr/share/licenses/daytimed/LICENSE"] == "l"


def test_it_is_installed_upgraded_and_removed() -> None:
    """
    Installed, it serves; upgraded, it is configured as before; removed, it leaves that and nothing else.

    systemd is asked to apply presets to each unit that can be enabled, to restart the service alone, to disable all.
    The source package is what the other release is built from.
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
    """Read as on Fedora, the spec leaves these to it, and defines none."""
    parsed = ask("rpmspec --parse --define 'fedora 43' packaging/rpm/daytimed.spec").partition("%changelog")[0]
    used = set(re.findall(r"%\{?(\w*_\w+|python3)", parsed))
    assert used == {"generate_buildrequires", *MACROS.split()}
    assert "BuildRequires:  systemd-rpm-macros" in parsed
