"""Deferred imports: modules that are loaded at their first use."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from daytimed.deferral import UNUSED, until_used


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Create a module `late`, and a package `early` with two modules that import it."""
    Path(tmp_path, "late.py").write_text("value = 7\n")
    package = tmp_path / "early"
    package.mkdir()
    (package / "__init__.py").write_text("from early import one, two\n")
    for name in ("one", "two"):
        (package / f"{name}.py").write_text("import late\n\ndef ask():\n    return late.value\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in ("late", "early", "early.one", "early.two"):
        sys.modules.pop(name, None)


def test_a_deferred_module_is_loaded_by_its_first_use() -> None:
    """A module with several importers is loaded when one of them accesses it; then all of them use the real one."""
    with until_used(["late"]):
        early = importlib.import_module("early")
    assert "late" not in sys.modules
    assert (early.one.ask(), early.two.ask()) == (7, 7)
    sys.modules["late"].value = 8  # type: ignore[attr-defined]
    assert (early.one.ask(), early.two.ask()) == (8, 8)
    assert importlib.import_module("late") is sys.modules["late"]


def test_what_is_used_at_once_is_loaded_at_once() -> None:
    """An import of a name from a deferred module loads the module, inside the `with` too."""
    with until_used(["late", "early.two"]):
        exec("from late import value; assert value == 7")
        assert sys.modules["late"].__file__
        early = importlib.import_module("early")
        assert "early.two" in sys.modules
    assert "early.two" not in sys.modules
    assert early.two.ask() == 7
    assert early.two is sys.modules["early.two"]


def test_what_is_loaded_already_is_not_deferred() -> None:
    """A loaded module is left alone."""
    late = importlib.import_module("late")
    with until_used(["late"]):
        assert sys.modules["late"] is late
    assert sys.modules["late"] is late


def test_a_module_that_is_not_there_is_missed_when_it_is_used() -> None:
    """A missing module raises the usual error, at its first use."""
    with until_used(["none_such"]):
        none_such = importlib.import_module("none_such")
    with pytest.raises(ModuleNotFoundError, match="none_such"):
        none_such.anything  # noqa: B018


def test_what_is_to_be_missing_is_found_again_later() -> None:
    """A hidden module is not found inside the `with`, and found after it."""
    with until_used([], missing=["late"]), pytest.raises(ModuleNotFoundError, match="late"):
        importlib.import_module("late")
    assert importlib.import_module("late").value == 7
    with until_used([], missing=["late"]):
        assert importlib.import_module("late").value == 7


def test_structlog_can_do_without_them_and_with_them() -> None:
    """All of structlog works: it gets the deferred modules when it uses them."""
    script = f"""
import sys
from daytimed.deferral import until_used
with until_used({UNUSED!r}):
    import structlog
assert not {{"asyncio", "threading", "structlog.stdlib"}} & set(sys.modules)
lines = []
class Logger:
    def info(self, **fields): lines.append(fields)
log = structlog.wrap_logger(
    Logger(), wrapper_class=structlog.make_filtering_bound_logger(20),
    processors=[structlog.stdlib.add_log_level, structlog.processors.CallsiteParameterAdder()],
)
log.info("now")
async def later():
    await log.ainfo("later")
import asyncio
asyncio.run(later())
print(*(line["event"] for line in lines if line["level"] == "info" and line["thread_name"]))
"""
    # coverage would load the modules that this test expects to be missing
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (ended.stderr, ended.returncode) == ("", 0)
    assert ended.stdout == "now later\n"
