"""Lines that are not TOML, and what the error says to write."""

from __future__ import annotations

import contextlib
import re
import time
import tomllib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daytimed.config import syntax
from daytimed.config.toml import commented_example

#: The line that is shown, and the hint.
TABLE = {
    "quotes missing": (
        "workers = 1\nformat = rfc867 # as before\n",
        'line 2 (format = rfc867 # as before): text needs quotes; write format = "rfc867"',
    ),
    "quotes missing, a colon in the text": (
        "[[listener]]\naddress = :6000\n",
        'line 2 (address = :6000): text needs quotes; write address = ":6000"',
    ),
    "quotes missing, dots in the text": (
        "[access]\nallow = 10.0.0.0/8",
        'line 2 (allow = 10.0.0.0/8): a list is text in quotes, between [ and ]; write allow = ["10.0.0.0/8"]',
    ),
    "quotes missing in a list": (
        "[access]\nallow = [10.0.0.0/8, ::1]",
        "line 2 (allow = [10.0.0.0/8, ::1]): a list is text in quotes, between [ and ]; "
        'write allow = ["10.0.0.0/8", "::1"]',
    ),
    "quotes missing in a line of a list": (
        "[access]\nallow = [\n  10.0.0.0/8,\n]",
        'line 3 (10.0.0.0/8,): text needs quotes; write "10.0.0.0/8",',
    ),
    "no list": (
        '[access]\nallow = "::1", "::2"',
        'line 2 (allow = "::1", "::2"): a list is text in quotes, between [ and ]; write allow = ["::1", "::2"]',
    ),
    "one quote missing": (
        'format = "rfc867\nworkers = 1',
        'line 1 (format = "rfc867): a quote is missing; write format = "rfc867"',
    ),
    "the first quote missing": (
        'format = rfc867"',
        'line 1 (format = rfc867"): a quote is missing; write format = "rfc867"',
    ),
    "smart quotes": (
        "format = \u201crfc867\u201d",
        'line 1 (format = \u201crfc867\u201d): \u201c is not a quote of TOML; write format = "rfc867"',
    ),
    "one smart quote": (
        'format = "rfc867\u201d',
        'line 1 (format = "rfc867\u201d): \u201d is not a quote of TOML; write format = "rfc867"',
    ),
    "smart quotes in a list": (
        "[log]\nquiet = [\u2018::1\u2019]",
        'line 2 (quiet = [\u2018::1\u2019]): \u2018 is not a quote of TOML; write quiet = ["::1"]',
    ),
    "no-break space": (
        'format\u00a0= "rfc867"',
        'line 1 (format\\xa0= "rfc867"): the character U+00A0 is no blank of TOML; type the line again',
    ),
    "zero-width space": (
        '\u200bformat = "rfc867"',
        'line 1 (\\u200bformat = "rfc867"): the character U+200B is no blank of TOML; type the line again',
    ),
    "control character": (
        'format = "a\x01b"',
        'line 1 (format = "a\\x01b"): the control character U+0001 is not allowed; delete it',
    ),
    "carriage returns": (
        "workers = 1\rformat = 'nist'",
        "line 1 (workers = 1\\rformat = 'nist'): its lines end with carriage returns; save the file with line feeds",
    ),
    "colon": ("format: rfc867", 'line 1 (format: rfc867): = separates a key from its value; write format = "rfc867"'),
    "no sign": ("workers 4", "line 1 (workers 4): = separates a key from its value; write workers = 4"),
    "two signs": ("workers == 4", "line 1 (workers == 4): = separates a key from its value; write workers = 4"),
    "no value": ("format =", 'line 1 (format =): the key has no value; write format = "sentence"'),
    "blank in a key": (
        "[log]\nclient rate = 5",
        "line 2 (client rate = 5): a key has no blank; write client_rate = 5",
    ),
    "large letters": ("debug = True", "line 1 (debug = True): this is not a value of TOML; write debug = true"),
    "no number": ("workers = all", "line 1 (workers = all): this is not a value of TOML; write workers = 0"),
    "leading zero": ("workers = 04", "line 1 (workers = 04): this is not a value of TOML; write workers = 4"),
    "decimal comma": (
        "[access]\nrate = 0,5",
        "line 2 (rate = 0,5): this is not a value of TOML; write rate = 0.5",
    ),
    "semicolon": ("workers = 4;", 'line 1 (workers = 4;): ";" ends no line of TOML; write workers = 4'),
    "trailing comma": ("workers = 4,", 'line 1 (workers = 4,): "," ends no line of TOML; write workers = 4'),
    "comma missing": (
        '[access]\nallow = ["::1" "::2"]',
        'line 2 (allow = ["::1" "::2"]): a comma is missing; write allow = ["::1", "::2"]',
    ),
    "comma missing between lines": (
        '[access]\nallow = [\n  "::1"  # one\n\n  "::2"\n]',
        'line 5 ("::2"): a comma is missing after line 3',
    ),
    "list not closed": (
        '[access]\nallow = ["::1"\ndeny = []',
        "line 3 (deny = []): the [ in line 2 is not closed; write ] after its last member",
    ),
    "list not closed at the end": (
        '[access]\nallow = [\n  "::1",\n# the end',
        'line 3 ("::1",): the [ in line 2 is not closed; write ] after its last member',
    ),
    "string of several lines not closed": (
        'format = """\nrfc867\nworkers = 1\n',
        'line 3 (workers = 1): the """ in line 1 is not closed; write the text in one line, in plain quotes',
    ),
    "backslash": (
        'format = "strftime:\\d"',
        'line 1 (format = "strftime:\\d"): \\ is written twice in double quotes; write format = "strftime:\\\\d"',
    ),
    "text after a value": (
        'format = "nist" UTC',
        'line 1 (format = "nist" UTC): the line goes on after the value; write format = "nist"',
    ),
    "comment of C": ("workers = 4 // four", "line 1 (workers = 4 // four): a comment begins with #; write workers = 4"),
    "comment of INI": ("; as before", "line 1 (; as before): a comment begins with #, not with ;"),
    "JSON": ('{\n"workers": 4\n}', "line 1 ({): TOML has no braces around it; write KEY = VALUE on lines of their own"),
    "line of JSON": ('"workers": 4,', 'line 1 ("workers": 4,): = separates a key from its value; write workers = 4'),
    "YAML": ("---\nworkers: 4", "line 1 (---): TOML has no such line; delete it"),
    "merge conflict": (
        "workers = 4\n<<<<<<< HEAD\nworkers = 5\n",
        "line 2 (<<<<<<< HEAD): a mark of a merge conflict; decide which lines to keep",
    ),
    "key twice": (
        "workers = 4\n[log]\nlevel = 'info'\nlevel = 'debug'",
        "line 4 (level = 'debug'): level is set in line 3 already; delete one of the two",
    ),
    "key twice in the second listener": (
        "[[listener]]\naddress = 1\n[[listener]]\naddress = 2\naddress = 3",
        "line 5 (address = 3): address is set in line 4 already; delete one of the two",
    ),
    "list twice": (
        '[log]\nquiet = [\n"::1",\n]\nquiet = [\n"::2",\n]',
        "line 7 (]): quiet is set in line 2 already; delete one of the two",
    ),
    "section twice": (
        "[log]\nlevel = 'info'\n[access]\n[log]",
        "line 4 ([log]): this section begins in line 1 already; write all its keys there",
    ),
    "section of two kinds": (
        "[[log]]\n[log]",
        "line 2 ([log]): this section begins in line 1 already; write all its keys there",
    ),
    "section after its keys": (
        "log.level = 'info'\n[log]",
        "line 2 ([log]): line 1 sets keys of this section already; write them below [log]",
    ),
    "section after its table": (
        "access = { rate = 1 }\n[access]",
        "line 2 ([access]): line 1 sets keys of this section already; write them below [access]",
    ),
    "first listener in single brackets": (
        "[listener]\naddress = 1\n[[listener]]\naddress = 2",
        "line 3 ([[listener]]): every listener begins with [[listener]]; write it here, and in line 1",
    ),
    "second listener in single brackets": (
        "[[listener]]\naddress = 1\n[listener]\naddress = 2",
        "line 3 ([listener]): every listener begins with [[listener]]; write it here, and in line 1",
    ),
    "bracket missing": ("[log\nlevel = 'info'", "line 1 ([log): a section is a line of its own; write [log]"),
    "brackets missing": ("[[listener]\n", "line 1 ([[listener]): a section is a line of its own; write [[listener]]"),
    "text after a section": ("[Log];", "line 1 ([Log];): a section is a line of its own; write [log]"),
    "a word": ("rfc867", "line 1 (rfc867): this is not TOML; write KEY = VALUE, with text in quotes"),
    "a URL": ("tcp://:1", "line 1 (tcp://:1): this is not TOML; write KEY = VALUE, with text in quotes"),
    "long line": (
        f"format = {'x' * 100}",
        f'line 1 (format = {"x" * 58}...): text needs quotes; write format = "{"x" * 57}...',
    ),
}


@pytest.mark.parametrize(("text", "expected"), TABLE.values(), ids=TABLE)
def test_hints(text: str, expected: str) -> None:
    """The error shows the line and, where it is clear what was meant, what to write."""
    with pytest.raises(tomllib.TOMLDecodeError) as caught:
        tomllib.loads(text)
    assert expected == syntax.explain(text, caught.value)


@pytest.mark.parametrize(("text", "expected"), TABLE.values(), ids=TABLE)
def test_hints_are_toml(text: str, expected: str) -> None:
    """What the error says to write is a key and a value in TOML."""
    written = re.search(r"; write (\w+ = .*[^.])$", expected)
    if written and " VALUE" not in written[1]:
        assert 1 == len(tomllib.loads(written[1]))


LONG = 10_000


@pytest.mark.parametrize(
    "text",
    [
        f"format = {LONG * chr(34)}",
        "format = " + LONG * '\\"',
        "format = " + LONG * "\\'",
        f"format = {LONG * 'a '}",
        f"format{LONG * ' '}rfc867",
        LONG * "[",
        "allow = [" + LONG * "::1 ",
        "".join(f"key{each} = 1\n" for each in range(LONG)) + "".join(f"[section{each}]\n" for each in range(LONG)),
    ],
    ids=["quotes", "escaped quotes", "escaped apostrophes", "words", "blanks", "brackets", "list", "keys and sections"],
)
def test_long_text_takes_no_long_time(text: str) -> None:
    """The time grows with the length of the text, not with its square: a start must not wait for the hint."""
    text += "\n= is not TOML"
    with pytest.raises(tomllib.TOMLDecodeError) as error:
        tomllib.loads(text)
    begun = time.process_time()
    syntax.explain(text, error.value)
    assert time.process_time() - begun < 2


LINES = [line for text, _ in TABLE.values() for line in text.splitlines()]


@given(
    text=st.one_of(
        st.lists(st.sampled_from(LINES) | st.text(max_size=9), max_size=9).map("\n".join),
        st.tuples(st.integers(0, 5000), st.characters()).map(
            lambda at: (
                (example := commented_example())[: at[0] % len(example)] + at[1] + example[at[0] % len(example) :]
            )
        ),
    )
)
@example(text="a = [\n[")
@example(text="a = '''\n[")
@example(text="[")
def test_any_error_is_one_sentence(text: str) -> None:
    """Any text is TOML, or its error is one printable line that begins with the number of a line."""
    with contextlib.suppress(RecursionError):
        try:
            tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            assert re.fullmatch(r"line [1-9][0-9]* \(.*\): .+", told := syntax.explain(text, error))
            assert told.isprintable()
