"""
What is wrong with a line that is not TOML, and what to write instead.

The messages of tomllib differ between versions of Python and know no keys, so only its position is used: the line there
says what was meant. A hint is given only if it is TOML itself.
"""

from __future__ import annotations

import re
import tomllib
from typing import NamedTuple

from daytimed.charset import printable
from daytimed.config.checks import int_from
from daytimed.config.settings import SECTIONS, Setting
from daytimed.config.toml import to_toml_value

_LONGEST_SHOWN = 70

_STRING = r""""(?:[^"\\]|\\.)*"|'[^']*'"""
#: A \ outside a string takes the quote after it along: of many such quotes, each would be searched for its end.
_COMMENTED = re.compile(rf"({_STRING})|(\\.)|#.*")
_HEADER = re.compile(r"(\[+)([^\[\]\"'#=]*)(\]*)$")
_STATEMENT = re.compile(r"""([\w.-]+(?: [\w.-]+)*|"[^"]*"|'[^']*')\s*(==|:=|=>|=|:)\s*(.*)$""")
_WITHOUT_SIGN = re.compile(r"([\w.-]+)(\s)\s*(.*)$")
_CONFLICT = re.compile(r"(<{7}|={7}|>{7}|\|{7})(\s|$)")
_COMMENTS = ("//", "/*", "--", "<!--", ";")

#: Quotes of word processors and web pages.
_QUOTES = str.maketrans(
    dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"')
    | dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u00b4`", "'")
)
#: Characters that look like nothing, beside those that str.isspace knows.
_INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff"


class _Before(NamedTuple):
    """What precedes a line."""

    section: str
    headers: dict[str, int]
    """The first line of each `[section` or `[[section`."""
    keys: dict[str, int]
    """The first line of each key of the section, and of each key before the first section after a dot."""
    opened: int | None
    """The line of an array that is not closed yet."""


def explain(text: str, error: tomllib.TOMLDecodeError) -> str:
    """Return the error of a file in one sentence: the line, what is wrong with it and what to write."""
    lines = [line.strip() for line in text.replace("\r\n", "\n").split("\n")]
    found = re.search(r"\(at line (\d+), column \d+\)$", str(error))
    last = int(found[1]) if found else len(lines)
    # the position can be behind the last line that has something
    number = max((each for each in range(1, last + 1) if _bare(lines[each - 1])), default=last)
    if found and lines[last - 1]:
        number = last
    hint = _unclosed_string(lines[:number]) or _hint(lines, number, is_at_end=not found)
    return f"line {number} ({_shown(lines[number - 1])}): {hint}"


def _hint(lines: list[str], number: int, is_at_end: bool) -> str:
    line = lines[number - 1]
    before = _look(lines[: number - 1])
    opened = _look(lines).opened if is_at_end else None
    start = before.opened or number
    hints = (
        _odd_character(line, before),
        "a mark of a merge conflict; decide which lines to keep" if _CONFLICT.match(line) else None,
        _foreign(line),
        _repeated(lines[start - 1 : number], start, before),
        f"the [ in line {opened} is not closed; write ] after its last member" if opened else None,
        _member(lines, number, before),
        _header(line, before),
        _statement(line, before),
    )
    return next(filter(None, hints), "this is not TOML; write KEY = VALUE, with text in quotes")


def _look(lines: list[str]) -> _Before:
    section, opened, depth = "", 0, 0
    headers: dict[str, int] = {}
    keys: dict[str, int] = {}
    first_words: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        bare = _bare(line)
        if depth <= 0:
            if header := _HEADER.match(bare):
                section = header[2].strip()
                headers.setdefault(header[1] + section, number)
                keys = {}
                continue
            if (statement := _STATEMENT.match(line)) and statement[2] == "=":
                keys.setdefault(statement[1], number)
                if not section:
                    first_words.setdefault("." + statement[1].partition(".")[0], number)
            opened, depth = number, 0
        depth += bare.count("[") - bare.count("]")
    return _Before(section, headers, keys | first_words, opened if depth > 0 else None)


def _odd_character(line: str, before: _Before) -> str | None:
    for each in _bare(line):
        if each.translate(_QUOTES) != each:
            meant = _meant(line.translate(_QUOTES), before.section)
            return f"{each} is not a quote of TOML; write {meant or 'straight quotes'}"
        if each in _INVISIBLE or (each.isspace() and each not in " \t\r"):
            return f"the character U+{ord(each):04X} is no blank of TOML; type the line again"
    for each in line:
        if each == "\r":
            return "its lines end with carriage returns; save the file with line feeds"
        if each != "\t" and (each < " " or each == "\x7f"):
            return f"the control character U+{ord(each):04X} is not allowed; delete it"
    return None


def _foreign(line: str) -> str | None:
    """Return a hint at a line of another language."""
    if line.startswith("---"):
        return "TOML has no such line; delete it"
    if line.startswith(("{", "}")):
        return "TOML has no braces around it; write KEY = VALUE on lines of their own"
    mark = next(filter(line.startswith, _COMMENTS), None)
    return f"a comment begins with #, not with {mark}" if mark else None


def _repeated(statement: list[str], start: int, before: _Before) -> str | None:
    """Return a hint at a key that is set twice: its statement alone is TOML."""
    match = _STATEMENT.match(statement[0])
    first = before.keys.get(match[1]) if match else None
    if match is None or first in (None, start) or not _is_toml("\n".join(statement)):
        return None
    return f"{match[1]} is set in line {first} already; delete one of the two"


def _unclosed_string(lines: list[str]) -> str | None:
    for quotes in ('"""', "'''"):
        found = [number for number, line in enumerate(lines, 1) if line.count(quotes) == 1]
        if len(found) % 2:
            return f"the {quotes} in line {found[-1]} is not closed; write the text in one line, in plain quotes"
    return None


def _member(lines: list[str], number: int, before: _Before) -> str | None:
    """Return a hint at a member of an array that has several lines."""
    if before.opened is None:
        return None
    line = lines[number - 1]
    statement = _STATEMENT.match(line)
    if line.startswith("[") or (statement and statement[2] == "="):
        return f"the [ in line {before.opened} is not closed; write ] after its last member"
    above = max(each for each in range(1, number) if _bare(lines[each - 1]))
    if not _bare(lines[above - 1]).endswith((",", "[")):
        return f"a comma is missing after line {above}"
    member = _uncommented(line).strip(" \t,;]\"'")
    return f"text needs quotes; write {_shown(to_toml_value(member))}," if member else None


def _header(line: str, before: _Before) -> str | None:
    if not line.startswith("["):
        return None
    match = _HEADER.match(_bare(line))
    word = match[2].strip() if match else "".join(re.findall(r"[\w.-]+", line)[:1])
    name = next((each for each in SECTIONS if each == word.casefold()), "")
    written = "[[listener]]" if name == "listener" else f"[{name or 'SECTION'}]"
    if not match or len(match[1]) != len(match[3]) or len(match[1]) > 2 or not word:
        return f"a section is a line of its own; write {written}"
    if name == "listener" and (first := before.headers.get("[listener") or before.headers.get("[[listener")):
        return f"every listener begins with [[listener]]; write it here, and in line {first}"
    if first := before.headers.get("[" + word) or before.headers.get("[[" + word):
        return f"this section begins in line {first} already; write all its keys there"
    if first := before.keys.get("." + word):
        return f"line {first} sets keys of this section already; write them below {written}"
    return None


def _split(line: str) -> tuple[str, str, str] | None:
    """Return key, sign and value of a statement that is perhaps not written as TOML has it."""
    line = _uncommented(line)
    match = _STATEMENT.match(line) or _WITHOUT_SIGN.match(line)
    if match is None:
        return None
    key, sign, value = match.groups()
    key = "_".join(key.strip("\"'").split())
    # a URL, for example, is no key with a colon
    is_likely = sign.endswith("=") or value != line.partition(sign)[2] or _setting("", key)
    return (key, sign, value) if is_likely else None


def _statement(line: str, before: _Before) -> str | None:
    parts, meant = _split(line), _meant(line, before.section)
    if parts is None or meant is None:
        return None
    _, sign, value = parts
    rest = re.sub(rf"^(?:{_STRING})\s*", "", value)
    bare = _bare(value)
    if sign != "=":
        reason = "= separates a key from its value"
    elif not value:
        reason = "the key has no value"
    elif re.match(r"[\w.-]+ +[\w.-]", line):
        reason = "a key has no blank"
    elif any(mark in bare for mark in ("//", "/*", "--")) and "://" not in bare:
        reason = "a comment begins with #"
    elif value.endswith((";", ",")):
        reason = f'"{value[-1]}" ends no line of TOML'
    elif bare.count('"') % 2 or bare.count("'") % 2:
        reason = "\\ is written twice in double quotes" if "\\" in value else "a quote is missing"
    elif "[" in meant:
        reason = "a comma is missing" if re.search(r'" +"', bare) else "a list is text in quotes, between [ and ]"
    elif rest != value and rest:
        reason = "the line goes on after the value"
    elif "\\" in value:
        reason = "\\ is written twice in double quotes"
    else:
        reason = "text needs quotes" if '"' in meant else "this is not a value of TOML"
    return f"{reason}; write {meant}"


def _meant(line: str, section: str) -> str | None:
    """Return the statement that was probably meant, if there is one and it is TOML."""
    if (parts := _split(line)) is None:
        return None
    key, _, value = parts
    meant = f"{key} = {_value(value.rstrip(' ;,'), _setting(section, key))}"
    return _shown(meant) if _is_toml(meant) else None


def _value(text: str, setting: Setting | None) -> str:
    """Return the value that was probably meant, as TOML; the default one if the text does not show it."""
    word = text.strip("\"' ")
    if setting and isinstance(setting.default, list):
        return to_toml_value([each for each in re.split(r"[\s,;\"'\[\](){}]+", text) if each])
    if setting and setting.from_text is not str:
        number = re.match(r"[+-]?[0-9.,]*", word)
        try:
            return to_toml_value(float(number[0].replace(",", ".") if number else ""))
        except ValueError:
            return to_toml_value(setting.default or 0)
    if setting is None and (word.casefold() in {"true", "false"} or type(int_from(word)) is int):
        return word.casefold()
    if string := re.match(_STRING, text):
        word = string[0][1:-1]
    return to_toml_value(word or (setting.default if setting and setting.default else "text"))


def _setting(section: str, key: str) -> Setting | None:
    """Return the setting of a key in its section, or else of that name in another one."""
    sections = [SECTIONS.get(section, {}), *SECTIONS.values()]
    return next((settings[key] for settings in sections if key in settings), None)


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _uncommented(line: str) -> str:
    return _COMMENTED.sub(lambda match: match[1] or match[2] or "", line).strip()


def _bare(line: str) -> str:
    """Return a line without its comment and what is in its strings."""
    return _COMMENTED.sub(lambda match: '""' if match[1] else match[2] or "", line).strip()


def _shown(text: str) -> str:
    shown = printable(text)
    return shown if len(shown) <= _LONGEST_SHOWN else shown[: _LONGEST_SHOWN - 3] + "..."
