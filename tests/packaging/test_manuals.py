"""The manual pages match the code, and render without errors."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import reply_table
from unit_help import NS

from daytimed import addresses, clock, errors, formats, rates, reasons, signals
from daytimed.arguments import DEFAULT_PIDFILE, make_parser
from daytimed.clock import KernelClock
from daytimed.config import checks, load, settings
from daytimed.config.settings import SECTIONS, SETTINGS
from daytimed.log.events import EVENTS
from daytimed.probe import arguments, report, survey, zones
from daytimed.probe.client import Answer
from daytimed.probe.tally import MOST_SAMPLES, Tally
from daytimed.probe.verdict import EXIT_CODES, Limits, judge

FOLDER = Path(__file__).parents[2] / "packaging/man"
DAEMON, PROBE, FILE = (FOLDER / name for name in ("daytimed.8", "daytime-get.1", "daytimed.toml.5"))
PAGES = (DAEMON, PROBE, FILE)

#: The instant of the replies in daytimed(8), in seconds since 1970-01-01 UTC, and its nanoseconds.
SHOWN_AT_S, SHOWN_NS = 1_795_348_800, 123_456_789


# -- reading the source of a page ------------------------------------------------------------------------------------


def literal(text: str) -> str:
    """Return a text of the source with its escapes replaced."""
    for escape, character in ((r"\-", "-"), (r"\&", ""), (r"\(dq", '"'), (r"\(aq", "'"), (r"\(ti", "~"), (r"\e", "\\")):
        text = text.replace(escape, character)
    return text


def parts(page: Path, macro: str) -> dict[str, list[str]]:
    """Return the lines below each heading of one kind: `Sh` up to the next `Sh`, `Ss` up to the next of either kind."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in page.read_text().splitlines():
        if heading := re.fullmatch(r"\.(Sh|Ss) (.*)", line):
            # a section includes its subsections
            if heading[1] == "Sh" or macro == "Ss":
                lines = []
            if heading[1] == macro:
                lines = found[literal(heading[2])] = []
        else:
            lines.append(line)
    return found


def items(lines: list[str]) -> list[tuple[str, list[str]]]:
    """Return the items of a list and of the lists inside it: the head, and the lines below it."""
    found: list[tuple[str, list[str]]] = []
    for line in lines:
        if line.startswith(".It"):
            found.append((line.removeprefix(".It").strip(), []))
        elif found:
            found[-1][1].append(line)
    return found


def marked(macro: str, lines: list[str]) -> list[str]:
    """Return the words marked by a macro, in their order; the next macro or punctuation ends it."""
    found = []
    for line in lines:
        within = False
        for word in line.removeprefix(".").split():
            if re.fullmatch("[A-Z][a-z]|[,.:;]", word):
                within = word == macro
            elif within and word != "|":
                found.append(literal(word))
    return found


def flags(line: str) -> list[str]:
    """Return the options in a line."""
    return [f"-{word}" for word in marked("Fl", [line])]


def plain(lines: list[str]) -> str:
    """Return text without its macros."""
    words = [word for line in lines for word in line.removeprefix(".").split()]
    return literal(" ".join(word for word in words if not re.fullmatch("[A-Z][a-z]", word)))


# -- options ---------------------------------------------------------------------------------------------------------


def actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in parser._actions if action.option_strings]


PARSERS = pytest.mark.parametrize(
    ("page", "parser"), [(DAEMON, make_parser()), (PROBE, arguments.make_parser())], ids=["daytimed", "daytime-get"]
)


@PARSERS
def test_options_are_those_of_the_parser(page: Path, parser: argparse.ArgumentParser) -> None:
    """OPTIONS has every option, with all its names and its value if it takes one, and no other."""
    expected = {(*action.option_strings,): action.nargs != 0 for action in actions(parser)}
    found = {(*flags(head),): "Ar" in head.split() for head, _ in items(parts(page, "Sh")["OPTIONS"])}
    assert expected == found


@PARSERS
def test_synopsis_has_every_option(page: Path, parser: argparse.ArgumentParser) -> None:
    """SYNOPSIS has one name of every option except --help and --version, and no other."""
    found = []
    for line in parts(page, "Sh")["SYNOPSIS"]:
        for flag in flags(line):
            found += [flag] if flag.startswith("--") else [f"-{letter}" for letter in flag[1:]]
    wanted = {
        action.option_strings[0] for action in actions(parser) if not {"--help", "--version"} & {*action.option_strings}
    }
    assert (sorted(wanted), len(wanted)) == (sorted(found), len(found))


def test_options_of_the_daemon_have_their_defaults() -> None:
    """Options of settings have the default of the table of settings, the others that of the code."""
    described = {flags(head)[-1]: plain(body) for head, body in items(parts(DAEMON, "Sh")["OPTIONS"])}
    defaults = {setting.flags[-1]: setting.default for setting in SETTINGS if setting.flags}
    defaults["--listen"] = str(settings.DEFAULT_ADDRESS)
    defaults |= {"--config": load.DEFAULT_PATH, "--pidfile": DEFAULT_PIDFILE}
    assert [] == [flag for flag, default in defaults.items() if f"The default is {default}" not in described[flag]]


def test_options_of_the_probe_have_their_defaults() -> None:
    """Every option has the default of the parser."""
    described = {flags(head)[-1]: plain(body) for head, body in items(parts(PROBE, "Sh")["OPTIONS"])}
    defaults = {
        action.option_strings[-1]: action.default for action in actions(arguments.make_parser()) if action.default
    }
    defaults["--port"] = arguments.DEFAULT_PORT
    assert len(defaults) >= 6
    for flag, default in defaults.items():
        shown = f"{default:g}" if isinstance(default, float) else default
        assert f"The default is {shown} " in f"{described[flag]} ".replace(".", " "), flag


def test_choices_are_those_of_the_code() -> None:
    """Both pages list all choices of an option or a key."""
    options = {flags(head)[-1]: body for page in (DAEMON, PROBE) for head, body in items(parts(page, "Sh")["OPTIONS"])}
    keys = {head.split()[1]: body for head, body in items(parts(FILE, "Ss")["[log]"])}
    assert {*settings.LOG_LEVELS} == {*marked("Cm", options["--log-level"])} == {*marked("Cm", keys["level"])}
    assert {*settings.LOG_FORMATS} == {*marked("Cm", options["--log-format"])} == {*marked("Cm", keys["format"])}
    assert {*settings.LOG_CLIENTS} == {*marked("Cm", keys["clients"])}
    assert {*arguments.OUTPUTS} == {*marked("Cm", options["--output"])}
    for lines in (parts(DAEMON, "Sh")["ADDRESSES"], parts(PROBE, "Sh")["DESCRIPTION"]):
        assert {*addresses.SCHEMES} <= {*marked("Cm", lines)}


# -- names that are an interface -------------------------------------------------------------------------------------


def test_formats_of_the_daemon() -> None:
    """FORMATS of daytimed(8) has every format and no other, each with the reply that it makes."""
    found = {marked("Cm", [head])[0]: body for head, body in items(parts(DAEMON, "Sh")["FORMATS"])}
    assert [*sorted(formats.NAMES), formats.STRFTIME] == [*sorted(found.keys() - {formats.STRFTIME}), [*found][-1]]
    for name in {*formats.NAMES} - {"rfc868"}:
        reply = formats.compile_format(name, clock.load_zone("UTC"), lambda: KernelClock(leap=0, health=0))
        shown = reply(SHOWN_AT_S * NS + SHOWN_NS).decode().strip()
        assert shown == literal(found[name][0].removeprefix(".Li ")), name


def test_formats_of_the_probe() -> None:
    """FORMATS of daytime-get(1) has every format that a reply can have, and no other."""
    found = [
        word for head, _ in items(parts(PROBE, "Sh")["FORMATS"]) for word in re.findall(r"\w+", head) if word != "Cm"
    ]
    assert sorted(found) == sorted({row.format for row in reply_table.EXAMPLES if row.format} | {*formats.NAMES})


def test_signals() -> None:
    """SIGNALS has the signals that the master handles, and no other."""
    wanted = {
        signals.name_of(number).removeprefix("SIG") for number in (*signals.STOP, signals.RELOAD, signals.STATISTICS)
    }
    assert wanted == {name for head, _ in items(parts(DAEMON, "Sh")["SIGNALS"]) for name in marked("Dv", [head])}


def test_events_and_reasons() -> None:
    """EVENTS has every event in the order of the code, with its level unless that is info, and every reason."""
    heads = [head.split() for head, _ in items(parts(DAEMON, "Ss")["Reasons"])]
    assert [["Cm", reason] for reason in reasons.REASONS] == heads
    events = [head for head, _ in items(parts(DAEMON, "Sh")["EVENTS"])][: -len(heads)]
    levels = {name: event.level for name, event in EVENTS.items()}
    assert [f"Cm {name}" + ("" if level == "info" else f" Pq {level}") for name, level in levels.items()] == events


def test_the_event_in_json() -> None:
    """EVENTS shows an event in JSON with the sentence of the code."""
    (block,) = re.findall(r"^\.Bd .*?\n(.*?)^\.Ed", "\n".join(parts(DAEMON, "Sh")["EVENTS"]), re.DOTALL | re.MULTILINE)
    shown = json.loads(literal(block))
    event = EVENTS[shown["event"]]
    assert (event.level, event.sentence.format_map(shown)) == (shown["level"], shown["message"])


def test_exit_status() -> None:
    """EXIT STATUS has every exit code of the daemon, and every code and state of the probe."""
    codes = sorted(value for name, value in vars(errors).items() if name.startswith("EXIT_"))
    assert [str(code) for code in codes] == [head for head, _ in items(parts(DAEMON, "Sh")["EXIT STATUS"])]
    states = [f"{code} {state}" for state, code in EXIT_CODES.items()]
    assert states == [head for head, _ in items(parts(PROBE, "Sh")["EXIT STATUS"])]


def test_outputs_of_the_probe() -> None:
    """OUTPUT has every output, the keys of the JSON object and the metrics, in the order of the code."""
    answer = Answer(addresses.parse("localhost:6000"))
    answer.reply, answer.before_ns, answer.after_ns = b"2026-11-22T12:00:00Z", SHOWN_AT_S * NS, SHOWN_AT_S * NS
    answer.connect_s = answer.total_s = 0.1
    tally = Tally(answer.address)
    tally.add(answer, zones.load_offsets("UTC"))
    verdict = judge(tally, Limits())
    keys = re.findall(r'"(\w+)": ', report.as_json(verdict))
    metrics = re.findall(r"# TYPE (\w+) ", report.as_metrics([verdict]))
    lines = parts(PROBE, "Sh")["OUTPUT"]
    text, raw, json, *rest = arguments.OUTPUTS
    assert [text, raw, json, *keys, *rest] == [name for head, _ in items(lines) for name in marked("Cm", [head])]
    assert metrics == [word for word in marked("Cm", lines) if word.startswith("daytime_")]


def test_numbers_are_those_of_the_code() -> None:
    """The pages state the limits of the code."""
    daemon, probe, file = (" ".join(plain([line]) for line in page.read_text().splitlines()) for page in PAGES)
    assert f"at most {formats.LONGEST_STRFTIME} bytes" in daemon
    assert f"{survey.MOST_AT_ONCE} at a time" in probe
    assert f"up to {MOST_SAMPLES};" in probe
    assert f"up to {settings.MOST_WORKERS} over all" in file
    assert f"but {rates.UDP_RATE:g} over UDP" in file
    assert 2 == file.count(f"from {checks.LEAST_RATE:g} to {checks.MOST_RATE}")


# -- the configuration -----------------------------------------------------------------------------------------------

HEADINGS = {"": "Top level", "listener": "[[listener]]", "access": "[access]", "log": "[log]"}


def test_every_section_of_the_configuration_is_described() -> None:
    """CONFIGURATION has the sections of the table of settings, in their order."""
    assert [HEADINGS[section] for section in SECTIONS] == [*parts(FILE, "Ss")]


@pytest.mark.parametrize("section", SECTIONS)
def test_keys_are_those_of_the_table(section: str) -> None:
    """Every key, and no other, has its default, its environment variable and the first name of its option."""
    found = {}
    for head, body in items(parts(FILE, "Ss")[HEADINGS[section]]):
        _, key, *default = literal(head).split(maxsplit=3)
        value = tomllib.loads(f"it {' '.join(default)}")["it"] if default else None
        last = body[-2] if body[-1] == ".El" else body[-1]
        found[key] = (value, marked("Ev", body), flags(last) if last.startswith(".Ev") else [])
    expected = {}
    for key, setting in SECTIONS[section].items():
        variables = [setting.variable] if setting.variable in settings.VARIABLES else []
        expected[key] = (setting.default, variables, [*setting.flags[:1]])
    assert list(expected.items()) == list(found.items())


def test_environment_variables_are_those_of_the_table() -> None:
    """daytimed.toml(5) names every variable that sets something, and no other variable."""
    found = {name for name in marked("Ev", FILE.read_text().splitlines()) if name != settings.ENVIRONMENT_PREFIX}
    assert {*settings.VARIABLES, settings.LISTEN_VARIABLE} == found


def test_files() -> None:
    """FILES has the paths of the code."""
    script = [f"{DEFAULT_PIDFILE}.lock", "/etc/init.d/daytimed", "/etc/default/daytimed"]
    assert [load.DEFAULT_PATH, DEFAULT_PIDFILE, *script] == [
        head[3:] for head, _ in items(parts(DAEMON, "Sh")["FILES"])
    ]
    assert [load.DEFAULT_PATH] == [head[3:] for head, _ in items(parts(FILE, "Sh")["FILES"])]


def test_drop_ins() -> None:
    """Drop-ins has every drop-in that is installed, and no other."""
    found = [marked("Pa", [head])[0] for head, _ in items(parts(DAEMON, "Ss")["Drop-ins"])]
    assert sorted(found) == sorted(path.name for path in (FOLDER.parents[1] / "systemd/examples").glob("*.conf"))


# -- examples --------------------------------------------------------------------------------------------------------


def test_configuration_of_the_example_loads(tmp_path: Path) -> None:
    """The file in the examples of daytimed.toml(5) loads."""
    (block,) = re.findall(r"^\.Bd .*?\n(.*?)^\.Ed", FILE.read_text(), re.DOTALL | re.MULTILINE)
    path = tmp_path / "daytimed.toml"
    path.write_text(literal(block))
    loaded = load.load(str(path), {}, {}, [])
    assert ["daytime", "berlin"] == [listener.name for listener in loaded.listeners]


def commands(page: Path) -> list[list[str]]:
    """Return the words of every command in the examples of a page, up to a pipe or a redirection."""
    text = literal("\n".join(parts(page, "Sh")["EXAMPLES"])).replace("\\\n", "")
    return [shlex.split(line) for line in re.findall(r"^(?:\.Dl )?[$#] ([^|>\n]*)", text, re.MULTILINE)]


def test_commands_of_the_examples_are_valid() -> None:
    """The options of every command in the examples exist and can be combined."""
    programs = set()
    for words in [words for page in PAGES for words in commands(page)]:
        variables = [words.pop(0) for _ in range(len(words)) if "=" in words[0]]
        program, *rest = words
        if program == "daytimed":
            options = make_parser().parse_args(rest)
            environ = dict(each.split("=", 1) for each in variables)
            load.load(os.devnull, environ, {}, options.listen or [])
        elif program == "daytime-get":
            probe = arguments.parse(rest)
            arguments.survey_of(probe, len(arguments.addresses_of(probe)))
        programs.add(program)
    assert {"daytimed", "daytime-get"} <= programs


# -- rendering -------------------------------------------------------------------------------------------------------


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program; skip the test, and name the program, if it is not installed."""
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    environ = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "MANWIDTH": "80"}
    return subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60, check=False)


EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@EACH_PAGE
def test_man_renders_it(page: Path) -> None:
    """man(1) prints no warning, no line is wider than 80 columns, and commands can be copied."""
    shown = run("man", "--warnings", "-l", page)
    assert (0, "") == (shown.returncode, shown.stderr)
    lines = shown.stdout.splitlines()
    assert [] == [line for line in lines if len(line) > 80]
    assert [] == [line for line in lines if line.strip()[:2] in {"$ ", "# "} and not line.isascii()]
    assert {"NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "SEE ALSO", "STANDARDS"} <= {*lines}


@EACH_PAGE
def test_groff_has_no_warning(page: Path) -> None:
    """groff(1) prints nothing with all its warnings enabled."""
    ended = run("groff", "-mandoc", "-ww", "-Tutf8", "-z", page)
    assert (0, "", "") == (ended.returncode, ended.stdout, ended.stderr)


@EACH_PAGE
def test_mandoc_has_no_warning(page: Path) -> None:
    """The linter of mandoc(1) reports only references to pages that are not installed here."""
    ended = run("mandoc", "-Tlint", "-Wstyle", page)
    assert [] == [line for line in ended.stdout.splitlines() if "referenced manual not found" not in line]


def test_pages_refer_to_each_other() -> None:
    """SEE ALSO of daytimed(8) has the other pages, and theirs has daytimed(8)."""
    names = {page: page.stem + f" {page.suffix[1:]}" for page in PAGES}
    for page, others in ((DAEMON, (PROBE, FILE)), (PROBE, (DAEMON,)), (FILE, (DAEMON,))):
        found = re.findall(r"^\.Xr (\S+ \d)", "\n".join(parts(page, "Sh")["SEE ALSO"]), re.MULTILINE)
        assert {names[other] for other in others} <= {*found}
