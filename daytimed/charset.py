"""
Text for the person who reads: without control characters, in UTF-8 if the locale names it, otherwise in ASCII.

In UTF-8, printable characters contain the bytes 0x80 to 0x9f, which are control characters of an 8-bit terminal: U+011B
is C4 9B, and 9B starts a control sequence (ECMA-48). Other character sets have such bytes too, and some use escape
sequences. So everything that is not ASCII is escaped unless the terminal expects UTF-8.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

#: Where the locale is C, Python sets LC_CTYPE to one of these (PEP 538): they show nothing about the terminal.
_COERCED = frozenset({"C.UTF-8", "C.utf8", "UTF-8"})


def printable(text: str) -> str:
    """Escape every character that could control a terminal or start a new line."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape", "backslashreplace").decode() for each in text
    )


def is_utf8(environ: Mapping[str, str]) -> bool:
    """Return whether the locale of an environment is one of UTF-8, by its name: locale(7)."""
    character_type = environ.get("LC_CTYPE", "")
    if character_type in _COERCED:
        character_type = ""
    return names_utf8(environ.get("LC_ALL") or character_type or environ.get("LANG", ""))


def names_utf8(name: str) -> bool:
    """Return whether the name of a locale or of a character set says UTF-8."""
    return "utf8" in name.lower().replace("-", "")


def encode(text: str, utf8: bool) -> bytes:
    """Return text as UTF-8, or as ASCII; characters that this lacks become escapes."""
    return text.encode("utf-8" if utf8 else "ascii", "backslashreplace")
