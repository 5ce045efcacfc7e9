"""The examples of packaging/monitoring as files."""

from __future__ import annotations

import os
import re
from pathlib import Path

from examples import EXAMPLES, INSTALLED, shipped
from harness import clean_environment, needs, run

SYSTEMD = EXAMPLES.parents[1] / "systemd"


@needs("systemd-analyze")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    """The units of the examples are valid, and the drop-in names the alert unit of the same folder."""
    script = shipped(tmp_path, "prometheus/daytime-textfile")
    shipped(
        tmp_path, "prometheus/daytime-textfile.service", {"/usr/local/bin/daytime-textfile ": f"{script} "}, "units"
    )
    shipped(tmp_path, "prometheus/daytime-textfile.timer", under="units")
    alert = shipped(tmp_path, "systemd/daytime-alert@.service", under="units")
    drop_in = shipped(tmp_path, "systemd/on-failure.conf", under="units/daytime-get.service.d")
    units = tmp_path / "units"
    checked = (SYSTEMD / "daytime-get.service").read_text().replace(INSTALLED, "/bin/true")
    (units / "daytime-get.service").write_text(checked)
    names = ["daytime-textfile.service", "daytime-textfile.timer", "daytime-get.service", alert.name]
    done = run("systemd-analyze", "verify", "--man=no", *(str(units / name) for name in names),
               env=clean_environment({"SYSTEMD_UNIT_PATH": f"{units}:"}))  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert alert.name.replace("@", "@%n") in drop_in.read_text()


def test_the_readme_names_every_example() -> None:
    """The README lists each file or folder, and exactly the scripts are executable."""
    readme = (EXAMPLES / "README").read_text()
    listed = set(re.findall(r"(?m)^    ([\w.-]+/?) ", readme))
    assert listed == {path.name + "/" * path.is_dir() for path in EXAMPLES.iterdir()} - {"README"}
    for path in EXAMPLES.rglob("*"):
        if path.is_file():
            assert os.access(path, os.X_OK) is path.read_text().startswith("#!")
