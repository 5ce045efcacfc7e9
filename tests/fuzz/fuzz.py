"""
Fuzz the parsers of untrusted input, guided by coverage, with the hypothesis tests of tests/unit.

    tests/fuzz/fuzz.py SECONDS [TARGET...]

Each target runs for SECONDS in its own process, which stops at the first finding. Corpus and findings are kept in
.cache/fuzz/TARGET, and the next run tries both first.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import atheris

PROJECT = Path(__file__).parents[2]
CACHE = PROJECT / ".cache/fuzz"
#: No input may take longer.
HANGS_AFTER_S = 10

sys.path[:0] = [str(PROJECT / "tests/unit"), str(PROJECT / "tests/support")]
# atheris names each instrumented file on standard error
with contextlib.redirect_stderr(io.StringIO()), atheris.instrument_imports(include=["daytimed"]):
    import reply_table
    import test_addresses
    import test_cli
    import test_clock
    import test_config
    import test_datagram
    import test_formats
    import test_parsers
    import test_pidfile
    import test_probe_cli
    import test_ranges
    import test_rendering
    import test_report
    import test_screen
    import test_systemd

    from daytimed.config.toml import commented_example, to_toml

Input = Callable[[bytes], object]


def choices(test: Any) -> Input:
    """Let hypothesis make the arguments: the bytes are its choices."""
    return test.hypothesis.fuzz_one_input  # type: ignore[no-any-return]


def raw(test: Any) -> Input:
    """Pass the bytes unchanged, if there are any."""
    return lambda data: test.hypothesis.inner_test(data) if data else None


def text(test: Any) -> Input:
    """Pass the bytes as a string, decoded as Python decodes a command line."""
    return lambda data: test.hypothesis.inner_test(os.fsdecode(data))


def words(test: Any) -> Input:
    """Pass the bytes as arguments, separated by zero bytes as in /proc/PID/cmdline."""
    return lambda data: test.hypothesis.inner_test([os.fsdecode(word) for word in data.split(b"\0")])


class Target(NamedTuple):
    """A property and its first inputs."""

    test: Input
    seeds: Iterable[bytes] = ()


def texts(rows: Iterable[str]) -> list[bytes]:
    return [os.fsencode(row) for row in rows]


REPLIES = [*(row.reply for row in reply_table.EXAMPLES), *test_parsers.PIECES, *test_parsers.MISLEADING]
FILES = texts(
    [
        commented_example(),
        to_toml(test_config.DEFAULTS),
        *(test_config.document(key, value)[0] for key, rows in test_config.FAULTS.items() for value, _ in rows),
    ]
)
RANGES = texts(["10", "10:", "~:10", "10:20", "@10:20", "-5:5", "0.5:1e3", "nan"])
FIELDS = texts(["", "daytime", "::1", "\x1b[2J\r\n\u2028", "\nPRIORITY=0\n"])

TARGETS = {
    "addresses": Target(
        text(test_addresses.test_any_text_is_an_address_or_refused),
        texts([*(row[0] for row in test_addresses.GOOD), "http://[::1", "[fe80::1%a://b]:80"]),
    ),
    "files": Target(raw(test_config.test_any_file_is_a_configuration_or_an_error), FILES),
    "documents": Target(choices(test_config.test_any_document_is_a_configuration_or_an_error)),
    "variables": Target(choices(test_config.test_any_variables_are_a_configuration_or_an_error)),
    "patterns": Target(
        text(test_formats.test_served_patterns_are_lines), texts(["%c", "%A, %d %B %Y %T %z", "%-5EH%%", "%_10Z%#p%s"])
    ),
    "zones": Target(
        text(test_clock.test_garbage_raises_nothing_but_value_error), texts(["local", "Europe/Berlin", "../UTC", "Etc"])
    ),
    "descriptors": Target(choices(test_systemd.test_any_variables_are_descriptors_or_one_sentence)),
    "manager": Target(choices(test_systemd.test_any_manager_is_reported_or_one_sentence)),
    "notifications": Target(text(test_systemd.test_any_value_is_one_assignment), FIELDS),
    "journal-stream": Target(text(test_systemd.test_any_journal_stream_is_the_file_it_names), [b"8:1"]),
    "pid-file": Target(raw(test_pidfile.test_any_content_is_a_pid_or_stays), [b"4711\n", b" 12 34", b"1" * 32]),
    "daemon": Target(words(test_cli.test_any_words_are_options_or_one_sentence), texts(test_cli.WORDS)),
    "control-messages": Target(choices(test_datagram.test_any_control_messages_are_answered_or_not)),
    "sources": Target(choices(test_datagram.test_any_source_is_a_loop_or_not)),
    "log": Target(text(test_rendering.test_no_field_controls_a_reader), FIELDS),
    "journal": Target(text(test_rendering.test_no_field_tears_an_entry_of_the_journal), FIELDS),
    "replies": Target(raw(test_parsers.test_no_reply_makes_it_fail), REPLIES),
    "rfc868": Target(raw(test_parsers.test_rfc868_of_any_bytes), [b"\xee\xad\x57\xc0"]),
    "screen": Target(raw(test_screen.test_no_reply_controls_a_terminal), REPLIES),
    "json": Target(raw(test_report.test_json_takes_any_reply), REPLIES),
    "plugin": Target(raw(test_report.test_no_reply_breaks_the_plugin_line), REPLIES),
    "metrics": Target(choices(test_report.test_nothing_breaks_the_metrics)),
    "probe": Target(words(test_probe_cli.test_any_words_are_a_question_or_one_sentence), texts(test_probe_cli.WORDS)),
    "ranges": Target(text(test_ranges.test_what_is_written_reads_back), RANGES),
    "requests": Target(text(test_probe_cli.test_text_is_sent_or_refused), texts([r"GET / HTTP/1.0\r\n", r"\x00\q"])),
}


def fuzz(name: str, seconds: str) -> None:
    """Fuzz one target in this process, which ends afterwards."""
    corpus, findings = CACHE / name / "corpus", CACHE / name / "findings"
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    for seed in TARGETS[name].seeds:
        (corpus / hashlib.sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
    options = [f"-artifact_prefix={findings}/", f"-max_total_time={seconds}", f"-timeout={HANGS_AFTER_S}"]
    options += ["-print_final_stats=1", "-verbosity=0"]
    atheris.Setup([name, *options, str(corpus), str(findings)], TARGETS[name].test)
    atheris.Fuzz()


def run(name: str, seconds: str) -> bool:
    """Fuzz one target in another process and print the result; return whether there was a finding."""
    arguments = [sys.executable, __file__, "--one", seconds, name]
    ended = subprocess.run(
        arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    output = ended.stdout.decode(errors="backslashreplace")
    stats = dict(re.findall(r"^stat::(\w+): +(\d+)$", output, re.MULTILINE))
    tried, speed = (int(stats.get(key, 0)) for key in ("number_of_executed_units", "average_exec_per_sec"))
    print(f"{name:18}{tried:>12,} tried {speed:>9,} a second  {'FOUND' if ended.returncode else 'ok'}", flush=True)
    if ended.returncode:
        print(output)
        for path in sorted((CACHE / name / "findings").iterdir()):
            print(f"{path.relative_to(PROJECT)}: {path.read_bytes()!r}")
    return ended.returncode != 0


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--one"]:
        fuzz(arguments[2], arguments[1])
    seconds, names = "".join(arguments[:1]), arguments[1:]
    unknown = set(names) - set(TARGETS)
    if unknown or not re.fullmatch("[1-9][0-9]*", seconds):
        usage = "fuzz.py SECONDS [TARGET...]: SECONDS is a whole number; the targets are"
        print(usage, *TARGETS, file=sys.stderr)
        return 2
    found = [name for name in names or TARGETS if run(name, seconds)]
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
